"""Snapshots: rows of kept moments, each with the pin that keeps what it needs. Here: reading, making, changing, deleting. Not here: finding the moment
(branching.py), HTTP (snapshot_routes.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from spg99.control_plane import storage, tenants
from spg99.control_plane.databases import branching
from spg99.control_plane.databases.branch_points import Beginning, Source
from spg99.control_plane.records import audit, declarations, outbox
from spg99.control_plane.records.actors import SYSTEM, Actor
from spg99.control_plane.serving import rendering
from spg99.control_plane.store import Store, Transaction, UniqueViolation, Window
from spg99.errors import BadRequest, Conflict
from spg99.ids import new_id
from spg99.processes import WatchedClock
from spg99.protocol.tasks import Origin
from spg99.resources import Snapshot, SnapshotSpec
from spg99.wal.lsn import format_lsn

EXPIRED_BATCH = 100


@dataclass(frozen=True)
class SnapshotRow:
    """One snapshot."""

    snapshot_id: str
    tenant_id: str
    org_id: str
    tenant: str
    name: str
    db_id: str
    database: str
    time: datetime | None
    lsn: str | None
    origin: dict[str, Any]
    expires_at: datetime | None
    schedule_id: str | None
    schedule: str | None
    """Name of the schedule that has made it."""
    verify_asked_at: datetime | None
    """Since when it is to be verified; None: it is not."""
    last_verified_at: datetime | None
    last_error: str | None
    version: int
    created_at: datetime
    updated_at: datetime

    def is_over(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now

    @property
    def moment(self) -> Origin:
        """The moment that it keeps."""
        return Origin.model_validate(self.origin)


@dataclass(frozen=True)
class ScheduledSnapshotRow(SnapshotRow):
    """One that a schedule has made."""

    is_needed: bool
    """Something is about to begin in it."""

    @property
    def is_damaged(self) -> bool:
        """Whether it was verified, and is not what it should be."""
        return self.last_error is not None and self.verify_asked_at is None


async def find(tx: Transaction, tenant_id: str, name: str) -> SnapshotRow | None:
    """The snapshot of this name."""
    return await tx.one_or_none(SnapshotRow, "find_snapshot", tenant_id=tenant_id, name=name)


async def page(
    tx: Transaction, tenant_id: str, window: Window, *, database: str | None = None, schedule: str | None = None
) -> list[SnapshotRow]:
    """Snapshots of a tenant in name order, after the given (name, id)."""
    where = {"tenant_id": tenant_id, "database": database, "schedule": schedule}
    return await tx.many(SnapshotRow, "page_of_snapshots", **window.parameters(), **where)


async def create(
    tx: Transaction,
    owner: tenants.TenantRow,
    spec: SnapshotSpec,
    source: Source,
    found: Beginning,
    actor: Actor,
    *,
    now: datetime,
    schedule_id: str | None = None,
    verify: bool = False,
) -> SnapshotRow:
    """Writes a snapshot and what must stay for it. `schedule_id`: which schedule makes it. `verify`: it is verified when there is time. Raises Conflict for a
    name that is taken and for a database that has changed meanwhile, BadRequest for one that has nothing to keep."""
    if found.origin is None:
        raise BadRequest(
            "A field has a value that is not allowed.",
            fields={"database": f"'{source.name}' was never started, so there is nothing to keep yet"},
        )
    await branching.hold(tx, source)
    try:
        row = await write(
            tx,
            tenant_id=owner.tenant_id,
            name=spec.name,
            source=source,
            found=found,
            actor=actor,
            now=now,
            time=spec.time,
            lsn=spec.lsn,
            expires_at=spec.expires_at,
            schedule_id=schedule_id,
            verify_asked_at=now if verify else None,
        )
    except UniqueViolation as error:
        raise Conflict(
            f"Tenant '{owner.name}' has a snapshot called '{spec.name}' already.", details={"name": spec.name}
        ) from error
    await declare(tx, row, actor)
    return row


async def write(
    tx: Transaction,
    *,
    tenant_id: str,
    name: str,
    source: Source,
    found: Beginning,
    actor: Actor,
    now: datetime,
    time: datetime | None = None,
    lsn: str | None = None,
    expires_at: datetime | None = None,
    schedule_id: str | None = None,
    verify_asked_at: datetime | None = None,
) -> SnapshotRow:
    """The row, its pin, and what is told of it. The source is locked, and has something to keep. Raises UniqueViolation for a name that is taken."""
    assert found.origin is not None, "there is something to keep"
    snapshot_id = new_id("snap")
    await tx.execute(
        "insert_snapshot",
        snapshot_id=snapshot_id,
        tenant_id=tenant_id,
        name=name,
        db_id=source.db_id,
        database=source.name,
        time=time,
        lsn=lsn,
        origin=found.origin.model_dump(mode="json", exclude={"kept"}),
        expires_at=expires_at,
        schedule_id=schedule_id,
        verify_asked_at=verify_asked_at,
    )
    await storage.insert_pin(tx, found.origin.timeline_id, snapshot_id, "snapshot", lsn=found.lsn, at=now)
    row = await find(tx, tenant_id, name)
    assert row is not None, "it was just written"
    await _note(tx, row, actor, "snapshot.create")
    return row


async def change(tx: Transaction, row: SnapshotRow, expires_at: datetime | None, actor: Actor) -> SnapshotRow:
    """Another end of its time."""
    await declare(tx, row, actor)
    if expires_at == row.expires_at:
        return row
    await tx.execute("change_snapshot", snapshot_id=row.snapshot_id, expires_at=expires_at)
    changed = await find(tx, row.tenant_id, row.name)
    assert changed is not None, "it is locked"
    await _note(tx, changed, actor, "snapshot.update")
    return changed


async def hold(tx: Transaction, row: SnapshotRow) -> None:
    """Sees to it that a snapshot stays until this transaction ends. Raises Conflict when it is gone."""
    if await tx.value("hold_snapshot", snapshot_id=row.snapshot_id) is None:
        raise Conflict(f"Snapshot '{row.name}' was deleted in the same moment; nothing was changed.")


async def delete(tx: Transaction, row: SnapshotRow, actor: Actor) -> None:
    """Nothing is kept for it any more. Branches that begin in it, and were not started yet, keep what they need themselves."""
    await tx.execute("delete_snapshot", snapshot_id=row.snapshot_id)
    await storage.delete_pins_of_owner(tx, row.snapshot_id)
    await declarations.forget(tx, row.snapshot_id)
    await _note(tx, row, actor, "snapshot.delete")


async def delete_of_tenant(tx: Transaction, tenant_id: str, actor: Actor) -> None:
    """All of a tenant that goes."""
    for row in await tx.many(SnapshotRow, "snapshots_of_tenant", tenant_id=tenant_id):
        await delete(tx, row, actor)


async def of_schedule(tx: Transaction, schedule_id: str) -> list[ScheduledSnapshotRow]:
    """All that a schedule has made, locked, the latest first."""
    return await tx.many(ScheduledSnapshotRow, "snapshots_of_schedule", schedule_id=schedule_id)


async def delete_of_schedule(tx: Transaction, schedule_id: str, actor: Actor) -> None:
    """All that a schedule has made."""
    for row in await of_schedule(tx, schedule_id):
        await delete(tx, row, actor)


async def ids_of_tenant(tx: Transaction, tenant_id: str) -> frozenset[str]:
    """The ids of all of a tenant."""
    return frozenset(row.snapshot_id for row in await tx.many(SnapshotRow, "snapshots_of_tenant", tenant_id=tenant_id))


async def count_alone(tx: Transaction, tenant_id: str) -> int:
    """How many there are of a tenant whose database is deleted: nothing else has their content."""
    return int(await tx.value("count_snapshots_alone", tenant_id=tenant_id))


async def names_of(tx: Transaction, snapshot_ids: list[str]) -> list[str]:
    """The names of some of them."""
    return [row.name for row in await tx.many(SnapshotRow, "snapshots_of_ids", snapshot_ids=snapshot_ids)]


async def delete_expired(store: Store, clock: WatchedClock) -> None:
    """Those whose time is over."""
    async with store.transaction() as tx:
        for row in await tx.many(SnapshotRow, "expired_snapshots", now=clock.now(), limit=EXPIRED_BATCH):
            await delete(tx, row, SYSTEM)


async def declare(tx: Transaction, row: SnapshotRow, actor: Actor) -> None:
    """Notes who declares it, where the actor says."""
    await declarations.declared(
        tx, actor, "snapshot", row.snapshot_id, f"{row.tenant}/{row.name}", org_id=row.org_id, tenant_id=row.tenant_id
    )


def as_json(row: SnapshotRow) -> dict[str, Any]:
    """As the API answers it."""
    moment = row.moment
    lsn = format_lsn(moment.point.lsn) if moment.point.lsn is not None else None
    return rendering.as_json(Snapshot, {**vars(row), "timeline": moment.timeline_id, "snapshot_lsn": lsn})


async def _note(tx: Transaction, row: SnapshotRow, actor: Actor, action: str) -> None:
    await audit.record(tx, actor, action, row.snapshot_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    await publish(tx, row, f"{action}d")


async def publish(tx: Transaction, row: SnapshotRow, event: str) -> None:
    """Tells the world of it."""
    await outbox.publish(
        tx,
        event,
        subject=row.snapshot_id,
        org_id=row.org_id,
        tenant_id=row.tenant_id,
        payload={"snapshot_id": row.snapshot_id, "tenant": row.tenant, "name": row.name, "database": row.database},
    )
