"""Tenants that have something in the object store: as of when it describes them, and its removal when they are deleted. Not here: the loops
(databases/describing.py, shredding.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.store import Transaction


@dataclass(frozen=True)
class ShreddingRow:
    """A deleted tenant of which something may be in the object store."""

    tenant_id: str
    state: str
    objects_deleted: int


async def note_described(tx: Transaction, tenant_id: str, revision: str, tag: str) -> None:
    """Notes as of when the store describes a tenant."""
    await tx.execute("note_tenant_described", tenant_id=tenant_id, revision=revision, tag=tag)


async def shred(tx: Transaction, tenant_id: str) -> None:
    """Orders that a tenant's key and objects be destroyed. For good: only in the transaction that removes the tenant."""
    if await tx.execute("shred_tenant", tenant_id=tenant_id):
        await tx.notify("spg99_shred")


async def to_shred(tx: Transaction, now: datetime) -> list[ShreddingRow]:
    """Those whose time has come. A tenant that is in the catalogue is never among them, whatever was noted."""
    return await tx.many(ShreddingRow, "tenants_to_shred", now=now)


async def restore(tx: Transaction, tenant_id: str, *, is_destroyed: bool) -> None:
    """Notes that a tenant has something in the store, or that what is left of it is to be removed: its key was destroyed."""
    await tx.execute("restore_stored_tenant", tenant_id=tenant_id, state="shredding" if is_destroyed else "in_use")


async def note_shredded(
    tx: Transaction, tenant_id: str, *, objects_deleted: int, is_done: bool, next_check_at: datetime | None
) -> None:
    """Notes how far a removal has come; `objects_deleted` more are gone."""
    await tx.execute(
        "note_shredded",
        tenant_id=tenant_id,
        objects_deleted=objects_deleted,
        is_done=is_done,
        next_check_at=next_check_at,
    )
    if is_done:
        await tx.execute("note_timelines_swept", tenant_id=tenant_id)
