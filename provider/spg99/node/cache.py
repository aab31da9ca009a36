"""The files of kept databases on a node are a cache: those of sleeping ones are given up when there are too many, or nobody has come for long.

Here: finding out what may go, and removing it. Not here: which of it goes (cache_rules.py), making files anew (materialise.py).

What stays of a timeline is a few hundred bytes: who wrote it last, and how large it was. Its next start lays its last image out again.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from spg99 import faults, images, log
from spg99.clock import Clock
from spg99.errors import Damaged, Spg99Error
from spg99.node import kept_files, writer
from spg99.node.cache_rules import CachedFolder, CacheLimits, evictions
from spg99.node.computes import Computes
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.observation import Observer
from spg99.node.timelines import size_bytes
from spg99.node.writer import Writer
from spg99.postgres.reserve import disk_of

PAUSE_SECONDS: Final = 30.0

_log = log.get("node")


@dataclass(frozen=True)
class Cache:
    """What a node keeps of databases that sleep. `only_one`: the lock of a timeline, held while its files go."""

    folder: NodeFolder
    computes: Computes
    observer: Observer
    limits: CacheLimits
    clock: Clock
    only_one: Callable[[str], AbstractAsyncContextManager[None]]

    async def keep(self) -> float:
        """Brings the cache within its bounds; answers after how many seconds to look again."""
        found, running_bytes = await asyncio.to_thread(self._folders)
        disk = await asyncio.to_thread(disk_of, self.folder.timelines_dir)
        now = self.clock.now().timestamp()
        for timeline_id in evictions(found, running_bytes, self.limits, disk, now=now):
            async with self.only_one(timeline_id):
                await asyncio.to_thread(self._evict, self.folder.timeline(timeline_id))
        return PAUSE_SECONDS

    def _folders(self) -> tuple[list[CachedFolder], int]:
        """The folders that could go, and what those take that cannot."""
        running = {compute.timeline.timeline_id for compute in self.computes.running()}
        found: list[CachedFolder] = []
        others_bytes = 0
        for timeline in self.folder.timelines():
            record = _record(timeline)
            if record is None or record.kept is None or not timeline.data_dir.is_dir():
                continue  # the only copy, or nothing that takes room
            size = self.observer.size_bytes(timeline.timeline_id) or size_bytes(timeline)
            if timeline.timeline_id in running or not record.stopped:
                others_bytes += size
            else:
                found.append(CachedFolder(timeline.timeline_id, size, timeline.life_file.stat().st_mtime))
        return found, others_bytes

    def _evict(self, timeline: TimelineFolder) -> None:
        """Removes the files, if they are still nothing but a copy of an image. Called with the timeline's lock."""
        record = _record(timeline)
        if record is None or record.kept is None or not record.stopped:
            return
        if not _is_stored(timeline, record):
            return  # WAL would have to be replayed: it is worth more here than what it takes
        size = size_bytes(timeline)
        kept_files.note_evicted(timeline, size)
        faults.point("cache.evict.before_rename")
        trash = timeline.root.with_name(f".trash-{timeline.timeline_id}-{secrets.token_hex(4)}")
        timeline.data_dir.rename(trash)
        kept_files.known_file(timeline).unlink(missing_ok=True)
        shutil.rmtree(trash)
        _log.info("the files of a sleeping database were given up", timeline_id=timeline.timeline_id, size_bytes=size)


def _record(timeline: TimelineFolder) -> Writer | None:
    try:
        return writer.read(timeline)
    except (Spg99Error, OSError):
        return None  # a start of it says what is wrong


def _is_stored(timeline: TimelineFolder, record: Writer) -> bool:
    """Whether the last image holds all that these files do."""
    known = images.Known.load(kept_files.known_file(timeline))
    if known is None or known.manifest.writer_term != record.writer_term:
        return False
    try:
        return kept_files.end_of(timeline).clean_end_lsn == known.manifest.lsn
    except (Damaged, OSError):
        return False
