"""What the deletion of a database leaves (its field `on_delete`): a way back for a while, itself under another name, or a snapshot of its last moment.

Here: the choice, which is made when the deletion begins, and carrying it out once nothing of the database runs. Not here: the deletion (deletion_requests.py), coming
back (undeleting.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from spg99 import faults
from spg99.control_plane.databases import branching, rows, snapshots, undeleting
from spg99.control_plane.databases.apply import apply
from spg99.control_plane.databases.branch_points import NO_ARCHIVE, NO_HISTORY, Source, last_moment
from spg99.control_plane.databases.dated_names import dated
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.states import Event
from spg99.control_plane.databases.view import Leaves
from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict
from spg99.resources import OnDelete


async def choose(tx: Transaction, row: DatabaseRow, now: datetime) -> Leaves | None:
    """What a deletion that begins now is to leave; None: nothing. `row` is locked.

    Of a branch that was never started a snapshot can be left at once, and is: of the moment in which it would have begun. Raises Conflict when a snapshot is wanted
    and cannot be made.
    """
    if row.undelete_until is not None:
        return None  # it was deleted before, and left then what it had to
    if row.on_delete == OnDelete.RETAIN:
        return "database"
    if row.on_delete == OnDelete.SNAPSHOT_THEN_DELETE:
        source = await check_snapshot(tx, row)
        if source.was_started:
            return "snapshot"
        if source.begins_in is not None:
            await write_snapshot(tx, row, now)
        return None
    return "undelete" if await undeleting.may_come_back(tx, row) else None


async def check_snapshot(tx: Transaction, row: DatabaseRow) -> Source:
    """The database as it is, which can leave a snapshot or has nothing to keep. Raises Conflict when it cannot."""
    source = await branching.source_as_it_is(tx, row)
    if (why := no_snapshot(source)) is not None:
        raise Conflict(why, details={"db_id": row.db_id})
    return source


def no_snapshot(source: Source) -> str | None:
    """Why no snapshot of a database can be left though it has something to keep (pure); None when it can, or has nothing."""
    if not source.was_started and source.begins_in is None:
        return None
    if source.is_kept and source.is_archived:
        return None
    why = (NO_HISTORY if not source.is_kept else NO_ARCHIVE).format(name=source.name)
    return (
        f"Database '{source.name}' is to leave a snapshot (on_delete is snapshot_then_delete), and none can be made: {why.rstrip('.')}. Nothing was deleted. "
        "Without a snapshot it is deleted once on_delete is delete."
    )


async def keep(tx: Transaction, row: DatabaseRow, now: datetime) -> DatabaseRow:
    """It is deleted as far as anybody sees, with a snapshot if it is to leave one; from now on the time runs in which it can come back. `row` is locked, and nothing of it
    runs."""
    if row.leaves == "snapshot":
        await write_snapshot(tx, row, now)
    until = await undeleting.until(tx, row, now)
    row = await apply(tx, row, Event.KEPT, leaves=None, undelete_until=until, version=row.version + 1)
    faults.point("delete.kept")
    return row


async def retain(tx: Transaction, row: DatabaseRow, now: datetime) -> DatabaseRow:
    """It stays asleep under another name. Nothing deletes it by itself any more, and who deletes it means it. `row` is locked, and nothing of it runs."""
    at = now
    while await rows.find(tx, row.tenant_id, dated(row.name, "retained", at)) is not None:
        at += timedelta(seconds=1)
    row = await rows.rename(tx, row, dated(row.name, "retained", at))
    row = await apply(
        tx, row, Event.RETAINED, leaves=None, on_delete=OnDelete.DELETE.value, expires_at=None, version=row.version + 1
    )
    await audit.record(tx, SYSTEM, "database.retain", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    faults.point("delete.retained")
    return row


async def write_snapshot(tx: Transaction, row: DatabaseRow, now: datetime) -> None:
    """Keeps the last moment of a database that goes, as a snapshot without an end. `row` is locked, and nothing of it runs."""
    source = await branching.source_as_it_is(tx, row)
    at = now
    while await snapshots.find(tx, row.tenant_id, dated(row.name, "deleted", at)) is not None:
        at += timedelta(seconds=1)
    await snapshots.write(
        tx,
        tenant_id=row.tenant_id,
        name=dated(row.name, "deleted", at),
        source=source,
        found=last_moment(source),
        actor=SYSTEM,
        now=now,
    )
