"""Which files of sleeping databases a node gives up. Pure: what was seen goes in, names come out. Not here: removing (cache.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spg99.node.storage_rules import kept_bytes, low_water_bytes
from spg99.postgres.reserve import Disk


@dataclass(frozen=True)
class CachedFolder:
    """The files of a database on this node that can be had again from the object store and its safekeepers."""

    timeline_id: str
    size_bytes: int
    used_at: float
    """When its last compute ended, in seconds since the epoch."""


@dataclass(frozen=True)
class CacheLimits:
    """What a node may keep of such files. None: no bound of this kind."""

    bytes_max: int | None = None
    """Of all together, those of running databases with them."""
    unused_seconds_max: int | None = None


def free_bytes_wanted(disk: Disk) -> int:
    """The free space below which sleeping databases give up theirs: well before those that run may not grow."""
    return low_water_bytes(disk.total_bytes) + 2 * kept_bytes(disk.total_bytes)


def evictions(
    folders: Iterable[CachedFolder], running_bytes: int, limits: CacheLimits, disk: Disk, *, now: float
) -> list[str]:
    """The timelines whose files go: those unused for too long, and of the others the longest unused until all are within their bounds and the disk
    has room again. `running_bytes`: what databases take that run, and cannot be given up."""
    oldest_first = sorted(folders, key=lambda folder: (folder.used_at, folder.timeline_id))
    taken_bytes = running_bytes + sum(folder.size_bytes for folder in oldest_first)
    free_bytes = disk.free_bytes
    gone = []
    for folder in oldest_first:
        unused_seconds = now - folder.used_at
        is_old = limits.unused_seconds_max is not None and unused_seconds > limits.unused_seconds_max
        is_over = limits.bytes_max is not None and taken_bytes > limits.bytes_max
        if is_old or is_over or free_bytes < free_bytes_wanted(disk):
            gone.append(folder.timeline_id)
            taken_bytes -= folder.size_bytes
            free_bytes += folder.size_bytes
    return gone
