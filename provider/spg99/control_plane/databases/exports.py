"""Exports: rows of archives of pg_dump's that are or will be in the object store. Here: reading, making, changing, removing them, and where their objects lie.
Not here: what happens next to one (export_steps.py), who makes it happen (exporting.py), HTTP (export_routes.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from spg99.control_plane import storage
from spg99.control_plane.databases.branch_points import Beginning
from spg99.control_plane.databases.export_steps import ExportState
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.records import audit, operations, policies
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Transaction, UniqueViolation, Window
from spg99.errors import BadRequest, Conflict
from spg99.ids import new_id
from spg99.protocol.tasks import Origin, TimelineExported

KEPT_SECONDS: Final = "storage.export_seconds"
OPERATION: Final = "database.export"


@dataclass(frozen=True)
class ExportRow:
    """One export."""

    export_id: str
    tenant_id: str
    org_id: str
    tenant: str
    db_id: str
    database: str
    pg_user: str
    origin: dict[str, Any]
    op_id: str
    state: str
    task_id: int | None
    node_id: str | None
    attempt_id: str | None
    size_bytes: int | None
    piece_bytes: int | None
    error: str | None
    expires_at: datetime
    created_at: datetime
    finished_at: datetime | None

    @property
    def moment(self) -> Origin:
        """The moment that it is of."""
        return Origin.model_validate(self.origin)


async def find(tx: Transaction, export_id: str) -> ExportRow | None:
    """The export of this id."""
    return await tx.one_or_none(ExportRow, "find_export", export_id=export_id)


async def lock(tx: Transaction, export_id: str) -> ExportRow | None:
    """The same; nobody else changes it until this transaction ends."""
    return await tx.one_or_none(ExportRow, "lock_export", export_id=export_id)


async def page(tx: Transaction, tenant_id: str, window: Window) -> list[ExportRow]:
    """Exports of a tenant by the name of their database, after the given (name, id)."""
    return await tx.many(ExportRow, "page_of_exports", tenant_id=tenant_id, **window.parameters())


async def due(tx: Transaction, now: datetime, *, limit: int) -> list[str]:
    """Those to which something may happen now."""
    return [one.export_id for one in await tx.many(_Id, "due_exports", now=now, limit=limit)]


async def busy_nodes(tx: Transaction) -> set[str]:
    """Nodes that make one."""
    return {one.node_id for one in await tx.many(_Node, "nodes_that_export")}


async def create(
    tx: Transaction, row: DatabaseRow, found: Beginning, actor: Actor, *, schema_only: bool, now: datetime
) -> ExportRow:
    """Writes an export that waits for a node. `row` is locked, and held to be what the moment was found in. Raises Conflict while another one is being made
    of the same database, BadRequest for one that has nothing to export."""
    if found.origin is None:
        raise BadRequest(f"Database '{row.name}' was never started, so there is nothing to export yet.")
    origin = (found.without_rows() if schema_only else found).origin
    assert origin is not None, "it has one"
    export_id = new_id("exp")
    op_id = await operations.start(tx, OPERATION, org_id=row.org_id, tenant_id=row.tenant_id, db_id=row.db_id)
    try:
        await tx.execute(
            "insert_export",
            export_id=export_id,
            tenant_id=row.tenant_id,
            db_id=row.db_id,
            database=row.name,
            pg_user=row.pg_user,
            origin=origin.model_dump(mode="json", exclude={"kept"}),
            op_id=op_id,
            expires_at=await _expires_at(tx, row.org_id, now),
            created_at=now,
        )
    except UniqueViolation as error:
        raise Conflict(
            f"An export of database '{row.name}' is being made already. Wait for it, or delete it.",
            details={"db_id": row.db_id},
        ) from error
    await storage.insert_pin(tx, origin.timeline_id, export_id, "export", lsn=found.lsn, at=now)
    await audit.record(tx, actor, "export.create", export_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    made = await find(tx, export_id)
    assert made is not None, "it was just written"
    return made


async def begun(tx: Transaction, row: ExportRow, *, task_id: int, node_id: str) -> None:
    """A node has its order."""
    await _change(tx, row, ExportState.RUNNING, task_id=task_id, node_id=node_id)


async def wait_again(tx: Transaction, row: ExportRow) -> None:
    """No node has taken it."""
    await _change(tx, row, ExportState.WAITING, task_id=None, node_id=None)


async def finish(tx: Transaction, row: ExportRow, result: TimelineExported, now: datetime) -> None:
    """It is in the store, and kept from now on for as long as the policy says."""
    await _change(
        tx,
        row,
        ExportState.READY,
        attempt_id=result.attempt_id,
        size_bytes=result.size_bytes,
        piece_bytes=result.piece_bytes,
        expires_at=await _expires_at(tx, row.org_id, now),
        finished_at=now,
    )
    await _end(tx, row)


async def fail(tx: Transaction, row: ExportRow, error: Conflict, now: datetime) -> None:
    """It came to nothing; the row says so until it expires."""
    await _change(tx, row, ExportState.FAILED, error=error.message, finished_at=now)
    await _end(tx, row, error=error.envelope())


async def begin_delete(tx: Transaction, row: ExportRow, actor: Actor, *, now: datetime) -> None:
    """Nobody can download it from here on; its objects are removed soon. `row` is locked."""
    if row.state == ExportState.DELETING:
        return
    await _change(tx, row, ExportState.DELETING, finished_at=row.finished_at or now)
    if row.state in (ExportState.WAITING, ExportState.RUNNING):
        await _end(tx, row, error=Conflict("The export was deleted.").envelope(), keeps_pin=True)
    await audit.record(
        tx, actor, "export.delete", row.export_id, org_id=row.org_id, name=row.database, tenant=row.tenant
    )


async def remove(tx: Transaction, export_id: str) -> None:
    """Its objects are gone, and nobody writes any more."""
    await storage.delete_pins_of_owner(tx, export_id)
    await tx.execute("delete_export", export_id=export_id)


async def delete_of_tenant(tx: Transaction, tenant_id: str) -> None:
    """Rows of all that a tenant has which goes. Raises Conflict while a node writes one: what it stored afterwards, nobody would remove."""
    found = await tx.many(ExportRow, "exports_of_tenant", tenant_id=tenant_id)
    for row in found:
        if row.state == ExportState.RUNNING or (row.state == ExportState.DELETING and row.size_bytes is None):
            raise Conflict(
                f"An export of database '{row.database}' is being made. Try again when it is done.",
                details={"export_id": row.export_id},
            )
    for row in found:
        await remove(tx, row.export_id)


def prefix_of(row: ExportRow) -> str:
    """Where its objects lie, of all attempts at it."""
    return f"tenants/{row.tenant_id}/exports/{row.export_id}/"


async def _change(tx: Transaction, row: ExportRow, state: ExportState, **changes: Any) -> None:
    await tx.execute("change_export", **{**_changeable(row), **changes, "state": state.value})


def _changeable(row: ExportRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _CHANGEABLE}


async def _end(
    tx: Transaction, row: ExportRow, *, error: dict[str, Any] | None = None, keeps_pin: bool = False
) -> None:
    if not keeps_pin:
        await storage.delete_pins_of_owner(tx, row.export_id)
    await operations.finish(tx, row.db_id, (OPERATION,), error=error)


async def _expires_at(tx: Transaction, org_id: str, now: datetime) -> datetime:
    return now + timedelta(seconds=int(await policies.value(tx, KEPT_SECONDS, org_id=org_id)))


_CHANGEABLE: Final = (
    "export_id", "task_id", "node_id", "attempt_id", "size_bytes", "piece_bytes", "error", "expires_at", "finished_at",
)  # fmt: skip


@dataclass(frozen=True)
class _Id:
    export_id: str


@dataclass(frozen=True)
class _Node:
    node_id: str
