"""Verifies kept moments: one is laid out as for a restore, all its WAL replayed by a real PostgreSQL, and every page's checksum read. Here: one verification, and which is next.
Not here: who asks for them (control_plane/databases/verifications.py), when there is time (rounds.py)."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from spg99 import archive, faults, images, log
from spg99.archive import Laid
from spg99.atomic_write import make_folders
from spg99.errors import Damaged, Spg99Error, Unavailable
from spg99.objects import ObjectStore
from spg99.pageserver.building import Sandbox
from spg99.postgres.replay import check_pages, replay_all
from spg99.processes.health import pause_seconds
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol.pageserver import MomentToVerify, MomentVerified
from spg99.protocol.tasks import Kept
from spg99.wal import archived
from spg99.wal.commits import is_torn
from spg99.wal.lsn import Segment, format_lsn, segment_begin, segment_name

AGAIN_FACTOR: Final = 10.0
"""What could not be verified yet is tried again later than anything else: it is dear."""

_log = log.get("pageserver")


async def verify(
    moment: MomentToVerify,
    kept: Kept,
    clients: SafekeeperClients,
    sandbox: Sandbox,
    objects: ObjectStore,
    key: images.TenantKey,
) -> None:
    """Lays a moment out and reads all of it; nothing stays of that. Raises Damaged when it would not come back whole, and what archive/ and images/ raise."""
    home = sandbox.root / moment.snapshot_id
    data_dir, wal = home / "pg", home / "wal"
    await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
    try:
        await asyncio.to_thread(make_folders, home, mode=0o755)
        point = await archive.point_of(moment.origin, kept, clients)
        timeline_id = moment.origin.timeline_id
        laid = await archive.lay_out_at(point, timeline_id, kept, clients, objects, key, data_dir, sandbox.account)
        await asyncio.to_thread(_keep_wal, data_dir / "pg_wal", wal)
        faults.point("pageserver.verify.before_replay")
        end_lsn = await replay_all(data_dir, sandbox.binaries, sandbox.account, laid.settings)
        await asyncio.to_thread(_require_all, laid, end_lsn, wal)
        await check_pages(data_dir, sandbox.binaries, sandbox.account)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, home, ignore_errors=True))


def _keep_wal(pg_wal: Path, wal: Path) -> None:
    """A second name for each segment: PostgreSQL removes those that it needs no more."""
    wal.mkdir()
    for path in pg_wal.iterdir():
        if path.is_file():
            os.link(path, wal / path.name)


def _require_all(laid: Laid, end_lsn: int, wal: Path) -> None:
    """PostgreSQL takes the first record that it does not believe for the end of WAL. Raises Damaged unless that one was not all there."""
    size = laid.segment_bytes

    def segment_at(number: int) -> bytes | None:
        tli = archived.writer_before(laid.history, min(segment_begin(number + 1, size), laid.end_lsn)).tli
        try:
            return (wal / segment_name(Segment(tli, number), size)).read_bytes()
        except FileNotFoundError:
            return None

    if end_lsn < laid.end_lsn and not is_torn(segment_at, end_lsn, laid.end_lsn, size):
        raise Damaged(
            f"The WAL is damaged at {format_lsn(end_lsn)}: recovery ended there, before the moment at {format_lsn(laid.end_lsn)}."
        )


@dataclass
class _Failures:
    count: int = 0
    retry_at: float = 0.0


@dataclass
class Verifications:
    """Those that are asked for, and what came of them until the Control Plane has heard it."""

    monotonic: Callable[[], float]
    wanted: dict[str, MomentToVerify] = field(default_factory=dict)
    results: dict[str, MomentVerified] = field(default_factory=dict)
    _failures: dict[str, _Failures] = field(default_factory=dict)

    def learn(self, moments: list[MomentToVerify]) -> None:
        """What is asked for from now on."""
        self.wanted = {moment.snapshot_id: moment for moment in moments}
        self._failures = {one: failed for one, failed in self._failures.items() if one in self.wanted}

    def heard(self, results: list[MomentVerified]) -> None:
        """The Control Plane knows these."""
        for result in results:
            if self.results.get(result.snapshot_id) == result:
                del self.results[result.snapshot_id]

    def next(self) -> MomentToVerify | None:
        """The one that is to be verified now."""
        now = self.monotonic()
        for snapshot_id, moment in self.wanted.items():
            if snapshot_id not in self.results and self._failures.get(snapshot_id, _Failures()).retry_at <= now:
                return moment
        return None

    def ended(self, moment: MomentToVerify, error: Spg99Error | OSError | None) -> None:
        """Notes what came of one. What nobody can tell right now is tried again."""
        snapshot_id = moment.snapshot_id
        if error is None:
            self.results[snapshot_id] = MomentVerified(snapshot_id=snapshot_id, verified_at=datetime.now(UTC))
            return
        reason = error.message if isinstance(error, Spg99Error) else str(error)
        is_over = isinstance(error, Spg99Error) and not isinstance(error, Unavailable) and not error.retryable
        self.results[snapshot_id] = MomentVerified(snapshot_id=snapshot_id, problem=reason, is_over=is_over)
        if not is_over:
            failed = self._failures.setdefault(snapshot_id, _Failures())
            failed.count += 1
            failed.retry_at = self.monotonic() + AGAIN_FACTOR * pause_seconds(failed.count, chance=1.0)
        _log.error("a kept moment could not be verified", snapshot_id=snapshot_id, is_over=is_over, reason=reason)
