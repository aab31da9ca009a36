"""Who needs the history of a database: branches that were never started, and snapshots. Here: refusing to delete it. Not here: the rest of a deletion
(deletion_requests.py)."""

from __future__ import annotations

from spg99.control_plane import storage
from spg99.control_plane.databases import rows, snapshots
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict


async def check_unneeded(tx: Transaction, row: DatabaseRow, *, leaving: frozenset[str] = frozenset()) -> None:
    """Raises Conflict while something begins in this database that was never started, or a snapshot keeps a moment of it. `leaving`: databases that are deleted
    with it."""
    pins = [
        one
        for one in await storage.pins_of_timeline(tx, row.timeline_id)
        if one.owner_id not in leaving and one.reason != "moment"
    ]
    if not pins:
        return
    kept = await snapshots.names_of(tx, [one.owner_id for one in pins if one.reason == "snapshot"])
    if kept:
        raise Conflict(
            f"Database '{row.name}' cannot be deleted: snapshots keep moments of it ({_listed(kept)}). Delete them first.",
            details={"db_id": row.db_id, "snapshots": kept},
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
