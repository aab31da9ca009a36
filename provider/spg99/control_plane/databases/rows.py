"""Rows of databases: reading, locking, saving, publishing. Not here: what the API may ask of one (requests.py)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from spg99.control_plane.databases.view import Leaves
from spg99.control_plane.records import outbox
from spg99.control_plane.storage import DatabaseDescribed
from spg99.control_plane.store import Deferred, Transaction, Window
from spg99.resources import DatabaseSpec
from spg99.resources import DatabaseState as State

RECOVERED_DELETED_FOR: Final = timedelta(days=7)
"""So long a deleted database whose time was over may come back once its catalogue was recovered: a snapshot may have kept it."""


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
    storage_limit_bytes: int | None
    deletion_protection: bool
    on_delete: str
    source_database: str | None
    source_time: datetime | None
    source_lsn: str | None
    source_snapshot: str | None
    schema_only: bool
    branch_lsn: int | None
    restore_trigger: str | None
    restore_to: str | None
    restore: dict[str, Any] | None
    """Where it shall go back to, as soon as it can."""
    expires_at: datetime | None
    leaves: Leaves | None
    """What its deletion, which is under way, leaves (deletion.py); None: nothing."""
    undelete_until: datetime | None
    """It was deleted, and can come back until then; None: it was not. It stays while its data are removed."""
    history_seconds: int | None
    last_verified_at: datetime | None
    history_begins_at: datetime | None
    history_failed_at: datetime | None
    database_name: str | None
    """What it is called inside of its files, if that is another name."""
    moment_of: str | None
    """It is no database but a moment of one, open for reading: of this timeline's history (time_travel.py)."""
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
    storage_state: str
    storage_held_by: str | None
    egress_bytes: int
    version: int
    created_at: datetime
    updated_at: datetime
    backend_addr: str | None
    backend_port: int | None
    compute_started_at: datetime | None
    compute_node_id: str | None
    compute_node_address: str | None
    """Where Gateways of other machines are let through to its compute."""
    active_connections: int
    """As Gateways last reported, for every lease that is not written off."""
    compute_connections: int
    """As the node of its compute last counted: no more than a hint, it may have been long ago."""

    @property
    def name_in_files(self) -> str:
        """What the database is called in its own cluster."""
        return self.database_name or self.name

    @property
    def has_writer(self) -> bool:
        """Whether a compute that was opened to clients is not known to have ended."""
        return self.backend_addr is not None


async def insert(tx: Transaction, row: DatabaseRow) -> None:
    """Writes a new one, made by `new`, with the next statement."""
    await tx.defer("insert_database", **vars(row))


def new(
    spec: DatabaseSpec,
    *,
    db_id: str,
    tenant_id: str,
    org_id: str,
    tenant: str,
    pg_user: str,
    idle_timeout_seconds: int,
    state: str,
    timeline_id: str,
    branch_lsn: int | None,
    moment: datetime,
) -> DatabaseRow:
    """A database that nobody has used yet, as `insert` writes it and every later question finds it."""
    return DatabaseRow(
        db_id=db_id, tenant_id=tenant_id, org_id=org_id, tenant=tenant, pg_user=pg_user, name=spec.name,
        size=spec.size.value, min_size=spec.min_size and spec.min_size.value, max_size=spec.max_size and spec.max_size.value, idle_timeout_seconds=idle_timeout_seconds,
        storage_limit_bytes=spec.storage_limit_bytes, deletion_protection=spec.deletion_protection, on_delete=spec.on_delete.value,
        source_database=spec.source_database, source_time=_in_utc(spec.source_time), source_lsn=spec.source_lsn, source_snapshot=spec.source_snapshot, schema_only=spec.schema_only, branch_lsn=branch_lsn,
        restore_trigger=spec.restore_trigger, restore_to=spec.restore_to, restore=None,
        expires_at=_in_utc(spec.expires_at), leaves=None, undelete_until=None, database_name=None, moment_of=None,
        history_seconds=spec.history_seconds, last_verified_at=None, history_begins_at=None, history_failed_at=None,
        state=str(state), state_reason=None, timeline_id=timeline_id, compute_id=None, writer_term=0, current_scale=0, target_scale=0,
        current_profile=None, target_profile=spec.size.value, candidate_profile=None, candidate_worker_id=None, candidate_writer_term=None,
        scale_state="STEADY", freeze_new_checkouts=False, lease_control_epoch=1, autoscale_cooldown_until=None,
        scale_phase_started_at=None, scale_phase_deadline_at=None, scale_failure_reason=None, wanted_until=None, last_used_at=None,
        idle_since=None, attempt_count=0, retry_at=None, reconcile_at=None, compute_milliseconds=0, storage_bytes=0,
        storage_state="ok", storage_held_by=None, egress_bytes=0, version=1, created_at=moment, updated_at=moment,
        backend_addr=None, backend_port=None, compute_started_at=None, compute_node_id=None, compute_node_address=None, active_connections=0, compute_connections=0,
    )  # fmt: skip


def _in_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


_SAVED = [
    "db_id", "size", "min_size", "max_size", "idle_timeout_seconds", "storage_limit_bytes", "deletion_protection", "on_delete", "expires_at",
    "leaves", "undelete_until", "history_seconds", "branch_lsn", "restore_trigger", "restore_to", "state", "state_reason", "compute_id",
    "writer_term", "current_scale", "target_scale", "current_profile", "target_profile", "lease_control_epoch", "wanted_until", "last_used_at",
    "idle_since", "attempt_count", "retry_at", "reconcile_at", "compute_milliseconds", "version",
]  # fmt: skip


_RESTORED = {
    "db_id", "tenant_id", "name", "size", "min_size", "max_size", "idle_timeout_seconds", "storage_limit_bytes", "history_seconds",
    "deletion_protection", "on_delete", "source_database", "source_time", "source_snapshot", "schema_only", "restore_trigger", "restore_to", "source_lsn",
    "branch_lsn", "expires_at", "undelete_until", "database_name", "timeline_id", "version", "created_at",
}  # fmt: skip


async def find(tx: Transaction, tenant_id: str, name: str) -> DatabaseRow | None:
    """The database of this name: the one in use, else the latest that is on its way out."""
    return await tx.one_or_none(DatabaseRow, "find_database", tenant_id=tenant_id, name=name)


async def find_deleted(tx: Transaction, tenant_id: str, name: str, db_id: str | None) -> str | None:
    """The id of one that was deleted, or is being so, by its name and, where several had it, its id."""
    found: str | None = await tx.value("find_deleted_database", tenant_id=tenant_id, name=name, db_id=db_id)
    return found


async def by_id(tx: Transaction, db_id: str) -> DatabaseRow | None:
    """One database."""
    return await tx.one_or_none(DatabaseRow, "find_database_by_id", db_id=db_id)


async def begin_lock(tx: Transaction, db_id: str) -> None:
    """Queues the lock of `lock`: what is asked for after it sees what it holds."""
    await tx.defer("lock_database", db_id=db_id)


async def lock(tx: Transaction, db_id: str) -> DatabaseRow | None:
    """One database; nobody else changes it until this transaction ends. The first lock of every change."""
    await begin_lock(tx, db_id)
    return await by_id(tx, db_id)


async def lock_unless_busy(tx: Transaction, db_id: str) -> DatabaseRow | None:
    """As `lock`, but None when somebody else is at it (or it is gone)."""
    held = await tx.value("lock_database_unless_busy", db_id=db_id)
    return None if held is None else await by_id(tx, db_id)


async def begin_lock_of_name(tx: Transaction, tenant_id: str, name: str) -> Deferred:
    """Queues the lock for `lock_of_name`: what is asked for between the two sees what it holds."""
    return await tx.defer("lock_database_of_name", tenant_id=tenant_id, name=name)


async def lock_of_name(
    tx: Transaction, tenant_id: str, name: str, *, begun: Deferred | None = None
) -> DatabaseRow | None:
    """As `lock`, for the database of this name in use; None when there is none or its tenant is on its way out."""
    locked = begun or await begin_lock_of_name(tx, tenant_id, name)
    row = await find(tx, tenant_id, name)
    db_id = await locked.value()
    if row is not None and row.db_id != db_id:  # another has had the name meanwhile, or is on its way out
        return None if db_id is None else await by_id(tx, db_id)
    return row


async def page(
    tx: Transaction,
    tenant_id: str,
    window: Window,
    *,
    now: datetime,
    state: str | None = None,
) -> list[DatabaseRow]:
    """Databases of a tenant in name order, after the given (name, db_id). With state `deleted` those that can come back at `now`."""
    return await tx.many(
        DatabaseRow,
        "page_of_databases",
        tenant_id=tenant_id,
        **window.parameters(),
        state=state,
        now=now,
    )


async def of_tenant(tx: Transaction, tenant_id: str) -> list[str]:
    """Ids of all databases of a tenant, also of those on their way out; in the order in which they are locked."""
    return [found.db_id for found in await tx.many(_Id, "database_ids_of_tenant", tenant_id=tenant_id)]


async def save(tx: Transaction, row: DatabaseRow) -> None:
    """Writes back everything the life of a database may change. The row is locked by this transaction."""
    await tx.defer("save_database", **{name: getattr(row, name) for name in _SAVED})


async def count_by_state(tx: Transaction) -> dict[str, int]:
    """How many databases there are in each state that any is in."""
    return {row.state: row.databases for row in await tx.many(_Count, "count_databases_by_state")}


async def count_by_storage_state(tx: Transaction) -> dict[str, int]:
    """How many databases may not grow, by reason."""
    return {row.state: row.databases for row in await tx.many(_Count, "count_databases_by_storage_state")}


async def restore(tx: Transaction, described: DatabaseDescribed, *, writer_term: int, now: datetime) -> None:
    """Writes a database as the object store describes it, asleep or deleted, into a catalogue that was lost: who wants it wakes it."""
    state = State.STOPPED if described.undelete_until is None else State.DELETED
    await tx.execute(
        "restore_database",
        **described.model_dump(include=_RESTORED - {"undelete_until"}),
        undelete_until=_comes_back_until(described.undelete_until, now),
        writer_term=writer_term,
        state=state,
    )


def _comes_back_until(undelete_until: datetime | None, now: datetime) -> datetime | None:
    """Of one whose time is over nobody knows any more whether a snapshot keeps it."""
    is_over = undelete_until is not None and undelete_until <= now
    return now + RECOVERED_DELETED_FOR if is_over else undelete_until


async def raise_terms(tx: Transaction, promised: dict[str, int]) -> None:
    """Raises terms to what a safekeeper has promised, by timeline: the catalogue may be an older one."""
    await tx.execute("raise_writer_terms", promised=promised)


async def rename(tx: Transaction, row: DatabaseRow, name: str) -> DatabaseRow:
    """Gives a database another name; in its files it keeps the one that it has. The next statement, or the commit, raises UniqueViolation when another has it."""
    await tx.execute("rename_database", db_id=row.db_id, name=name, database_name=row.name_in_files)
    return dataclasses.replace(row, name=name, database_name=row.name_in_files)


async def remove(tx: Transaction, row: DatabaseRow) -> None:
    """Deletes the row: nothing of the database is left."""
    await tx.execute("delete_database", db_id=row.db_id)


async def wake_reconciler(tx: Transaction, db_id: str) -> None:
    """Makes the reconciler look at a database as soon as this transaction is committed."""
    await tx.execute("reconcile_database", db_id=db_id)
    await tx.notify("spg99_reconcile", db_id)


async def publish(tx: Transaction, row: DatabaseRow, event_type: str, *, state: str | None = None) -> None:
    """Publishes an event about a database. `database.<state>` for every state it enters, `database.updated`,
    `database.compute_changed` (what a Gateway has cached is void), `database.storage_<state>` (whether it may grow),
    `database.deleted`. `state`: one that it has been in before the row's."""
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
            "state": state or row.state,
            "state_reason": row.state_reason,
            "lease_control_epoch": row.lease_control_epoch,
        },
    )


@dataclass(frozen=True)
class _Count:
    state: str
    databases: int


@dataclass(frozen=True)
class _Id:
    db_id: str
