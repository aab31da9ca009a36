"""Keeps every running database of a node below its storage limit, and the node's disk from filling.

Here: looking at the pages of the servers and at the disk, dealing out grants, the reserve, and what holds a server that
runs without the library. Not here: the rules (storage_rules.py), the page (storage_page.py), starting servers (computes.py).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spg99 import log
from spg99.atomic_write import write_file
from spg99.node import sessions
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.libraries import shared_library
from spg99.node.profiles import PROFILES
from spg99.node.storage_page import UNLIMITED, Footprint, StoragePage, measure
from spg99.node.storage_rules import (
    Bounds,
    Grant,
    Grower,
    bounds,
    grants,
    is_short,
    sentence,
    taken,
)
from spg99.postgres import Account
from spg99.postgres.preload import Preload
from spg99.postgres.reserve import Disk, Reserve, disk_of
from spg99.protocol.node import StorageSeen
from spg99.resources import Size, StorageHeldBy, StorageState

LIBRARY: Final = Path(__file__).with_name("libspg99_storage_limit.so")
"""Built at set-up by provider/storage_limit/build where there is a C compiler."""
CHECK_SECONDS_BUSY: Final = 0.5
CHECK_SECONDS_QUIET: Final = 2.0
WATCH_SECONDS: Final = 5.0
MEASURE_SECONDS: Final = 60.0
"""The library counts exactly what it sees; this often the agent walks through the files for what it does not."""
SHORT_SECONDS: Final = 15.0
"""A database that met its limit counts as limited for this long after the last refusal."""
LOG_GROWN_BYTES_MAX: Final = 64 << 20
"""A server's log never grows past this between two looks of the one who cuts it (computes.py)."""
_READ_ONLY: Final = (
    "# Written by the agent while the database is over its storage limit.\ndefault_transaction_read_only = on\n"
)
_NOTHING: Final = "# Written by the agent.\n"

_log = log.get("node")


@dataclass
class _Held:
    """A running server whose files are watched."""

    timeline: TimelineFolder
    page: StoragePage
    postmaster_pid: int
    bounds: Bounds
    used: Footprint
    measured_at: float
    grown_bytes: int = 0
    grant: Grant | None = None
    refusals: int = 0
    refused_at: float | None = None
    over: bool = False
    """Without the library: it is past its limit and has been made read-only."""
    writers: dict[int, int] = field(default_factory=dict)


class Storage:
    """The storage of one node. `prepare` before a server's start, `begin` once it runs, `forget` at its end.

    What a database has taken of the room that is kept for all (storage_rules.py) is remembered beyond its server's end, or who sleeps
    and wakes would get a whole part again; until there is room again, or the timeline is gone. A restart of the agent forgets it.
    """

    def __init__(
        self,
        folder: NodeFolder,
        account: Account | None,
        *,
        library: Path | None = LIBRARY,
        disk: Callable[[Path], Disk] = disk_of,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._account = account
        self._library = shared_library(library, folder, "storage_limit") if library is not None else None
        self._disk_of = disk
        self._now = monotonic
        self._held: dict[str, _Held] = {}
        self._taken_bytes: dict[str, int] = {}
        """By timeline, whether it runs or sleeps; only what is not 0."""
        self.disk = disk(folder.timelines_dir)
        self._reserve = Reserve(folder.reserve_file)

    @property
    def reserve_is_given_up(self) -> bool:
        """Whether even the node's reserve was needed."""
        return self._reserve.is_given_up

    @property
    def is_short(self) -> bool:
        """Whether a database of the node may not grow for want of disk, or no other could."""
        return is_short(self.disk) or any(self._state(held) is StorageState.NODE_FULL for held in self._held.values())

    def bounds(self, size: Size, limit_bytes: int) -> Bounds:
        """What a limit means for a compute of this size on this disk."""
        wal = PROFILES[size].max_wal_size_mb << 20
        return bounds(limit_bytes, wal_bytes_max=wal, disk_total_bytes=self.disk.total_bytes)

    def prepare(self, timeline: TimelineFolder, size: Size, limit_bytes: int) -> Preload | None:
        """A page for a server that is about to start, and what its start has to load; None without the library."""
        page = StoragePage.create(timeline.storage_page_file, self._account)
        within = self.bounds(size, limit_bytes)
        page.configure(
            limit_bytes,
            reserve_bytes=within.reserve_bytes,
            files=within.files,
            shared_memory_bytes=PROFILES[size].memory_mb << 20,
            log_bytes=LOG_GROWN_BYTES_MAX,
        )
        page.close()
        if self._library is None:
            return None
        environment = {
            "SPG99_STORAGE_PAGE": str(timeline.storage_page_file),
            "SPG99_STORAGE_ROOT": str(timeline.data_dir.resolve()),
        }
        return Preload((self._library,), environment)

    async def begin(
        self, timeline: TimelineFolder, size: Size, postmaster_pid: int, *, measured: Footprint | None = None
    ) -> None:
        """Holds a server that has started, or that a former agent has started: before clients are let in. `measured`: what
        its files took before it was started."""
        page = StoragePage.open(timeline.storage_page_file)
        if page is None:  # a server of an agent that knew no limits: watched until its next start
            page = StoragePage.create(timeline.storage_page_file, self._account)
        held = _Held(
            timeline, page, postmaster_pid, self.bounds(size, page.configured_bytes), Footprint(0, 0, 0), self._now()
        )
        if measured is None:
            await self._measure(held)
        else:
            page.measured(measured, grown=(0, 0, 0))  # the library counts what came since
            held.used = page.footprint()
        self._held[timeline.timeline_id] = held
        self._deal_out()

    def forget(self, timeline_id: str) -> None:
        """The server has ended. What it has taken of the kept room stays known."""
        if (held := self._held.pop(timeline_id, None)) is not None:
            held.page.close()

    def configure(self, timeline_id: str, limit_bytes: int) -> None:
        """A new limit for a running database; it holds at once. (WAL's share follows at the next start.)"""
        held = self._held.get(timeline_id)
        if held is None or held.page.configured_bytes == limit_bytes:
            return
        within = bounds(limit_bytes, wal_bytes_max=held.bounds.wal_bytes, disk_total_bytes=self.disk.total_bytes)
        held.bounds = within
        held.page.change(limit_bytes, reserve_bytes=within.reserve_bytes, files=within.files)
        _log.info("storage limit changed", timeline_id=timeline_id, limit_bytes=limit_bytes)
        self._deal_out()

    def seen(self, timeline_id: str) -> StorageSeen | None:
        """What a heartbeat tells of a running database's storage."""
        held = self._held.get(timeline_id)
        if held is None:
            return None
        return StorageSeen(
            limit_bytes=held.page.configured_bytes,
            used_bytes=held.used.bytes,
            held_by=StorageHeldBy.LIBRARY if held.page.is_loaded else StorageHeldBy.WATCHER,
            state=self._state(held),
        )

    def all_seen(self) -> list[StorageSeen]:
        """The same for all that run."""
        return [seen for timeline_id in self._held if (seen := self.seen(timeline_id)) is not None]

    async def check(self) -> float:
        """Checks everything; answers after how many seconds the next is due."""
        now = self._now()
        self.disk = self._disk_of(self._folder.timelines_dir)
        if self._reserve.keep(self.disk):
            self.disk = self._disk_of(self._folder.timelines_dir)
        for held in list(self._held.values()):
            before = held.used
            if now - held.measured_at > (MEASURE_SECONDS if held.page.is_loaded else _watch_seconds(held)):
                await self._measure(held)
            held.used = held.page.footprint()
            held.grown_bytes = held.used.bytes - before.bytes
            if (refusals := held.page.refusals) != held.refusals:
                if held.refused_at is None:
                    self._say(held)
                held.refusals, held.refused_at = refusals, now
            elif held.refused_at is not None and now - held.refused_at > SHORT_SECONDS:
                held.refused_at = None
        found = taken([*self._growers(), *self._sleepers()], self.disk)
        self._taken_bytes = {timeline_id: bytes_ for timeline_id, bytes_ in found.items() if bytes_}
        self._deal_out()
        for held in list(self._held.values()):
            await self._enforce(held)
        busy = self.is_short or any(held.grown_bytes > 0 for held in self._held.values())
        return CHECK_SECONDS_BUSY if busy else CHECK_SECONDS_QUIET

    # What follows is how.

    async def _measure(self, held: _Held) -> None:
        grown = held.page.grown()
        seen = await asyncio.to_thread(measure, held.timeline.data_dir)
        held.page.measured(seen, grown=grown)
        held.used, held.measured_at = held.page.footprint(), self._now()

    def _growers(self) -> list[Grower]:
        return [
            Grower(
                timeline_id,
                held.page.configured_bytes,
                held.used.bytes,
                held.grown_bytes,
                self._taken_bytes.get(timeline_id, 0),
            )
            for timeline_id, held in self._held.items()
        ]

    def _sleepers(self) -> list[Grower]:
        """Databases without a server that have taken of the kept room and are still on the disk."""
        return [
            Grower(timeline_id, 0, 0, taken_bytes=bytes_)
            for timeline_id, bytes_ in self._taken_bytes.items()
            if timeline_id not in self._held and self._folder.timeline(timeline_id).root.exists()
        ]

    def _deal_out(self) -> None:
        for timeline_id, grant in grants(self._growers(), self.disk).items():
            held = self._held[timeline_id]
            held.grant = grant
            held.page.limit(min(grant.limit_bytes, UNLIMITED), sentence(grant, configured_bytes=grant.limit_bytes))

    def _state(self, held: _Held) -> StorageState:
        if held.grant is None:
            return StorageState.OK
        reached = held.refused_at is not None or held.over or held.used.bytes >= held.grant.limit_bytes
        return held.grant.short if reached else StorageState.OK

    async def _enforce(self, held: _Held) -> None:
        """The second fence. With the library: WAL that runs away. Without: everything that grows past the limit."""
        if held.grant is None:
            return
        margin = 4 * held.bounds.wal_bytes + held.bounds.reserve_bytes
        limit = held.grant.limit_bytes + (margin if held.page.is_loaded else 0)
        over = held.used.bytes > limit
        if over:
            held.writers = await asyncio.to_thread(sessions.cancel_writers, held.postmaster_pid, held.writers)
        if held.page.is_loaded or over == held.over:
            return
        await asyncio.to_thread(self._make_read_only, held, over)
        held.over = over  # not before: what a heartbeat says is so
        self._say(held) if over else _log.info("database may grow again", timeline_id=held.timeline.timeline_id)

    def _make_read_only(self, held: _Held, read_only: bool) -> None:
        # The one file that PostgreSQL reads again and that no tenant can change: ALTER SYSTEM is off.
        path = held.timeline.data_dir / "postgresql.auto.conf"
        write_file(path, _READ_ONLY if read_only else _NOTHING, mode=0o600, durable=False)
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)
        sessions.read_settings_again(held.postmaster_pid)

    def _say(self, held: _Held) -> None:
        short = held.grant.short if held.grant is not None else StorageState.LIMIT_REACHED
        _log.warning(
            "database may not grow", timeline_id=held.timeline.timeline_id, why=str(short), used_bytes=held.used.bytes
        )


def _watch_seconds(held: _Held) -> float:
    """How often a server without the library is walked through: always while it grows or is near its limit."""
    near = held.grant is not None and held.used.bytes > held.grant.limit_bytes * 9 // 10
    return 0.0 if near or held.grown_bytes > 0 else WATCH_SECONDS
