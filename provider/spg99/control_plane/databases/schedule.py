"""Which databases the reconciler must look at, and what nodes report of many at once. Not here: looking (reconcile.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from spg99.control_plane.databases import backoff
from spg99.control_plane.store import Transaction
from spg99.protocol.gateway import CONNECT_SECONDS_MAX
from spg99.protocol.node import NODE_SILENT_AFTER


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


async def retime(tx: Transaction, now: datetime, *, lease_seconds: int) -> None:
    """After a step of the wall clock: what was written before it says nothing any more about how much time has passed.

    Leases, `wanted_until`, idle clocks and retries get their time anew from `now`; everything that waits for a moment is looked at.
    """
    await tx.execute(
        "retime_databases",
        now=now,
        retry_at_most=now + timedelta(seconds=backoff.CAP_SECONDS),
        wanted_at_most=now + timedelta(seconds=CONNECT_SECONDS_MAX),
    )
    await tx.execute("retime_leases", expires_at=now + timedelta(seconds=lease_seconds))
    await tx.notify("spg99_reconcile")


async def reconcile_databases_of_node(tx: Transaction, node_id: str, now: datetime) -> None:
    """Makes the reconciler look at all that may have waited for the agent of a node."""
    await tx.execute("reconcile_databases_of_node", node_id=node_id, now=now)
    await tx.execute("reconcile_homeless_databases", now=now)
    await tx.notify("spg99_reconcile")


async def reconcile_running_of_node(tx: Transaction, node_id: str, now: datetime) -> None:
    """Makes the reconciler look at all that runs on a node."""
    await tx.execute("reconcile_running_of_node", node_id=node_id, now=now)
    await tx.notify("spg99_reconcile")


async def reconcile_databases_of_silent_nodes(tx: Transaction, now: datetime) -> None:
    """Has those looked at whose orders an agent that is away holds, though another node could have them."""
    await tx.execute("reconcile_databases_of_silent_nodes", now=now, silent_before=now - NODE_SILENT_AFTER)


async def note_storage(tx: Transaction, node_id: str, timeline_bytes: dict[str, int]) -> None:
    """Notes what timelines take on the disk of a node: timeline id -> bytes. Those of other nodes are no business of its."""
    await tx.execute("note_storage", node_id=node_id, bytes=timeline_bytes)


@dataclass(frozen=True)
class _Id:
    db_id: str
