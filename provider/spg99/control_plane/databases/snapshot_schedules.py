"""Snapshot schedules: their rows. Here: reading, making, changing, deleting. Not here: making their snapshots (scheduled_snapshots.py), when (due_snapshots.py),
HTTP (schedule_routes.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from spg99.control_plane import tenants
from spg99.control_plane.databases import branching, rows, snapshots
from spg99.control_plane.databases.branch_points import refused, require_history
from spg99.control_plane.databases.due_snapshots import Times, first_times
from spg99.control_plane.records import audit, declarations, outbox
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.serving import rendering
from spg99.control_plane.store import Transaction, UniqueViolation, Window
from spg99.errors import Conflict
from spg99.ids import new_id
from spg99.resources import DatabaseState as State
from spg99.resources import SnapshotSchedule, SnapshotScheduleSpec


@dataclass(frozen=True)
class ScheduleRow:
    """One schedule."""

    schedule_id: str
    tenant_id: str
    org_id: str
    tenant: str
    name: str
    db_id: str
    database: str
    cron: str
    keep: int
    verify: bool
    next_snapshot_at: datetime
    attempt_at: datetime
    claim: str | None
    last_snapshot_at: datetime | None
    last_error: str | None
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def times(self) -> Times:
        """When it is due."""
        return Times(self.next_snapshot_at, self.attempt_at)


async def find(tx: Transaction, tenant_id: str, name: str) -> ScheduleRow | None:
    """The schedule of this name."""
    return await tx.one_or_none(ScheduleRow, "find_schedule", tenant_id=tenant_id, name=name)


async def find_locked(tx: Transaction, tenant_id: str, name: str) -> ScheduleRow | None:
    """The same; nobody else changes it, or makes a snapshot for it, until this transaction ends."""
    row = await find(tx, tenant_id, name)
    if row is None or await tx.value("lock_schedule", schedule_id=row.schedule_id) is None:
        return None
    return await find(tx, tenant_id, name)


async def page(tx: Transaction, tenant_id: str, window: Window, *, database: str | None = None) -> list[ScheduleRow]:
    """Schedules of a tenant in name order, after the given (name, id)."""
    return await tx.many(
        ScheduleRow, "page_of_schedules", tenant_id=tenant_id, **window.parameters(), database=database
    )


async def create(
    tx: Transaction, owner: tenants.TenantRow, spec: SnapshotScheduleSpec, actor: Actor, *, now: datetime
) -> ScheduleRow:
    """Writes a schedule. Raises Conflict for a name that is taken, BadRequest for a database of which no moment can be kept."""
    found = await rows.find(tx, owner.tenant_id, spec.database)
    database = await rows.lock(tx, found.db_id) if found is not None else None
    if database is None or database.state == State.DELETING:
        raise refused("database", f"Tenant '{owner.name}' has no database '{spec.database}'")
    require_history(await branching.source_as_it_is(tx, database), "database")
    times = first_times(spec.cron, now)
    try:
        await tx.execute(
            "insert_schedule",
            schedule_id=new_id("sched"),
            tenant_id=owner.tenant_id,
            name=spec.name,
            db_id=database.db_id,
            database=database.name,
            cron=spec.cron,
            keep=spec.keep,
            verify=spec.verify,
            next_snapshot_at=times.next_snapshot_at,
        )
    except UniqueViolation as error:
        raise Conflict(
            f"Tenant '{owner.name}' has a snapshot schedule called '{spec.name}' already.", details={"name": spec.name}
        ) from error
    row = await find(tx, owner.tenant_id, spec.name)
    assert row is not None, "it was just written"
    await _note(tx, row, actor, "create")
    await declare(tx, row, actor)
    return row


async def change(
    tx: Transaction, row: ScheduleRow, spec: SnapshotScheduleSpec, actor: Actor, *, now: datetime
) -> ScheduleRow:
    """Another expression, another number. The row is locked."""
    await declare(tx, row, actor)
    if all(getattr(spec, name) == getattr(row, name) for name in SnapshotSchedule.inputs()):
        return row
    is_new = spec.cron != row.cron
    times = first_times(spec.cron, now) if is_new else row.times
    await tx.execute(
        "change_schedule",
        schedule_id=row.schedule_id,
        cron=spec.cron,
        keep=spec.keep,
        verify=spec.verify,
        next_snapshot_at=times.next_snapshot_at,
        attempt_at=times.attempt_at,
        claim=None if is_new else row.claim,
    )
    changed = await find(tx, row.tenant_id, row.name)
    assert changed is not None, "it is locked"
    await _note(tx, changed, actor, "update")
    return changed


async def delete(tx: Transaction, row: ScheduleRow, actor: Actor, *, keep_snapshots: bool) -> None:
    """Ends a schedule, and deletes what it has made, unless that shall stay: then these are ordinary snapshots. The row is locked."""
    if keep_snapshots:
        await tx.execute("let_go_of_snapshots", schedule_id=row.schedule_id)
    else:
        await snapshots.delete_of_schedule(tx, row.schedule_id, actor)
    await tx.execute("delete_schedule", schedule_id=row.schedule_id)
    await declarations.forget(tx, row.schedule_id)
    await _note(tx, row, actor, "delete")


async def delete_of_tenant(tx: Transaction, tenant_id: str, actor: Actor) -> None:
    """All of a tenant that goes, with all that they have made."""
    for row in await tx.many(ScheduleRow, "schedules_of_tenant", tenant_id=tenant_id):
        await delete(tx, row, actor, keep_snapshots=False)


async def ids_of_tenant(tx: Transaction, tenant_id: str) -> frozenset[str]:
    """The ids of all of a tenant."""
    return frozenset(row.schedule_id for row in await tx.many(ScheduleRow, "schedules_of_tenant", tenant_id=tenant_id))


async def of_database(tx: Transaction, db_id: str) -> list[ScheduleRow]:
    """Those of a database, by name."""
    return await tx.many(ScheduleRow, "schedules_of_database", db_id=db_id)


async def declare(tx: Transaction, row: ScheduleRow, actor: Actor) -> None:
    """Notes who declares it, where the actor says."""
    human_id = f"{row.tenant}/{row.name}"
    await declarations.declared(
        tx, actor, SnapshotSchedule.NOUN, row.schedule_id, human_id, org_id=row.org_id, tenant_id=row.tenant_id
    )


def as_json(row: ScheduleRow) -> dict[str, Any]:
    """As the API answers it."""
    return rendering.as_json(SnapshotSchedule, vars(row))


async def _note(tx: Transaction, row: ScheduleRow, actor: Actor, verb: str) -> None:
    action = f"{SnapshotSchedule.NOUN}.{verb}"
    await audit.record(tx, actor, action, row.schedule_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    await publish(tx, row, f"{action}d")


async def publish(tx: Transaction, row: ScheduleRow, event: str) -> None:
    """Tells the world of it."""
    await outbox.publish(
        tx,
        event,
        subject=row.schedule_id,
        org_id=row.org_id,
        tenant_id=row.tenant_id,
        payload={"schedule_id": row.schedule_id, "tenant": row.tenant, "name": row.name, "database": row.database},
    )
