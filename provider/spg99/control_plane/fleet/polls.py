"""How an agent gets its orders: a long poll. Here: waiting for tasks of one node. Not here: their rows (tasks.py), their results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from spg99 import spans
from spg99.clock import Clock
from spg99.control_plane.fleet import tasks
from spg99.control_plane.fleet.nodes import NodeRow
from spg99.control_plane.store import Store, Wakeups
from spg99.protocol.node import LeasedTasks, LeaseTasks

POLL_SECONDS_MAX = 60
CHECK_AGAIN_SECONDS = 0.5


class Polls:
    """The polls of all agents in this process."""

    def __init__(self, store: Store, clock: Clock, wakeups: Wakeups) -> None:
        self._store = store
        self._clock = clock
        self._wakeups = wakeups
        self._polls: dict[str, object] = {}
        """The newest poll of each node: an older one was left by an agent that is dead, and must not take orders."""

    async def lease_tasks(
        self, node: NodeRow, request: LeaseTasks, *, is_gone: Callable[[], Awaitable[bool]]
    ) -> LeasedTasks:
        """Tasks for an agent; waits for some to come, as long as the agent wants to wait and is there (`is_gone`)."""
        this_poll = self._polls[node.node_id] = object()
        try:
            return await self._lease_tasks(node, request, this_poll, is_gone)
        finally:
            if self._polls.get(node.node_id) is this_poll:
                del self._polls[node.node_id]

    async def _lease_tasks(
        self, node: NodeRow, request: LeaseTasks, this_poll: object, is_gone: Callable[[], Awaitable[bool]]
    ) -> LeasedTasks:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + min(max(request.wait_seconds, 0), POLL_SECONDS_MAX)
        wakeups = self._wakeups
        checked_twice = False
        with wakeups.waiter(("spg99_tasks", node.node_id)) as wakeup:
            while True:
                if self._polls.get(node.node_id) is not this_poll:
                    return LeasedTasks(tasks=[], now=self._clock.now())
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
                ends_here = rows or wakeups.closing or left <= 0
                if ends_here or (not await wakeup.wait_for(patience) and checked_twice) or await is_gone():
                    if rows:
                        spans.mark("wake.order_given")
                    orders = [row.as_message(node.token_sha256) for row in rows]
                    return LeasedTasks(tasks=orders, now=self._clock.now())
                checked_twice = True
