"""Databases: their rows, what the API may ask of them, and how the API answers them.

Here: create, find, change, wish to run or stop, begin to delete; each with audit and event in the caller's transaction.
Not here: what follows from it (lifecycle/): a wish is written down, and the reconciler is told to look.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from spg99.control_plane.platform import audit, leases, operations, outbox, policies, tenants, timelines
from spg99.control_plane.platform.actors import Actor
from spg99.control_plane.platform.credentials import dsn
from spg99.control_plane.platform.tenants import TenantRow
from spg99.control_plane.store import Transaction, UniqueViolation
from spg99.errors import Conflict, NotFound, WrongState
from spg99.ids import new_id
from spg99.resources import Database, DatabaseSpec
from spg99.resources import DatabaseState as State

CHANGEABLE = frozenset({"size", "idle_timeout_seconds", "min_size", "max_size", "deletion_protection"})
"""Fields that may change in place."""


@dataclass(frozen=True)
class DatabaseRow:
    """One database with what its tenant, its compute and its leases say about it."""

    db_id: str
    tenant_id: str
    org_id: str
    tenant: str
    pg_user: str
    name: str
    size: str
    min_size: str | None
    max_size: str | None
    idle_timeout_seconds: int
    deletion_protection: bool
    state: str
    state_reason: str | None
    timeline_id: str
    compute_id: str | None
    writer_term: int
    current_scale: int
    target_scale: int
    current_profile: str | None
    target_profile: str
    candidate_profile: str | None
    candidate_worker_id: str | None
    candidate_writer_term: int | None
    scale_state: str
    freeze_new_checkouts: bool
    lease_control_epoch: int
    autoscale_cooldown_until: datetime | None
    scale_phase_started_at: datetime | None
    scale_phase_deadline_at: datetime | None
    scale_failure_reason: str | None
    wanted_until: datetime | None
    last_used_at: datetime | None
    idle_since: datetime | None
    attempt_count: int
    retry_at: datetime | None
    reconcile_at: datetime | None
    compute_milliseconds: int
    storage_bytes: int
    version: int
    created_at: datetime
    updated_at: datetime
    backend_addr: str | None
    backend_port: int | None
    compute_started_at: datetime | None
    active_connections: int


_SAVED = [
    "db_id",
    "size",
    "min_size",
    "max_size",
    "idle_timeout_seconds",
    "deletion_protection",
    "state",
    "state_reason",
    "compute_id",
    "writer_term",
    "current_scale",
    "target_scale",
    "current_profile",
    "target_profile",
    "lease_control_epoch",
    "wanted_until",
    "last_used_at",
    "idle_since",
    "attempt_count",
    "retry_at",
    "reconcile_at",
    "compute_milliseconds",
    "version",
]


async def create(tx: Transaction, tenant: TenantRow, spec: DatabaseSpec, actor: Actor) -> DatabaseRow:
    """Writes a new database in state `creating`; its operation is `database.create`.

    Raises Conflict when the tenant has one of this name, NotFound when the tenant is on its way out.
    """
    if await tx.value("hold_tenant_active", tenant_id=tenant.tenant_id) != "active":
        raise NotFound(f"Tenant '{tenant.name}' does not exist or is being deleted.")
    idle_timeout_seconds = spec.idle_timeout_seconds
    if "idle_timeout_seconds" not in spec.model_fields_set:
        idle_timeout_seconds = await policies.value(tx, "database.idle_timeout_seconds", org_id=tenant.org_id)
    db_id, timeline_id = new_id("db"), new_id("tl")
    try:
        async with tx.savepoint():
            await tx.execute(
                "insert_database",
                db_id=db_id,
                tenant_id=tenant.tenant_id,
                name=spec.name,
                size=spec.size,
                min_size=spec.min_size,
                max_size=spec.max_size,
                idle_timeout_seconds=idle_timeout_seconds,
                deletion_protection=spec.deletion_protection,
                timeline_id=timeline_id,
            )
    except UniqueViolation as error:
        raise Conflict(
            f"Tenant '{tenant.name}' has a database called '{spec.name}' already.", details={"name": spec.name}
        ) from error
    await timelines.insert(tx, timeline_id, db_id)
    row = await tx.one(DatabaseRow, "find_database_by_id", db_id=db_id)
    await operations.start(tx, "database.create", org_id=row.org_id, tenant_id=row.tenant_id, db_id=db_id)
    await audit.record(
        tx, actor, "database.create", db_id, org_id=row.org_id, name=row.name, tenant=row.tenant, size=row.size
    )
    await tell(tx, row, "database.creating")
    await tx.notify("spg99_reconcile", db_id)
    return row


async def find(tx: Transaction, tenant_id: str, name: str) -> DatabaseRow | None:
    """The database of this name: the one in use, else the latest that is on its way out."""
    return await tx.one_or_none(DatabaseRow, "find_database", tenant_id=tenant_id, name=name)


async def by_id(tx: Transaction, db_id: str) -> DatabaseRow | None:
    """One database."""
    return await tx.one_or_none(DatabaseRow, "find_database_by_id", db_id=db_id)


async def lock(tx: Transaction, db_id: str) -> DatabaseRow | None:
    """One database; nobody else changes it until this transaction ends. The first lock of every change."""
    await tx.execute("lock_database", db_id=db_id)
    return await by_id(tx, db_id)


async def lock_unless_busy(tx: Transaction, db_id: str) -> DatabaseRow | None:
    """As `lock`, but None when somebody else is at it (or it is gone)."""
    held = await tx.value("lock_database_unless_busy", db_id=db_id)
    return None if held is None else await by_id(tx, db_id)


async def lock_of_name(tx: Transaction, tenant_id: str, name: str) -> DatabaseRow | None:
    """As `lock`, for the database of this name in use; None when there is none or its tenant is on its way out."""
    db_id = await tx.value("lock_database_of_name", tenant_id=tenant_id, name=name)
    return None if db_id is None else await by_id(tx, db_id)


async def page(
    tx: Transaction,
    tenant_id: str,
    *,
    limit: int,
    offset: int = 0,
    after: tuple[str, str] | None = None,
    state: str | None = None,
    name_prefix: str | None = None,
) -> list[DatabaseRow]:
    """Databases of a tenant in name order, after the given (name, db_id)."""
    return await tx.many(
        DatabaseRow,
        "page_of_databases",
        tenant_id=tenant_id,
        limit=limit,
        offset=offset,
        after_name=after[0] if after else None,
        after_id=after[1] if after else None,
        state=state,
        name_prefix=name_prefix,
        name_prefix_end=tenants.end_of_prefix(name_prefix),
    )


async def of_tenant(tx: Transaction, tenant_id: str) -> list[str]:
    """Ids of all databases of a tenant, also of those on their way out; in the order in which they are locked."""
    return [found.db_id for found in await tx.many(_Id, "database_ids_of_tenant", tenant_id=tenant_id)]


async def change(tx: Transaction, row: DatabaseRow, changes: dict[str, Any], actor: Actor) -> DatabaseRow:
    """Changes settings in place; `changes` is checked already and holds only what differs. `row` is locked.

    A new size is the profile of the next start. A new idle timeout moves the end of an idle clock that runs.
    """
    if row.state == State.DELETING:
        raise WrongState("The database is being deleted.")
    unknown = set(changes) - CHANGEABLE
    assert not unknown, f"cannot be changed in place: {unknown}"
    if not changes:
        return row
    changed = dataclasses.replace(
        row, **changes, target_profile=changes.get("size", row.target_profile), version=row.version + 1
    )
    await save(tx, changed)
    await audit.record(
        tx,
        actor,
        "database.update",
        row.db_id,
        org_id=row.org_id,
        name=row.name,
        tenant=row.tenant,
        fields=sorted(changes),
    )
    await tell(tx, changed, "database.updated")
    await look(tx, row.db_id)
    return await tx.one(DatabaseRow, "find_database_by_id", db_id=row.db_id)


async def want_running(tx: Transaction, row: DatabaseRow, actor: Actor) -> str:
    """Asks for a writer; answers the operation `database.start`. `row` is locked."""
    if row.state == State.DELETING:
        raise WrongState("The database is being deleted.")
    op_id = await operations.start(tx, "database.start", org_id=row.org_id, tenant_id=row.tenant_id, db_id=row.db_id)
    await audit.record(tx, actor, "database.start", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    if row.state in (State.READY, State.IDLE):
        await operations.finish(tx, row.db_id, ("database.start",))
    await save(tx, dataclasses.replace(row, target_scale=1))
    await tx.execute("restart_idle_clock", db_id=row.db_id)
    await look(tx, row.db_id)
    return op_id


async def want_stopped(tx: Transaction, row: DatabaseRow, actor: Actor) -> str:
    """Asks for no writer; answers the operation `database.stop`. `row` is locked.

    Raises Conflict while clients are connected: a database with a live lease is never stopped.
    """
    if row.state in (State.DELETING, State.CREATING):
        raise WrongState(f"A database in state '{row.state}' cannot be stopped.")
    if row.active_connections:
        raise _in_use(row.active_connections, "Close them first, or let it fall asleep by itself.")
    op_id = await operations.start(tx, "database.stop", org_id=row.org_id, tenant_id=row.tenant_id, db_id=row.db_id)
    await audit.record(tx, actor, "database.stop", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    if row.state == State.STOPPED:
        await operations.finish(tx, row.db_id, ("database.stop",))
    await save(tx, dataclasses.replace(row, target_scale=0, wanted_until=None))
    await look(tx, row.db_id)
    return op_id


async def begin_delete(tx: Transaction, row: DatabaseRow, *, force: bool, actor: Actor) -> str:
    """Begins to remove a database for good; answers the operation `database.delete`. `row` is locked.

    Deleting twice is one deletion: the second call answers the operation of the first. Raises Conflict under deletion
    protection, and while clients are connected unless `force`.
    """
    if row.state == State.DELETING:
        under_way = await operations.running(tx, "database.delete", db_id=row.db_id)
        assert under_way is not None, "state and operation are written together"
        return under_way.op_id
    if row.deletion_protection:
        raise Conflict(
            f"Database '{row.name}' is protected. Set deletion_protection to false before you delete it.",
            details={"deletion_protection": True},
        )
    if row.active_connections and not force:
        raise _in_use(row.active_connections, "Close them first, or delete with force=true.")
    op_id = await operations.start(tx, "database.delete", org_id=row.org_id, tenant_id=row.tenant_id, db_id=row.db_id)
    aborted = Conflict("The database was deleted.").envelope()
    await operations.finish(tx, row.db_id, ("database.create", "database.start", "database.stop"), error=aborted)
    doomed = dataclasses.replace(
        row,
        state=State.DELETING,
        state_reason=None,
        target_scale=0,
        wanted_until=None,
        attempt_count=0,
        retry_at=None,
        lease_control_epoch=row.lease_control_epoch + 1,
        version=row.version + 1,
    )
    await save(tx, doomed)
    await leases.release_all(tx, row.db_id)
    await audit.record(
        tx, actor, "database.delete", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant, force=force
    )
    await tell(tx, doomed, "database.deleting")
    await tx.notify("spg99_database", row.db_id)
    await look(tx, row.db_id)
    return op_id


async def save(tx: Transaction, row: DatabaseRow) -> None:
    """Writes back everything the life of a database may change. The row is locked by this transaction."""
    await tx.execute("save_database", **{name: getattr(row, name) for name in _SAVED})


async def remove(tx: Transaction, row: DatabaseRow) -> None:
    """Deletes the row: nothing of the database is left."""
    await tx.execute("delete_database", db_id=row.db_id)


async def look(tx: Transaction, db_id: str) -> None:
    """Makes the reconciler look at a database as soon as this transaction is committed."""
    await tx.execute("look_at_database", db_id=db_id)
    await tx.notify("spg99_reconcile", db_id)


async def due(tx: Transaction, now: datetime, *, leases_before: datetime, limit: int) -> list[str]:
    """Ids of databases whose moment has come, or that have a lease which ended before `leases_before`."""
    found = await tx.many(_Id, "due_databases", now=now, leases_before=leases_before, limit=limit)
    return [row.db_id for row in found]


async def next_due_at(tx: Transaction, *, leases_from: datetime) -> datetime | None:
    """The next such moment, where no lease ends before `leases_from`; None: nothing is to come."""
    moment: datetime | None = await tx.value("next_due_at", leases_from=leases_from)
    return moment


async def postpone(tx: Transaction, db_id: str, until: datetime) -> None:
    """Looks at a database later instead of now."""
    await tx.execute("postpone_database", db_id=db_id, until=until)


async def look_at_those_of_node(tx: Transaction, node_id: str, now: datetime) -> None:
    """Makes the reconciler look at all that may have waited for the agent of a node."""
    await tx.execute("look_at_databases_of_node", node_id=node_id, now=now)
    await tx.execute("look_at_homeless_databases", now=now)
    await tx.notify("spg99_reconcile")


async def note_storage(tx: Transaction, timeline_bytes: dict[str, int]) -> None:
    """Notes what timelines take on disk: timeline id -> bytes."""
    await tx.execute("note_storage", bytes=timeline_bytes)


async def tell(tx: Transaction, row: DatabaseRow, event_type: str) -> None:
    """Publishes an event about a database. `database.<state>` for every state it enters, `database.updated`,
    `database.compute_changed` (what a Gateway has cached is void), `database.deleted`."""
    await outbox.publish(
        tx,
        event_type,
        subject=row.db_id,
        org_id=row.org_id,
        tenant_id=row.tenant_id,
        payload={
            "db_id": row.db_id,
            "tenant": row.tenant,
            "name": row.name,
            "state": row.state,
            "state_reason": row.state_reason,
            "lease_control_epoch": row.lease_control_epoch,
        },
    )


def as_resource(
    row: DatabaseRow,
    *,
    tenant_name: str,
    pg_user: str,
    password: str | None,
    gateway_host: str,
    gateway_port: int,
    active_connections: int | None = None,
    now: datetime | None = None,
) -> Database:
    """The database as the API answers it; `password` None leaves it out of the connection string."""
    runs = row.state in (State.READY, State.IDLE, State.BOOTING, State.STOPPING)
    milliseconds = row.compute_milliseconds
    if now is not None and row.compute_started_at is not None:
        milliseconds += max(0, int((now - row.compute_started_at).total_seconds() * 1000))
    return Database.model_validate(
        {
            **dataclasses.asdict(row),
            "tenant": tenant_name,
            "status": row.state,
            "timeline": row.timeline_id,
            "worker_id": row.compute_id if runs else None,
            "connection_string": dsn(
                host=gateway_host, port=gateway_port, pg_user=pg_user, password=password, database=row.name
            ),
            "active_connections": row.active_connections if active_connections is None else active_connections,
            "compute_seconds": milliseconds // 1000,
        }
    )


def _in_use(connections: int, advice: str) -> Conflict:
    clients = "1 client is" if connections == 1 else f"{connections} clients are"
    return Conflict(f"{clients} connected to the database. {advice}", details={"active_connections": connections})


@dataclass(frozen=True)
class _Id:
    db_id: str
