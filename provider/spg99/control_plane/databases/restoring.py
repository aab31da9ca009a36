"""A restore in place: a database goes back to a moment of its own history, with its id, its name and its connection string; what it was until then stays beside it
as another database.

A request notes the moment. As soon as the database's compute is not on its way up or down, one transaction gives its timeline, with whoever runs on it, to a new database
`<name>_before_<time>`, and the database a new timeline that begins in the old one. Its compute is ended then: what is committed until that is done is in the database before.

Here: the request and the exchange. Not here: when (decide.py), which moments there are (branch_points.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from spg99 import faults
from spg99.control_plane import storage
from spg99.control_plane.databases import computes, rows
from spg99.control_plane.databases.apply import apply
from spg99.control_plane.databases.branch_points import Beginning
from spg99.control_plane.databases.dated_names import dated
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.states import Event
from spg99.control_plane.records import audit, operations, policies
from spg99.control_plane.records.actors import SYSTEM, Actor
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict, WrongState
from spg99.ids import new_id
from spg99.protocol.tasks import Origin
from spg99.resources import DatabaseState as State

BEFORE_SECONDS = "storage.before_restore_seconds"
_GOES_ALONG = (
    "branch_lsn", "compute_id", "current_profile", "current_scale", "state", "state_reason", "timeline_id", "writer_term",
)  # fmt: skip
NOT_ANY_MORE = Conflict(
    "The database was deleted or restored to another moment before this restore could be carried out."
)


async def request(tx: Transaction, row: DatabaseRow, found: Beginning, actor: Actor) -> str:
    """Notes that a database shall go back; answers the operation `database.restore`. `row` is locked, and held to be what the moment was found in."""
    if row.state in (State.DELETING, State.DELETED):
        raise WrongState("The database is being deleted.")
    assert found.origin is not None, "what has no history was refused"
    await operations.finish(tx, row.db_id, ("database.restore",), error=NOT_ANY_MORE.envelope())
    op_id = await operations.start(tx, "database.restore", org_id=row.org_id, tenant_id=row.tenant_id, db_id=row.db_id)
    await audit.record(tx, actor, "database.restore", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    await tx.execute("note_restore", db_id=row.db_id, restore=found.origin.model_dump(mode="json", exclude={"kept"}))
    await rows.wake_reconciler(tx, row.db_id)
    return op_id


async def exchange(tx: Transaction, row: DatabaseRow, now: datetime) -> tuple[DatabaseRow, DatabaseRow]:
    """Carries it out; answers the database as it is then, and the one that it was before, with whatever compute runs on that. `row` is locked."""
    assert row.restore is not None, "somebody has asked for it"
    origin = Origin.model_validate(row.restore)
    keeps_for = timedelta(seconds=int(await policies.value(tx, BEFORE_SECONDS, org_id=row.org_id)))
    at = now
    while await rows.find(tx, row.tenant_id, dated(row.name, "before", at)) is not None:
        at += timedelta(seconds=1)
    return await hand_over(tx, row, dated(row.name, "before", at), expires_at=now + keeps_for, origin=origin, now=now)


async def hand_over(
    tx: Transaction, row: DatabaseRow, name: str, *, expires_at: datetime | None, origin: Origin | None, now: datetime
) -> tuple[DatabaseRow, DatabaseRow]:
    """Gives the timeline of a database, and the compute that runs on it, to a new database `name`; the old one has a new timeline then, which begins at `origin`
    (None: in nothing)."""
    timeline_id, kept_id = new_id("tl"), new_id("db")
    await storage.insert_timeline(tx, timeline_id, row.db_id, origin)
    if origin is not None:
        await storage.insert_pin(tx, origin.timeline_id, row.db_id, "branch", lsn=origin.point.lsn, at=now)
    after = await apply(
        tx, row, Event.RESTORED, version=row.version + 1,
        timeline_id=timeline_id, database_name=None, restore=None, branch_lsn=origin.point.lsn if origin else None,
        current_scale=0, current_profile=None, backend_addr=None, backend_port=None,
    )  # fmt: skip
    await tx.execute("exchange_timeline", db_id=row.db_id, timeline_id=timeline_id)
    await tx.execute(
        "insert_database_before",
        db_id=row.db_id,
        kept_id=kept_id,
        name=name,
        database_name=row.name_in_files,
        expires_at=expires_at,
        **{field: getattr(row, field) for field in _GOES_ALONG},
    )
    await storage.give_timeline(tx, row.timeline_id, kept_id)
    if row.compute_id is not None:
        await computes.give(tx, row.compute_id, kept_id)
    before = await rows.by_id(tx, kept_id)
    assert before is not None, "it was just written"
    await audit.record(tx, SYSTEM, "database.create", kept_id, org_id=row.org_id, name=name, tenant=row.tenant)
    faults.point("restore.exchanged")
    return after, before
