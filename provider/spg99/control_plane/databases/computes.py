"""Computes: one row for every writer generation of a database. Not here: when one starts or stops (decide.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.store import Transaction
from spg99.ids import new_id
from spg99.protocol.tasks import ComputeStarted


@dataclass(frozen=True)
class ComputeRow:
    """One writer generation."""

    compute_id: str
    db_id: str
    timeline_id: str
    node_id: str
    writer_term: int
    state: str
    connections: int
    started_at: datetime | None


async def insert(tx: Transaction, *, db_id: str, timeline_id: str, node_id: str, writer_term: int, profile: str) -> str:
    """Writes a compute that is about to start; answers its id. A second live one of a database is refused by the catalogue."""
    compute_id = new_id("cmp")
    await tx.defer(
        "insert_compute",
        compute_id=compute_id,
        db_id=db_id,
        timeline_id=timeline_id,
        node_id=node_id,
        writer_term=writer_term,
        profile=profile,
    )
    return compute_id


async def mark_running(tx: Transaction, started: ComputeStarted, now: datetime) -> None:
    """Notes where a compute that was starting takes connections."""
    await tx.defer(
        "mark_compute_running",
        compute_id=started.compute_id,
        backend_addr=started.backend_addr,
        backend_port=started.backend_port,
        pid=started.pid,
        now=now,
    )


async def give(tx: Transaction, compute_id: str, db_id: str) -> None:
    """A compute goes with its timeline to another database."""
    await tx.execute("give_compute", compute_id=compute_id, db_id=db_id)


async def mark_stopping(tx: Transaction, compute_id: str) -> None:
    """Notes that a compute was told to stop."""
    await tx.defer("mark_compute_stopping", compute_id=compute_id)


async def mark_running_on(tx: Transaction, compute_id: str) -> None:
    """Notes that a compute which was asked to stop runs on."""
    await tx.execute("mark_compute_running_on", compute_id=compute_id)


async def end(tx: Transaction, compute_id: str, reason: str | None) -> int:
    """Notes that a compute does not run (any more); answers for how many milliseconds it ran."""
    return int(await tx.value("end_compute", compute_id=compute_id, reason=reason) or 0)


async def on_node(tx: Transaction, node_id: str) -> list[ComputeRow]:
    """Computes of a node that have not ended."""
    return await tx.many(ComputeRow, "computes_on_node", node_id=node_id)


async def last_terms(tx: Transaction, timeline_id: str) -> dict[str, int]:
    """The last term that each node has had of a timeline, as far as records go back."""
    rows = await tx.many(_LastTerm, "last_terms_of_timeline", timeline_id=timeline_id)
    return {row.node_id: row.writer_term for row in rows}


async def of_timeline(tx: Transaction, timeline_id: str) -> list[str]:
    """Ids of all computes that a timeline has had, as far as records go back; of one that no start has succeeded on yet, all there were."""
    return [row.compute_id for row in await tx.many(_Id, "computes_of_timeline", timeline_id=timeline_id)]


async def note_connections(tx: Transaction, node_id: str, connections: dict[str, int]) -> None:
    """Notes what the agent of a node counted: compute id -> connections. Computes of other nodes are no business of its."""
    await tx.execute("note_connections", node_id=node_id, connections=connections)


async def forget_before(tx: Transaction, moment: datetime, *, limit: int) -> int:
    """Deletes at most `limit` generations that ended before `moment`."""
    return await tx.execute("forget_computes", moment=moment, limit=limit)


@dataclass(frozen=True)
class _Id:
    compute_id: str


@dataclass(frozen=True)
class _LastTerm:
    node_id: str
    writer_term: int
