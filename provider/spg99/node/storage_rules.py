"""How much of its disk a node lets each database take. Pure: what was seen goes in, limits come out.

Here: the bounds of one database, the node's free space dealt out as grants. Not here:
looking and carrying out (storage.py), counting inside a server (provider/storage_limit).

A grant is what makes any growth rate safe: between two looks a database can grow by its grant only, and all grants
together are no more than the room above the low-water mark. So the largest growers meet their limit first, the mark is
never reached by tables or temporary files, and what the node needs to decide, stop, delete and shrink stays free.

The last of the room is kept for all alike: each database has its own part of it, which no other can take. Without that, who
writes as fast as he may would halve what is left at every look, until a neighbour who adds a row now and then gets no page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from spg99.postgres.reserve import Disk
from spg99.resources import StorageState

MB: Final = 1 << 20
GB: Final = 1 << 30
FILE_BYTES: Final = 16384
"""One file for each of these bytes: as many as ext4 makes inodes for by default."""
SHARE_BY_NEED: Final = 2
"""One half of the room is dealt out evenly, the other by who grew."""


@dataclass(frozen=True)
class Bounds:
    """What a limit means for the parts of one database."""

    wal_bytes: int
    """PostgreSQL begins a checkpoint early enough to stay near it (max_wal_size, max_slot_wal_keep_size)."""
    temp_file_bytes: int
    """Temporary files of one session (temp_file_limit)."""
    reserve_bytes: int
    """Beyond the limit, for what makes room again."""
    files: int
    """Files of tables and indexes."""


@dataclass(frozen=True)
class Grower:
    """A running database as it is now."""

    timeline_id: str
    limit_bytes: int
    """Its own. 0 = none."""
    used_bytes: int
    grown_bytes: int = 0
    """Since the last look."""
    taken_bytes: int = 0
    """Of what is kept for all: what it has grown by since there is less room than that."""


@dataclass(frozen=True)
class Grant:
    """How large a database may be until the next look, and whose limit that is."""

    limit_bytes: int
    short: StorageState
    """What a client reads who meets the limit."""


def bounds(limit_bytes: int, *, wal_bytes_max: int, disk_total_bytes: int) -> Bounds:
    """The parts of a limit. WAL gets an eighth, and never more than a sixteenth of a small disk; `limit_bytes` 0 = none."""
    limit = limit_bytes or disk_total_bytes
    return Bounds(
        wal_bytes=max(16 * MB, min(wal_bytes_max, limit // 8, disk_total_bytes // 16)),
        temp_file_bytes=max(16 * MB, limit // 2),
        reserve_bytes=max(4 * MB, min(64 * MB, limit // 32)),
        files=limit // FILE_BYTES,
    )


def low_water_bytes(total_bytes: int) -> int:
    """Free space that no database may grow into: for WAL, new databases, and everything that makes room."""
    return min(total_bytes // 3, max(192 * MB, min(total_bytes // 20, 8 * GB)))


def new_timeline_bytes_min(total_bytes: int) -> int:
    """Free space below which no new database is made: what is there must be able to go on. Databases that grow stop well above it."""
    return min(128 * MB, low_water_bytes(total_bytes) // 2)


def kept_bytes(total_bytes: int) -> int:
    """Room above the low-water mark that is not dealt out by need: it belongs to all that run, in equal parts."""
    return max(16 * MB, min(total_bytes // 32, 8 * GB))


def room_bytes(disk: Disk) -> int:
    """What may be dealt out."""
    return max(0, disk.free_bytes - low_water_bytes(disk.total_bytes))


def taken(growers: Iterable[Grower], disk: Disk) -> dict[str, int]:
    """How much each database has taken of what is kept for all, in bytes, now that it has grown. Once there is more room, nothing."""
    gone = max(0, kept_bytes(disk.total_bytes) - room_bytes(disk))
    found = {grower.timeline_id: grower.taken_bytes + max(0, grower.grown_bytes) for grower in growers}
    if (whole := sum(found.values())) <= gone:
        return found
    return {timeline_id: bytes_ * gone // whole for timeline_id, bytes_ in found.items()}  # the rest was room of before


def is_short(disk: Disk) -> bool:
    """Whether the node has no room left to deal out."""
    return disk.free_bytes <= low_water_bytes(disk.total_bytes)


def grants(growers: Iterable[Grower], disk: Disk) -> dict[str, Grant]:
    """How large each running database may be until the next look."""
    all_of_them = list(growers)
    if not all_of_them:
        return {}
    own_parts, kept = _own_parts(all_of_them, disk)
    room = room_bytes(disk) - kept
    needs = sum(max(0, grower.grown_bytes) for grower in all_of_them)
    by_need = room // SHARE_BY_NEED if needs else 0
    evenly = (room - by_need) // len(all_of_them)
    found = {}
    for grower in all_of_them:
        share = evenly + (by_need * max(0, grower.grown_bytes) // needs if needs else 0) + own_parts[grower.timeline_id]
        allowed = grower.used_bytes + share
        own = grower.limit_bytes
        found[grower.timeline_id] = (
            Grant(own, StorageState.LIMIT_REACHED) if own and own <= allowed else Grant(allowed, StorageState.NODE_FULL)
        )
    return found


def _own_parts(growers: list[Grower], disk: Disk) -> tuple[dict[str, int], int]:
    """What is left of each one's own part of what is kept, and how much of the room is kept."""
    kept = min(room_bytes(disk), kept_bytes(disk.total_bytes))
    part = kept_bytes(disk.total_bytes) // len(growers)
    left = {grower.timeline_id: max(0, part - grower.taken_bytes) for grower in growers}
    wanted = sum(left.values())
    if wanted > kept:  # somebody else takes room: WAL, or who is no database
        left = {timeline_id: bytes_ * kept // wanted for timeline_id, bytes_ in left.items()}
    return left, kept


def sentence(grant: Grant, *, configured_bytes: int) -> str:
    """What the client reads behind `could not extend file "...":`."""
    if grant.short is StorageState.NODE_FULL:
        return "the disk of this database's node is nearly full, so it may not grow until there is room again"
    return (
        f"this database has reached its storage limit of {words(configured_bytes)} (storage_limit_bytes): "
        "delete, truncate or drop something, or raise the limit"
    )


def words(size_bytes: int) -> str:
    """A size as PostgreSQL writes it: `512 MB`, `1 GB`; never rounded up."""
    for unit, name in ((GB, "GB"), (MB, "MB")):
        if size_bytes >= unit and size_bytes % unit == 0:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes // MB} MB" if size_bytes >= 100 * MB else f"{size_bytes} bytes"
