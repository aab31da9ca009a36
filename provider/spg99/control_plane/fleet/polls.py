"""How an agent gets its orders: a long poll. Here: waiting for tasks of one node, and which poll can be given one at once.
Not here: their rows (tasks.py), their results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from spg99 import spans
from spg99.clock import Clock
from spg99.control_plane.fleet import tasks
from spg99.control_plane.fleet.nodes import NodeRow
from spg99.control_plane.fleet.tasks import TaskRow
from spg99.control_plane.store import Store, Wakeups
from spg99.protocol.node import LeasedTasks, LeaseTasks

POLL_SECONDS_MAX = 60
CHECK_AGAIN_SECONDS = 0.5


@dataclass(eq=False)
class Poll:
    """One poll that waits here."""

    is_gone: Callable[[], Awaitable[bool]]
    places: int
    """Orders that it can be given."""
    given: list[TaskRow] = field(default_factory=list)
    """Orders that are its own already: their rows say so."""
    waits: bool = False

    def give(self, row: TaskRow) -> None:
        """Answers it with this order, when the notification wakes it; too late for this poll, the agent's next one finds it."""
        self.given.append(row)


class Polls:
    """The polls of all agents in this process."""

    def __init__(self, store: Store, clock: Clock, wakeups: Wakeups) -> None:
        self._store = store
        self._clock = clock
        self._wakeups = wakeups
        self._polls: dict[str, Poll] = {}
        """The newest poll of each node: an older one was left by an agent that is dead, and must not take orders."""

    async def waiting(self, node_id: str) -> Poll | None:
        """The poll of a node's agent that can be given an order now; None when there is none here."""
        poll = self._polls.get(node_id)
        if poll is None or not poll.waits or len(poll.given) >= poll.places or await poll.is_gone():
            return None
        return poll

    async def lease_tasks(
        self, node: NodeRow, request: LeaseTasks, *, is_gone: Callable[[], Awaitable[bool]]
    ) -> LeasedTasks:
        """Tasks for an agent; waits for some to come, as long as the agent wants to wait and is there (`is_gone`)."""
        # To an agent that does not tell what it holds, an order that did not arrive would come when its lease runs out.
        places = 0 if request.held_task_ids is None else max(1, request.max_tasks)
        this_poll = self._polls[node.node_id] = Poll(is_gone, places)
        try:
            found = await self._lease_tasks(node, request, this_poll)
        finally:
            this_poll.waits = False
            if self._polls.get(node.node_id) is this_poll:
                del self._polls[node.node_id]
        rows = {row.task_id: row for row in (*this_poll.given, *found)}  # one that it found itself is the newer attempt
        if rows:
            spans.mark("wake.order_given")
        orders = [row.as_message(node.token_sha256) for row in rows.values()]
        return LeasedTasks(tasks=orders, now=self._clock.now())

    async def _lease_tasks(self, node: NodeRow, request: LeaseTasks, this_poll: Poll) -> list[TaskRow]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + min(max(request.wait_seconds, 0), POLL_SECONDS_MAX)
        wakeups = self._wakeups
        checked_twice = False
        with wakeups.waiter(("spg99_tasks", node.node_id)) as wakeup:
            while True:
                if self._polls.get(node.node_id) is not this_poll or this_poll.given:
                    return []
                wakeup.clear()
                async with self._store.transaction() as tx:
                    rows = await tasks.lease(
                        tx,
                        node.node_id,
                        held_task_ids=request.held_task_ids,
                        limit=max(1, request.max_tasks),
                        now=self._clock.now(),
                    )
                left = ends_at - loop.time()
                # The first look may have skipped a task whose row the poll of a dead agent was just renewing: nobody
                # notifies of that, so it checks once more before it waits in earnest.
                patience = left if checked_twice else min(left, CHECK_AGAIN_SECONDS)
                if rows or wakeups.closing or left <= 0:
                    return rows
                this_poll.waits = True
                was_woken = await wakeup.wait_for(patience)
                this_poll.waits = False
                if (not was_woken and checked_twice) or await this_poll.is_gone():
                    return rows
                checked_twice = True
