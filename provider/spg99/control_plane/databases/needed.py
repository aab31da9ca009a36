"""Who needs the history of a database: branches that were never started, snapshots, and schedules of these. Here: refusing to delete it. Not here: the rest of a deletion
(deletion_requests.py)."""

from __future__ import annotations

from spg99.control_plane import storage
from spg99.control_plane.databases import rows, snapshot_schedules, snapshots
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict
from spg99.resources import OnDelete


async def check_unneeded(
    tx: Transaction, row: DatabaseRow, *, leaving: frozenset[str] = frozenset(), for_good: bool = False
) -> None:
    """Raises Conflict while something begins in this database that was never started, a snapshot keeps a moment of it, or a schedule makes some. `leaving`: ids of
    databases, snapshots and schedules that are deleted with it. `for_good`: whatever its `on_delete` says. What that leaves nobody misses: the same is asked again
    when its data are to go."""
    schedules = await snapshot_schedules.of_database(tx, row.db_id)
    if making := [one.name for one in schedules if one.schedule_id not in leaving]:
        raise Conflict(
            f"Database '{row.name}' cannot be deleted: snapshot schedules are for it ({_listed(making)}). Delete them first; their "
            "snapshots go with them.",
            details={"db_id": row.db_id, "schedules": making},
        )
    is_first = row.undelete_until is None and not for_good
    if is_first and row.on_delete == OnDelete.RETAIN:
        return
    pins = [
        one
        for one in await storage.pins_of_timeline(tx, row.timeline_id)
        if one.owner_id not in leaving and one.reason != "moment"
    ]
    if not pins:
        return
    kept = await snapshots.names_of(tx, [one.owner_id for one in pins if one.reason == "snapshot"])
    if is_first and row.on_delete == OnDelete.SNAPSHOT_THEN_DELETE:
        kept, pins = [], [one for one in pins if one.reason == "branch"]
        if not pins:
            return
    if kept:
        raise Conflict(
            f"Database '{row.name}' cannot be deleted: snapshots keep moments of it ({_listed(kept)}). Delete them first.",
            details={"db_id": row.db_id, "snapshots": kept},
        )
    if any(one.reason == "export" for one in pins):
        raise Conflict(
            f"Database '{row.name}' cannot be deleted now: an export of it is being made. Wait for it; deleted meanwhile, an export ends when its node is done.",
            details={"db_id": row.db_id},
        )
    owners = [one.owner_id for one in pins if one.reason == "branch"]
    found = sorted([one.name for owner_id in owners if (one := await rows.by_id(tx, owner_id)) is not None])
    begin, was, it = ("begins", "was", "it") if len(found) == 1 else ("begin", "were", "them")
    raise Conflict(
        f"Database '{row.name}' cannot be deleted yet: {_listed(found)} {begin} in it and {was} never started. Start {it} once, "
        f"or delete {it} first.",
        details={"db_id": row.db_id, "needed_by": found},
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5])
