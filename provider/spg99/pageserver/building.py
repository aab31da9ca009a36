"""Images of running databases, by recovery: the image before, the WAL behind it replayed by a real PostgreSQL, every page's checksum read, then
cut and stored. So each of them is a restore that has been proven. Here: one such image. Not here: when (rounds.py), which WAL there is (archiving.py)."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from spg99 import faults, images, log
from spg99.archive import Live, Point, lay_out_at
from spg99.atomic_write import make_folders
from spg99.images.build import Image
from spg99.objects import ObjectStore
from spg99.postgres import Account, Binaries
from spg99.postgres.control_file import read_control_file
from spg99.postgres.replay import check_pages, replay
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol.tasks import Kept
from spg99.wal import archived
from spg99.wal.lsn import PAGE_BYTES, format_lsn, segment_begin, segment_number

_log = log.get("pageserver")


@dataclass(frozen=True)
class Sandbox:
    """Where PostgreSQL replays."""

    root: Path
    binaries: Binaries
    account: Account | None


def target_lsn(kept_until: int, segment_bytes: int) -> int:
    """The last border of segments that has a record behind it: to stop before a record, there must be one."""
    border = segment_begin(segment_number(kept_until, segment_bytes), segment_bytes)
    return border if kept_until - border >= 2 * PAGE_BYTES else border - segment_bytes


async def build_image(
    timeline_id: str,
    kept: Kept,
    clients: SafekeeperClients,
    sandbox: Sandbox,
    objects: ObjectStore,
    key: images.TenantKey,
) -> Image | None:
    """Makes and stores an image as new as the WAL allows; None when it would not be newer than what is there (no checkpoint lies between).

    Raises Damaged when the WAL cannot be replayed or a page is damaged, and what archive/ and images/ raise; then nothing was stored that counts.
    """
    replayed_at = datetime.now(UTC)
    live = Live(timeline_id, kept, clients.of_kept(kept))
    await live.ask()
    best, until = live.best, live.kept_lsn
    if best is None or until is None or not best.segment_bytes:
        return None
    target = target_lsn(until, best.segment_bytes)
    home = sandbox.root / timeline_id
    data_dir = home / "pg"
    await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
    try:
        await asyncio.to_thread(make_folders, home, mode=0o755)
        laid = await lay_out_at(Point(lsn=until), timeline_id, kept, clients, objects, key, data_dir, sandbox.account)
        before = laid.known.manifest
        if target <= before.wal_lsn:
            return None
        faults.point("pageserver.build.before_replay")
        await replay(data_dir, sandbox.binaries, sandbox.account, laid.settings, target)
        control = read_control_file(data_dir)
        if control.redo_lsn <= before.wal_lsn:
            return None
        await check_pages(data_dir, sandbox.binaries, sandbox.account)
        writer = archived.writer_before(laid.history, control.min_recovery_lsn)
        origin = images.Origin(key.tenant_id, timeline_id, writer.term)
        image = await images.build(data_dir, origin, objects, key, known=laid.known, replayed_at=replayed_at)
        _log.info(
            "an image was made by recovery",
            timeline_id=timeline_id,
            image_id=image.manifest.image_id,
            lsn=format_lsn(image.manifest.lsn),
            wal_bytes=image.manifest.wal_lsn - before.wal_lsn,
            stored_bytes=image.counts.bytes_stored,
        )
        return image
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, home, ignore_errors=True))
