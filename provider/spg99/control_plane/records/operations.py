"""Operations: what an asynchronous call answers, and how one learns that it is over. Not here: doing what they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from spg99.control_plane.store import Transaction
from spg99.ids import new_id


@dataclass(frozen=True)
class OperationRow:
    """One asynchronous call."""

    op_id: str
    org_id: str | None
    kind: str
    tenant_id: str | None
    db_id: str | None
    status: str
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None


async def start(tx: Transaction, kind: str, *, org_id: str | None, tenant_id: str | None, db_id: str | None) -> str:
    """Begins an operation (`database.delete`); answers its id."""
    op_id = new_id("op")
    await tx.defer("start_operation", op_id=op_id, kind=kind, org_id=org_id, tenant_id=tenant_id, db_id=db_id)
    return op_id


async def done(tx: Transaction, kind: str, *, org_id: str | None, tenant_id: str | None, db_id: str | None) -> None:
    """Notes an operation that is over with the transaction in which it began."""
    await tx.defer("note_operation", op_id=new_id("op"), kind=kind, org_id=org_id, tenant_id=tenant_id, db_id=db_id)


async def finish(tx: Transaction, db_id: str, kinds: tuple[str, ...], *, error: dict[str, Any] | None = None) -> None:
    """Ends all running operations of these kinds on a database, well or with an error envelope."""
    ended = await tx.defer("finish_database_operations", db_id=db_id, kinds=list(kinds), error=error)

    async def notify() -> None:
        await _notify(tx, await ended.rows(_Id))

    tx.when_known(notify)


async def finish_tenant(tx: Transaction, tenant_id: str, kinds: tuple[str, ...]) -> int:
    """Ends all running operations of these kinds on a tenant; answers how many."""
    return await _notify(tx, await tx.many(_Id, "finish_tenant_operations", tenant_id=tenant_id, kinds=list(kinds)))


async def find(tx: Transaction, op_id: str) -> OperationRow | None:
    """One operation."""
    return await tx.one_or_none(OperationRow, "find_operation", op_id=op_id)


async def running(
    tx: Transaction, kind: str, *, tenant_id: str | None = None, db_id: str | None = None
) -> OperationRow | None:
    """The operation of this kind that is under way on a tenant or a database."""
    return await tx.one_or_none(OperationRow, "running_operation", kind=kind, tenant_id=tenant_id, db_id=db_id)


async def forget_before(tx: Transaction, moment: datetime, *, limit: int) -> int:
    """Deletes at most `limit` operations that ended before `moment`."""
    return await tx.execute("forget_operations", moment=moment, limit=limit)


async def _notify(tx: Transaction, ended: list[_Id]) -> int:
    for row in ended:
        await tx.notify("spg99_operation", row.op_id)
    return len(ended)


@dataclass(frozen=True)
class _Id:
    op_id: str
