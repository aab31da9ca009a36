"""Deleted databases that can come back: which, until when, and how one does. It keeps its timeline, with all that safekeepers and the object store have of it,
its id and its settings; its name is free.

Here: the rules of coming back, and the change. Not here: the deletion (deletion_requests.py), what else it may leave (on_delete.py), what happens when the time is over (expiry.py), HTTP
(undelete_routes.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from spg99 import faults
from spg99.control_plane import storage
from spg99.control_plane.databases import limits, requests, rows
from spg99.control_plane.databases.apply import apply
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.states import Event
from spg99.control_plane.records import audit, policies
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict, NotFound, Spg99Error
from spg99.resources import DatabaseState as State

UNDELETE_SECONDS: Final = "storage.undelete_seconds"


async def may_come_back(tx: Transaction, row: DatabaseRow) -> bool:
    """Whether a database that is deleted now can come back. That needs safekeepers (without them its files would go on taking a node's disk), and that it was started:
    before that there is nothing to come back."""
    timeline = await storage.find_timeline(tx, row.timeline_id)
    assert timeline is not None, "a database has a timeline"
    return timeline.state == "present" and timeline.keepers is not None and await _seconds(tx, row) > 0


async def until(tx: Transaction, row: DatabaseRow, now: datetime) -> datetime:
    """Until when a database that is deleted now can come back."""
    return now + timedelta(seconds=await _seconds(tx, row))


def is_over(row: DatabaseRow, now: datetime) -> bool:
    """Whether it was deleted and cannot come back any more (pure)."""
    return row.state == State.DELETED and row.undelete_until is not None and row.undelete_until <= now


def why_not(row: DatabaseRow, now: datetime) -> Spg99Error | None:
    """Why a database that was deleted, or is being so, does not come back now (pure)."""
    details = {"db_id": row.db_id}
    if row.state == State.DELETING and row.leaves is not None:
        return Conflict(
            f"The deletion of database '{row.name}' is still under way. Try again in a moment.", details=details
        )
    if row.state == State.DELETED and not is_over(row, now):
        return None
    if row.undelete_until is not None:
        until = row.undelete_until.isoformat(" ", "seconds")
        return NotFound(f"Database '{row.name}' was deleted, and could come back until {until}.", details=details)
    return Conflict(f"Database '{row.name}' is being deleted for good: it cannot come back.", details=details)


async def undelete(tx: Transaction, row: DatabaseRow, name: str, actor: Actor, now: datetime) -> DatabaseRow:
    """Has a deleted database come back as `name`, asleep, with all that was committed in it. `row` is locked.

    Raises what `why_not` says, LimitExceeded when the account may have no further database; the next statement, or the commit, raises Conflict when the tenant has one
    of this name.
    """
    if (refusal := why_not(row, now)) is not None:
        raise refusal
    found = await policies.value(tx, limits.DATABASES_MAX, org_id=row.org_id)
    await limits.check_databases(tx, row.org_id, int(found))
    tx.refuse(
        "databases_name",
        Conflict(
            f"Tenant '{row.tenant}' has another database called '{name}' by now. Give the one that comes back another name.",
            details={"name": name},
        ),
    )
    if name != row.name:
        row = await rows.rename(tx, row, name)
    # A time that is over would delete it again at once.
    expires_at = row.expires_at if row.expires_at is None or row.expires_at > now else None
    row = await apply(tx, row, Event.UNDELETED, undelete_until=None, expires_at=expires_at, version=row.version + 1)
    await rows.save(tx, row)
    await audit.record(tx, actor, "database.undelete", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    await requests.declare(tx, row, actor)
    faults.point("undelete.before_commit")
    return await tx.one(DatabaseRow, "find_database_by_id", db_id=row.db_id)


async def _seconds(tx: Transaction, row: DatabaseRow) -> int:
    return int(await policies.value(tx, UNDELETE_SECONDS, org_id=row.org_id))
