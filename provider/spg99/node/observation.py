"""What the agent tells about its node: connections, sizes, disk. Here: looking, cheaply. Not here: telling (agent.py)."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from spg99.node.compute import Compute
from spg99.node.computes import Computes
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.in_use import SOCKET_TABLE, connections_in, connections_to
from spg99.node.timelines import size_bytes
from spg99.protocol.node import Heartbeat

MEASURE_SECONDS = 60.0
"""A running database's files are measured this often, a sleeping one's once."""
LOG_KEPT_BYTES_MAX = 8 << 20
REPORT_ALL_SECONDS = 60.0
"""Sizes that have not changed are told this often: a node may hold a hundred thousand of them."""


def connections_of(computes: Iterable[Compute]) -> dict[str, int]:
    """Clients per socket folder: one look for all where the system has a table, else one at each server's children."""
    if sys.platform == "linux":
        return connections_in(SOCKET_TABLE.read_text())
    return {
        compute.record.backend_addr: connections_to(Path(compute.record.backend_addr), compute.record.pid)
        for compute in computes
    }


class Observer:
    """Looks at one node. Sizes are remembered, because measuring walks through all files."""

    def __init__(self, folder: NodeFolder, computes: Computes) -> None:
        self._folder = folder
        self._computes = computes
        self._sizes: dict[str, int] = {}
        self._measured_at: dict[str, float] = {}
        self._reported: dict[str, int] = {}
        self._all_reported_at = 0.0

    def heartbeat(self) -> Heartbeat:
        """The node as it is now; of sizes those that are news."""
        if time.monotonic() - self._all_reported_at > REPORT_ALL_SECONDS:
            self._reported.clear()
        news = {name: size for name, size in self._sizes.items() if self._reported.get(name) != size}
        disk = shutil.disk_usage(self._folder.timelines_dir)
        return Heartbeat(
            computes=self._computes.seen(self.connections()),
            timelines=news,
            disk_total_bytes=disk.total,
            disk_free_bytes=disk.free,
            disk_is_short=self._computes.storage.is_short,
            reserve_is_given_up=self._computes.storage.reserve_is_given_up,
            makes_timelines=True,
            keeps_wal=True,
            changes_members=True,
            makes_branches=True,
            opens_moments=True,
            makes_schema_branches=True,
            makes_exports=True,
        )

    def connections(self) -> dict[str, int]:
        """Clients per socket folder."""
        return connections_of(self._computes.running())

    def acknowledged(self, beat: Heartbeat) -> None:
        """The Control Plane has heard this."""
        if not self._reported:
            self._all_reported_at = time.monotonic()
        self._reported |= beat.timelines

    async def measure(self) -> None:
        """Brings sizes up to date: new and running timelines, and once more those that have just stopped."""
        running = {compute.timeline.timeline_id for compute in self._computes.running()}
        there = {timeline.timeline_id: timeline for timeline in await asyncio.to_thread(self._folder.timelines)}
        for gone in self._sizes.keys() - there.keys():
            self.forget(gone)
        now = time.monotonic()
        for timeline_id, timeline in there.items():
            measured_at = self._measured_at.get(timeline_id)
            if measured_at is not None and (timeline_id not in running or now - measured_at < MEASURE_SECONDS):
                continue
            self._sizes[timeline_id] = await asyncio.to_thread(size_bytes, timeline)
            self._measured_at[timeline_id] = now
            if timeline_id in running:
                await asyncio.to_thread(trim_log, timeline)

    def size_bytes(self, timeline_id: str) -> int | None:
        """How large it was when it was measured last."""
        return self._sizes.get(timeline_id)

    def measure_again(self, timeline_id: str) -> None:
        """Something has changed there: measure it with the next round."""
        self._measured_at.pop(timeline_id, None)

    def forget(self, timeline_id: str) -> None:
        """It is not there any more."""
        self._sizes.pop(timeline_id, None)
        self._reported.pop(timeline_id, None)
        self._measured_at.pop(timeline_id, None)


def trim_log(timeline: TimelineFolder) -> None:
    """Keeps the log bounded: past the limit it becomes `.1` and begins anew. PostgreSQL appends, so it goes on writing."""
    try:
        if timeline.log_file.stat().st_size <= LOG_KEPT_BYTES_MAX:
            return
        with timeline.log_file.open("rb+") as file:
            older = timeline.log_file.with_suffix(".log.1")
            older.touch(mode=0o600)  # what PostgreSQL says of an error may quote a tenant's values
            older.write_bytes(file.read())
            file.truncate(0)
    except FileNotFoundError:
        return
