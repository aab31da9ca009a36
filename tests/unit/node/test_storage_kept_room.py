"""What a database has taken of the room that is kept for all: known beyond its server's end. A disk that is said, a server that is none."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.storage import Storage
from spg99.node.storage_page import Footprint
from spg99.node.storage_rules import GB, MB, kept_bytes, low_water_bytes
from spg99.postgres.reserve import Disk
from spg99.resources import Size

TOTAL_BYTES = 10 * GB
KEPT_BYTES = kept_bytes(TOTAL_BYTES)


class Room:
    """A node whose free room above the low-water mark is `room`, and databases on it that grow by `take`."""

    def __init__(self, path: Path) -> None:
        self.room = KEPT_BYTES
        folder = NodeFolder(path, path / "run")
        folder.timelines_dir.mkdir(parents=True)
        self.folder, seconds = folder, itertools.count(step=100)
        self.storage = Storage(folder, None, library=None, disk=self.disk, monotonic=lambda: float(next(seconds)))

    def disk(self, _: Path) -> Disk:
        return Disk(TOTAL_BYTES, low_water_bytes(TOTAL_BYTES) + self.room)

    async def begin(self, name: str) -> TimelineFolder:
        timeline = self.folder.timeline(name)
        timeline.data_dir.mkdir(parents=True, exist_ok=True)
        self.storage.prepare(timeline, Size.L1, 0)
        size = sum(file.stat().st_size for file in timeline.data_dir.iterdir())
        await self.storage.begin(timeline, Size.L1, os.getpid(), measured=Footprint(0, size, 0))
        return timeline

    async def take(self, timeline: TimelineFolder, size: int) -> None:
        with (timeline.data_dir / "filler").open("ab") as file:
            file.truncate(file.tell() + size)
        self.room -= size
        await self.storage.check()

    def grant(self, name: str) -> int:
        held = self.storage._held[name]
        assert held.grant is not None
        return held.grant.limit_bytes - held.used.bytes


async def test_who_sleeps_and_wakes_gets_no_new_part(tmp_path: Path) -> None:
    room = Room(tmp_path)
    greedy = await room.begin("tl_greedy")
    await room.begin("tl_small")
    await room.take(greedy, KEPT_BYTES // 2)
    assert room.grant("tl_greedy") < MB <= room.grant("tl_small")
    room.storage.forget("tl_greedy")
    await room.storage.check()
    await room.begin("tl_greedy")
    assert room.grant("tl_greedy") < MB <= room.grant("tl_small")
    await room.storage.check()
    assert room.grant("tl_greedy") < MB <= room.grant("tl_small")


async def test_once_there_is_room_all_is_forgotten_also_of_one_that_sleeps(tmp_path: Path) -> None:
    room = Room(tmp_path)
    greedy = await room.begin("tl_greedy")
    await room.begin("tl_small")
    await room.take(greedy, KEPT_BYTES // 2)
    room.storage.forget("tl_greedy")
    room.room = KEPT_BYTES
    await room.storage.check()
    await room.begin("tl_greedy")
    assert room.grant("tl_greedy") == room.grant("tl_small") == KEPT_BYTES // 2
    assert not room.storage._taken_bytes


async def test_of_one_that_was_deleted_nothing_is_remembered(tmp_path: Path) -> None:
    room = Room(tmp_path)
    greedy = await room.begin("tl_greedy")
    await room.take(greedy, KEPT_BYTES // 2)
    room.storage.forget("tl_greedy")
    await room.storage.check()
    assert room.storage._taken_bytes
    shutil.rmtree(greedy.root)
    await room.storage.check()
    assert not room.storage._taken_bytes
