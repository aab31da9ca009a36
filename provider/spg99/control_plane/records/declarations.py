"""Who declares which object, written with the change that makes, changes or ends the object. Not here: the header (spg99/declarer.py).

A row lives as long as its object is in use. Who creates an object declares it. Who changes it later declares it from then on:
a stack that has imported it, say. Who merely reads it as one of its own is noted beside that, because an import changes nothing:
such an object is nobody's orphan.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Transaction, Window


@dataclass(frozen=True)
class DeclarationRow:
    """One object and who declares it."""

    uid: str
    noun: str
    human_id: str
    tool: str
    state: str
    resource: str | None
    key_id: str
    also_known_to: str | None
    also_known_at: datetime | None
    declared_at: datetime


async def declared(
    tx: Transaction, actor: Actor, noun: str, uid: str, human_id: str, *, org_id: str | None, tenant_id: str | None
) -> None:
    """Notes that the actor's stack or state declares an object: it makes it, or changes it. Nothing when the actor does not say."""
    if (by := actor.declarer) is not None:
        await tx.defer(
            "keep_declaration",
            uid=uid,
            noun=noun,
            human_id=human_id,
            org_id=org_id,
            tenant_id=tenant_id,
            tool=by.tool,
            state=by.state,
            resource=by.resource or None,
            key_id=actor.id,
        )


async def seen(tx: Transaction, actor: Actor, uid: str) -> None:
    """Notes that another stack or state than the declaring one has read an object as one of its own."""
    if (by := actor.declarer) is not None:
        await tx.execute("note_declaration_known", uid=uid, state=by.state)


async def forget(tx: Transaction, uid: str) -> None:
    """The object is on its way out: nobody declares it any more."""
    await tx.defer("forget_declaration", uid=uid)


async def forget_of_tenant(tx: Transaction, tenant_id: str) -> None:
    """A tenant is on its way out, and all that belongs to it."""
    await tx.execute("forget_declarations_of_tenant", tenant_id=tenant_id)


async def page(
    tx: Transaction,
    org_id: str,
    window: Window,
    *,
    state: str | None = None,
    tenant_id: str | None = None,
    with_global: bool = False,
) -> list[DeclarationRow]:
    """Declared objects of an account (or only of one of its tenants) by human id, after the given (human id, uid)."""
    return await tx.many(
        DeclarationRow,
        "page_of_declarations",
        org_id=org_id,
        **window.parameters(),
        state=state,
        tenant_id=tenant_id,
        with_global=with_global,
    )
