"""What the API may ask of a database: create, change, run, stop; each with audit and event in the caller's transaction.

Not here: deleting (deletion_requests.py); what follows from a request: it is written down, and the reconciler is told to look.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from spg99 import faults
from spg99.control_plane import storage, tenants
from spg99.control_plane.databases import branching, limits, rows
from spg99.control_plane.databases.branch_points import Beginning
from spg99.control_plane.databases.rows import DatabaseRow, publish, save, wake_reconciler
from spg99.control_plane.databases.states import Event, move
from spg99.control_plane.records import audit, declarations, operations, policies
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Deferred, Transaction
from spg99.errors import Conflict, NotFound, WrongState
from spg99.ids import new_id
from spg99.resources import DatabaseSpec, TenantState
from spg99.resources import DatabaseState as State

CHANGEABLE = frozenset(
    {
        "size",
        "idle_timeout_seconds",
        "min_size",
        "max_size",
        "storage_limit_bytes",
        "deletion_protection",
        "on_delete",
        "expires_at",
        "history_seconds",
        "restore_trigger",
        "restore_to",
    }
)
"""Fields that may change in place."""
TRIED_AGAIN_WITHIN = timedelta(seconds=10)
"""A start after a failed one counts as somebody who waits for this long: the back-off gives way to it."""


_IDLE_TIMEOUT = "database.idle_timeout_seconds"
_POLICIES_OF_CREATE = [limits.DATABASES_MAX, _IDLE_TIMEOUT]


@dataclass(frozen=True)
class AskedForCreate:
    """What a create has to know first."""

    tenant: tenants.AskedTenant
    policies: policies.Asked
    moment: Deferred


async def ask_for_create(tx: Transaction, tenant: tenants.AskedTenant, *, org_id: str) -> AskedForCreate:
    """Asks for what a create in a tenant of this account has to know with the next statement."""
    return AskedForCreate(tenant, await policies.ask(tx, _POLICIES_OF_CREATE, org_id=org_id), await tx.moment())


@dataclass(frozen=True)
class BranchOf:
    """Where a branch begins (branching.py)."""

    hold: Callable[[Transaction], Awaitable[None]]
    """Sees to it that this stays true until a transaction ends. Raises Conflict when it is not any more."""
    beginning: Beginning
    at: datetime


async def create(
    tx: Transaction, asked: AskedForCreate, spec: DatabaseSpec, actor: Actor, *, branch: BranchOf | None = None
) -> tuple[tenants.TenantRow, DatabaseRow]:
    """Writes a new database: a row and a timeline, at once asleep; its operation is `database.create`. No node has a part in it:
    the files are made with the first start, of a branch too. Answers its tenant too.

    Raises NotFound when the tenant is on its way out, LimitExceeded when the account may have no further one, Conflict when the
    branch's source has changed; the next statement, or the commit, raises Conflict when the tenant has one of this name.
    """
    tenant, found = await asked.tenant.row(), await asked.policies.values()
    if tenant.state != TenantState.ACTIVE:
        raise NotFound(f"Tenant '{tenant.name}' does not exist or is being deleted.")
    await limits.check_databases(tx, tenant.org_id, int(found[limits.DATABASES_MAX]))
    idle_timeout_seconds = spec.idle_timeout_seconds
    if "idle_timeout_seconds" not in spec.model_fields_set:
        idle_timeout_seconds = int(found[_IDLE_TIMEOUT])
    db_id, timeline_id = new_id("db"), new_id("tl")
    begins = branch.beginning if branch is not None else Beginning(None)
    if spec.schema_only:
        begins = begins.without_rows()
    if branch is not None:
        await branch.hold(tx)
    await storage.insert_timeline(tx, timeline_id, db_id, begins.origin)
    row = rows.new(
        spec,
        db_id=db_id,
        tenant_id=tenant.tenant_id,
        org_id=tenant.org_id,
        tenant=tenant.name,
        pg_user=tenant.pg_user,
        idle_timeout_seconds=idle_timeout_seconds,
        state=move(State.CREATING, Event.CREATED).to,
        timeline_id=timeline_id,
        branch_lsn=begins.lsn,
        moment=await asked.moment.value(),
    )
    tx.refuse(
        "databases_name",
        Conflict(f"Tenant '{tenant.name}' has a database called '{spec.name}' already.", details={"name": spec.name}),
    )
    await rows.insert(tx, row)
    if branch is not None:
        await branching.pin(tx, db_id, begins, at=branch.at)
    # Nobody can wait for what had no id before: no notice is needed, and a commit with one waits for all others that have one.
    await operations.done(tx, "database.create", org_id=row.org_id, tenant_id=row.tenant_id, db_id=db_id)
    await audit.record(
        tx, actor, "database.create", db_id, org_id=row.org_id, name=row.name, tenant=row.tenant, size=row.size
    )
    await declare(tx, row, actor)
    for state in (State.CREATING, row.state):
        await publish(tx, row, f"database.{state}", state=state)
    faults.point("create.before_commit")
    return tenant, row


async def change(tx: Transaction, row: DatabaseRow, changes: dict[str, Any], actor: Actor) -> DatabaseRow:
    """Changes settings in place; `changes` is checked already and holds only what differs. `row` is locked.

    A new size is the profile of the next start. A new idle timeout moves the end of an idle clock that runs.
    """
    if row.state in (State.DELETING, State.DELETED):
        raise WrongState("The database is being deleted.")
    unknown = set(changes) - CHANGEABLE
    assert not unknown, f"cannot be changed in place: {unknown}"
    await declare(tx, row, actor)
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
    await publish(tx, changed, "database.updated")
    await wake_reconciler(tx, row.db_id)
    faults.point("update.before_commit")
    return await tx.one(DatabaseRow, "find_database_by_id", db_id=row.db_id)


async def want_running(tx: Transaction, row: DatabaseRow, actor: Actor, *, now: datetime) -> str:
    """Asks for a writer; answers the operation `database.start`. `row` is locked.

    What is idle is as if it had just been used; after a failed start somebody waits, so it is tried again soon.
    """
    if row.state in (State.DELETING, State.DELETED):
        raise WrongState("The database is being deleted.")
    op_id = await operations.start(tx, "database.start", org_id=row.org_id, tenant_id=row.tenant_id, db_id=row.db_id)
    await audit.record(tx, actor, "database.start", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    if row.state in (State.READY, State.IDLE):
        await operations.finish(tx, row.db_id, ("database.start",))
    idle_since = now if row.state == State.IDLE else None
    wanted_until = row.wanted_until
    if row.state == State.ERROR:
        wanted_until = max(now + TRIED_AGAIN_WITHIN, wanted_until or now)
    await save(tx, dataclasses.replace(row, target_scale=1, idle_since=idle_since, wanted_until=wanted_until))
    await wake_reconciler(tx, row.db_id)
    return op_id


async def want_stopped(tx: Transaction, row: DatabaseRow, actor: Actor) -> str:
    """Asks for no writer; answers the operation `database.stop`. `row` is locked.

    Raises Conflict while clients are connected: a database with a live lease is never stopped. That no lease is known proves
    nothing: the compute itself is asked, and the operation fails when it is in use.
    """
    if row.state in (State.DELETING, State.DELETED, State.CREATING):
        raise WrongState(f"A database in state '{row.state}' cannot be stopped.")
    if row.active_connections:
        raise in_use(row, "Close them first, or let it fall asleep by itself.")
    op_id = await operations.start(tx, "database.stop", org_id=row.org_id, tenant_id=row.tenant_id, db_id=row.db_id)
    await audit.record(tx, actor, "database.stop", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    if row.state == State.STOPPED:
        await operations.finish(tx, row.db_id, ("database.stop",))
    await save(tx, dataclasses.replace(row, target_scale=0, wanted_until=None))
    await wake_reconciler(tx, row.db_id)
    return op_id


async def declare(tx: Transaction, row: DatabaseRow, actor: Actor) -> None:
    """Notes who declares a database, where the actor says."""
    human_id = f"{row.tenant}/{row.name}"
    await declarations.declared(tx, actor, "database", row.db_id, human_id, org_id=row.org_id, tenant_id=row.tenant_id)


def in_use(row: DatabaseRow, advice: str) -> Conflict:
    """The refusal while clients are connected."""
    count = row.active_connections
    clients = "1 client is" if count == 1 else f"{count} clients are"
    return Conflict(
        f"{clients} connected to database '{row.name}'. {advice}",
        details={"db_id": row.db_id, "active_connections": count},
    )
