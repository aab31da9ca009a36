"""Tasks: orders to the agents of nodes, a queue in the catalogue. Not here: what an order is good for (databases/)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from spg99 import log
from spg99.control_plane.store import Deferred, Transaction
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import TASKS, Order, declaration_of

LEASED_FOR = timedelta(seconds=60)
"""How long an agent may be silent about a task before it comes again. Twice as long as a poll waits: it renews with each."""
RENEWED_WITHIN = timedelta(seconds=20)


@dataclass(frozen=True)
class TaskRow:
    """One order."""

    task_id: int
    node_id: str
    kind: str
    payload: dict[str, Any]
    db_id: str | None
    compute_id: str | None
    status: str
    attempt: int
    expires_at: datetime
    finished_at: datetime | None
    result: dict[str, Any] | None
    error: str | None
    retryable: bool | None
    request_id: str | None

    def as_message(self, node_token_sha256: str) -> Task:
        """The order as its agent gets it, signed."""
        return Task(
            task_id=self.task_id,
            kind=self.kind,
            payload=self.payload,
            attempt=self.attempt,
            expires_at=self.expires_at,
            request_id=self.request_id,
        ).signed_with(node_token_sha256)


class Poll(Protocol):
    """An agent that waits for orders in this process (polls.py)."""

    def give(self, row: TaskRow) -> None:
        """Answers it with this order."""
        ...


async def enqueue(
    tx: Transaction,
    order: Order,
    *,
    node_id: str,
    db_id: str | None,
    now: datetime,
    compute_id: str | None = None,
    poll: Poll | None = None,
) -> Deferred:
    """Gives an order to a node, for the request of this task; answers its row. `db_id` None: no database changes by its outcome, and who
    waits for that is notified of `spg99_task`.

    To `poll`, which waits in this process, it is given with the commit, if it still waits by then. In any case the agent's newest
    poll, here or elsewhere, is notified, and takes what the agent does not hold.
    """
    declared = declaration_of(order)
    ordered = await tx.defer(
        "insert_task",
        node_id=node_id,
        kind=declared.kind,
        payload=order.model_dump(mode="json"),
        db_id=db_id,
        compute_id=compute_id,
        request_id=log.bound_request(),
        expires_at=now + declared.waits_for,
        leased_until=None if poll is None else now + LEASED_FOR,
    )
    await tx.notify("spg99_tasks", node_id)
    if poll is None:
        return ordered

    async def give() -> None:
        (row,) = await ordered.rows(TaskRow)
        tx.after_commit(partial(poll.give, row))

    tx.when_known(give)
    return ordered


async def lease(
    tx: Transaction, node_id: str, *, held_task_ids: list[int] | None, limit: int, now: datetime
) -> list[TaskRow]:
    """Open tasks of a node, given to its agent for a while; those it holds are renewed."""
    leased_until = now + LEASED_FOR
    if held_task_ids:
        await tx.defer(
            "renew_tasks",
            node_id=node_id,
            held_task_ids=held_task_ids,
            leased_until=leased_until,
            renewed_before=leased_until - RENEWED_WITHIN,
        )
    rows = await tx.many(
        TaskRow,
        "lease_tasks",
        node_id=node_id,
        held_task_ids=held_task_ids,
        limit=limit,
        now=now,
        leased_until=leased_until,
    )
    return sorted(rows, key=lambda row: row.task_id)


async def find(tx: Transaction, task_id: int) -> TaskRow | None:
    """One order."""
    return await tx.one_or_none(TaskRow, "find_task", task_id=task_id)


async def finish(tx: Transaction, task_id: int, node_id: str, result: TaskResult) -> Deferred:
    """Writes down the outcome; its count is 0 when there is nothing to write (finished before, or given out again since)."""
    return await tx.defer(
        "finish_task",
        task_id=task_id,
        node_id=node_id,
        status="completed" if result.succeeded else "failed",
        attempt=result.attempt,
        result=result.result,
        error=None if result.succeeded else (result.error or "The agent gave no reason."),
        retryable=result.retryable,
    )


async def cancel(tx: Transaction, task_id: int, reason: str) -> bool:
    """Closes an order no agent has; False when an agent was faster."""
    return await tx.execute("cancel_task", task_id=task_id, reason=reason) == 1


async def retime(tx: Transaction, now: datetime) -> None:
    """After a step of the wall clock: every open order waits for its agent as long as it did when it was given."""
    for kind, declared in TASKS.items():
        await tx.execute("retime_tasks", kind=kind, expires_at=now + declared.waits_for, leased_until=now + LEASED_FOR)


async def wait_until(tx: Transaction, moment: datetime) -> None:
    """Lets every order that nobody has taken yet wait until `moment` at least: before, nobody could have taken it."""
    for node_id in {row.node_id for row in await tx.many(_NodeId, "prolong_tasks", moment=moment)}:
        await tx.notify("spg99_tasks", node_id)


async def forget_before(tx: Transaction, moment: datetime, *, limit: int) -> int:
    """Deletes at most `limit` orders finished before `moment`; answers how many."""
    return await tx.execute("forget_tasks", moment=moment, limit=limit)


@dataclass(frozen=True)
class _NodeId:
    node_id: str
