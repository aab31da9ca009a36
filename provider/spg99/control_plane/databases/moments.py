"""Moments that calls of the API name: of a branch's source, or to go back to. They are found out before a call's transaction, because the source's node may have
to be asked. Here: from requests to moments, and the restore that follows. Not here: the rules (branch_points.py), carrying it out (restoring.py).

What is wrong with a moment is answered, and not raised, where an earlier answer to the same request would come first.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from spg99.control_plane import tenants
from spg99.control_plane.databases import restoring, rows, snapshots
from spg99.control_plane.databases.branch_points import Beginning, Source, Wanted, refused
from spg99.control_plane.databases.branching import Branching, hold, source_as_it_is, unchanged
from spg99.control_plane.databases.requests import BranchOf
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.records import operations
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.serving import bodies, waits
from spg99.control_plane.serving.call import Call, is_name
from spg99.control_plane.store import Transaction
from spg99.errors import BadRequest, Conflict, NotFound, Spg99Error
from spg99.patterns import LSN_PATTERN, NAME_PATTERN
from spg99.resources import Database, DatabaseSpec, SnapshotSpec
from spg99.wal.lsn import parse_lsn

Back = tuple[Source, Beginning]


class RestoreTo(BaseModel):
    """To which moment a database goes back: one of these."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    time: AwareDatetime | None = None
    """All that had been committed by then (RFC 3339)."""
    lsn: str | None = Field(default=None, pattern=LSN_PATTERN)
    """A place in the WAL, as `pg_current_wal_lsn()` says it: all records that end there or before."""
    snapshot: str | None = Field(default=None, pattern=NAME_PATTERN)
    """Name of a snapshot of this database."""


async def of_branch(call: Call, tenant: str, spec: DatabaseSpec) -> BranchOf | Spg99Error:
    """Where a branch begins, or why it cannot."""
    at = call.plane.clock.now()
    try:
        if spec.source_snapshot is not None:
            async with call.plane.store.reading() as tx:
                row = await _snapshot(tx, call, tenant, spec.source_snapshot, "source_snapshot")
            return BranchOf(lambda tx: snapshots.hold(tx, row), Beginning(row.moment), at)
        source, found = await _branching(call).find(
            lambda tx: _source(tx, call, tenant, spec.source_database or "", "source_database"),
            Wanted.of(spec.source_time, spec.source_lsn),
        )
    except Spg99Error as error:
        return error
    return BranchOf(lambda tx: hold(tx, source), found, at)


async def of_snapshot(call: Call, tenant: str, spec: SnapshotSpec) -> Back | Spg99Error:
    """The moment that a snapshot keeps, or why it cannot."""
    lsn = parse_lsn(spec.lsn) if spec.lsn is not None else None
    try:
        return await _branching(call).find(
            lambda tx: _source(tx, call, tenant, spec.database, "database"),
            Wanted(spec.time, lsn, "time", "lsn", "database"),
        )
    except Spg99Error as error:
        return error


async def of_restore(call: Call, tenant: str, db: str, wanted: RestoreTo) -> Back | Spg99Error:
    """The moment to which a database is to go back, or why it cannot. Raises BadRequest unless one is named."""
    if sum(one is not None for one in (wanted.time, wanted.lsn, wanted.snapshot)) != 1:
        raise BadRequest("A restore is to one moment: give time, lsn or snapshot.")
    try:
        if wanted.snapshot is not None:
            return await _kept(call, tenant, db, wanted.snapshot, "snapshot")
        return await _branching(call).find(
            lambda tx: _itself(tx, call, tenant, db), Wanted.to_restore(wanted.time, wanted.lsn)
        )
    except Spg99Error as error:
        return error


async def of_export(call: Call, tenant: str, db: str, time: datetime | None, lsn: str | None) -> Back | Spg99Error:
    """The moment of which a database is exported: now, unless one is named. Raises BadRequest for two."""
    if time is not None and lsn is not None:
        raise BadRequest("An export is of one moment: give time or lsn.")
    wanted = Wanted(time, parse_lsn(lsn) if lsn is not None else None, "time", "lsn", "database")
    try:
        return await _branching(call).find(lambda tx: _itself(tx, call, tenant, db), wanted)
    except Spg99Error as error:
        return error


def still(row: DatabaseRow, found: Back | Spg99Error) -> Beginning:
    """The moment that was found, once the database's row is locked. Raises what is wrong with it, and Conflict when it was found in another state."""
    if isinstance(found, Spg99Error):
        raise found
    source, beginning = found
    unchanged(row, source)
    return beginning


async def of_change(call: Call, tenant: str, db: str, body: dict[str, Any]) -> Back | Spg99Error | None:
    """The same for a change of settings; None when it triggers nothing."""
    if body.get("restore_trigger") is None:
        return None
    async with call.plane.store.reading() as tx:
        row = await _itself(tx, call, tenant, db)
    if row.restore_trigger == body["restore_trigger"]:
        return None
    spec, _ = bodies.changes_of(Database, body, {name: getattr(row, name) for name in Database.inputs()})
    assert isinstance(spec, DatabaseSpec) and spec.restore_to is not None, "a rule has seen to it"
    try:
        if is_name(spec.restore_to):
            return await _kept(call, tenant, db, spec.restore_to, "restore_to")
        return await _branching(call).find(lambda tx: _itself(tx, call, tenant, db), Wanted.parsed(spec.restore_to))
    except Spg99Error as error:
        return error


async def go_back(tx: Transaction, row: DatabaseRow, back: Back | Spg99Error | None, actor: Actor) -> str:
    """Has a database go back; answers the operation. `row` is locked. Raises what is wrong with the moment, and Conflict when it was found in another state."""
    if isinstance(back, Spg99Error):
        raise back
    if back is None:
        raise Conflict("Somebody else has changed restore_trigger in the same moment. Nothing was changed; try again.")
    source, found = back
    unchanged(row, source)
    return await restoring.request(tx, row, found, actor)


async def wait_for(call: Call, op_id: str) -> None:
    """Waits until a restore is carried out, some seconds at most: it goes on by itself."""

    async def running() -> bool:
        async with call.plane.store.reading() as tx:
            operation = await operations.find(tx, op_id)
        return operation is not None and operation.status == "running"

    await waits.until(
        call, running, lambda is_running: not is_running, ("spg99_operation", op_id), seconds=waits.ASKING_SECONDS_MAX
    )


def _branching(call: Call) -> Branching:
    return Branching(call.plane.store, call.plane.wakeups, call.plane.clock)


async def _itself(tx: Transaction, call: Call, tenant: str, db: str) -> DatabaseRow:
    owner = await tenants.visible_tenant(tx, call, tenant)
    row = await rows.find(tx, owner.tenant_id, db) if is_name(db) else None
    if row is None:
        raise NotFound(f"Tenant '{owner.name}' has no database '{db[:100]}'.")
    return row


async def _source(tx: Transaction, call: Call, tenant: str, name: str, field: str) -> DatabaseRow:
    owner = await tenants.visible_tenant(tx, call, tenant)
    try:
        return await _itself(tx, call, owner.name, name)
    except NotFound as error:
        raise refused(field, error.message.rstrip(".")) from None


async def _snapshot(tx: Transaction, call: Call, tenant: str, name: str, field: str) -> snapshots.SnapshotRow:
    owner = await tenants.visible_tenant(tx, call, tenant)
    row = await snapshots.find(tx, owner.tenant_id, name)
    if row is None:
        raise refused(field, f"tenant '{owner.name}' has no snapshot '{name}'")
    if row.is_over(call.plane.clock.now()):
        raise refused(field, f"the snapshot '{name}' has expired at {row.expires_at}")
    return row


async def _kept(call: Call, tenant: str, db: str, name: str, field: str) -> Back:
    """A snapshot of this very database."""
    async with call.plane.store.reading() as tx:
        source = await source_as_it_is(tx, await _itself(tx, call, tenant, db))
        row = await _snapshot(tx, call, tenant, name, field)
    if row.db_id != source.db_id:
        raise refused(field, f"the snapshot '{name}' is of database '{row.database}'")
    if not source.was_started:
        raise refused(field, f"'{source.name}' was never started since it was made or restored: start it once before")
    return source, Beginning(row.moment)
