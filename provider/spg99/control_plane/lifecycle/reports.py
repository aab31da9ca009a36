"""What agents and Gateways report, and what follows from it. Here: heartbeats, leases, results of tasks. Not here: HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from pydantic import ValidationError

from spg99 import faults, log
from spg99.control_plane.lifecycle.carry_out import without_compute
from spg99.control_plane.lifecycle.limits import Limits
from spg99.control_plane.lifecycle.reconcile import Reconciler
from spg99.control_plane.lifecycle.view import NODE_SILENT_AFTER
from spg99.control_plane.platform import computes, databases, gateways, leases, nodes, tasks, timelines
from spg99.control_plane.platform.computes import ComputeRow
from spg99.control_plane.platform.gateways import GatewayRow
from spg99.control_plane.platform.nodes import NodeRow
from spg99.control_plane.platform.tasks import TaskRow
from spg99.errors import BadRequest, Forbidden, NotFound
from spg99.protocol.gateway import LeaseAnswer, LeaseReport
from spg99.protocol.node import (
    ComputeStarted,
    Heartbeat,
    HeartbeatAnswer,
    LeasedTasks,
    LeaseTasks,
    TaskKind,
    TaskResult,
)

HEARTBEAT_SECONDS = 5
MISSING_AFTER = timedelta(seconds=10)
"""A compute younger than this may be missing in a heartbeat that was written before it ran."""
POLL_SECONDS_MAX = 60
LOOK_AGAIN_SECONDS = 0.5

_log = log.get("lifecycle")


class Reports:
    """Takes reports in."""

    def __init__(self, reconciler: Reconciler, limits: Limits) -> None:
        self._reconciler = reconciler
        self._store = reconciler.store
        self._clock = reconciler.clock
        self._limits = limits
        self._polls: dict[str, object] = {}
        """The newest poll of each node: an older one was left by an agent that is dead, and must not take orders."""

    async def lease_tasks(
        self, node: NodeRow, request: LeaseTasks, *, is_gone: Callable[[], Awaitable[bool]]
    ) -> LeasedTasks:
        """Tasks for an agent; waits for some to come, as long as the agent wants to wait and is there (`is_gone`)."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + min(max(request.wait_seconds, 0), POLL_SECONDS_MAX)
        wakeups = self._reconciler.wakeups
        this_poll = self._polls[node.node_id] = object()
        looked_twice = False
        with wakeups.waiter(("spg99_tasks", node.node_id)) as bell:
            while True:
                if self._polls[node.node_id] is not this_poll:
                    return LeasedTasks(tasks=[])
                bell.clear()
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
                # rings for that, so it looks once more before it waits in earnest.
                patience = left if looked_twice else min(left, LOOK_AGAIN_SECONDS)
                ends_here = rows or wakeups.closing or left <= 0
                if ends_here or (not await bell.wait_for(patience) and looked_twice) or await is_gone():
                    return LeasedTasks(tasks=[row.as_message(node.token_sha256) for row in rows])
                looked_twice = True

    async def finish_task(self, node: NodeRow, task_id: int, result: TaskResult) -> None:
        """Writes down what became of a task and does what follows, in one transaction. A repeated result changes nothing.

        Raises Forbidden when another node holds the task.
        """
        async with self._store.transaction() as tx:
            task = await tasks.find(tx, task_id)
            if task is None:
                raise NotFound("This task is not known.")
            if task.node_id != node.node_id:
                raise Forbidden("This task is held by another identity.")
            _check(task, result)
            row = await databases.lock(tx, task.db_id) if task.db_id is not None else None
            if not await tasks.finish(tx, task_id, node.node_id, result):
                _log.info("a result came twice or too late", task_id=task_id, node_id=node.node_id)
                return
            if not result.succeeded:
                _log.warning("a task failed", task_id=task_id, kind=task.kind, db_id=task.db_id, reason=result.error)
            if row is not None:
                await self._reconciler.settle(tx, row)
            faults.point("task_result.before_commit")

    async def heartbeat(self, node: NodeRow, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Notes what an agent sees, and tells it what should not be there."""
        now = self._clock.now()
        observed = {"disk_total_bytes": heartbeat.disk_total_bytes, "disk_free_bytes": heartbeat.disk_free_bytes}
        seen = {compute.compute_id: compute for compute in heartbeat.computes}
        async with self._store.transaction() as tx:
            before = await nodes.note_seen(tx, node.node_id, observed, now)
            if before is None or now - before > NODE_SILENT_AFTER:
                await databases.look_at_those_of_node(tx, node.node_id, now)
            await computes.note_connections(
                tx, node.node_id, {c.compute_id: c.connections for c in heartbeat.computes if c.running}
            )
            await databases.note_storage(tx, node.node_id, heartbeat.timelines)
            expected = {compute.compute_id: compute for compute in await computes.on_node(tx, node.node_id)}
            forget = await timelines.to_forget(tx, list(heartbeat.timelines))
        for compute in expected.values():
            report = seen.get(compute.compute_id)
            if compute.state != "running" or (report is not None and report.running):
                continue  # one that starts or stops has a task, whose result tells more than we can see here
            if report is not None:
                await self._compute_ended(compute, report.exit_reason or "The compute ended by itself.")
            elif compute.started_at is not None and now - compute.started_at > MISSING_AFTER:
                await self._compute_ended(compute, "The compute is no longer on its node.")
        return HeartbeatAnswer(
            stop_compute_ids=[c.compute_id for c in heartbeat.computes if c.running and c.compute_id not in expected],
            forget_timeline_ids=forget,
            heartbeat_seconds=HEARTBEAT_SECONDS,
        )

    async def _compute_ended(self, compute: ComputeRow, reason: str) -> None:
        async with self._store.transaction() as tx:
            row = await databases.lock(tx, compute.db_id)
            if row is None or row.compute_id != compute.compute_id:
                return
            row = await without_compute(tx, row, reason)
            _log.warning("a compute ended by itself", db_id=row.db_id, compute_id=compute.compute_id, reason=reason)
            await self._reconciler.settle(tx, row)
            faults.point("compute_ended.before_commit")

    async def leases(self, gateway: GatewayRow, report: LeaseReport) -> LeaseAnswer:
        """Renews and releases the leases of a Gateway, and counts what it has sent to clients."""
        now = self._clock.now()
        async with self._store.transaction() as tx:
            lease_seconds = await self._limits.value(tx, "gateway.lease_seconds")
            # The gateway's row first: of two reports with the same bytes the second waits here, and no lock goes backwards.
            await gateways.note_seen(tx, gateway.gateway_id, now)
            sent_bytes = await gateways.uncounted(tx, gateway.gateway_id, report.egress)
            reported = await leases.report(
                tx, gateway.gateway_id, report.leases, sent_bytes, now=now, lease_seconds=lease_seconds
            )
            if any(line.look for line in reported):
                await tx.notify("spg99_reconcile")
        renewed = {line.db_id for line in reported if line.stands}
        used = {use.db_id for use in report.leases if use.active_connections > 0}
        return LeaseAnswer(
            renewed=sorted(renewed), lost=sorted(used - renewed), renew_seconds=max(1, lease_seconds // 3)
        )


def _check(task: TaskRow, result: TaskResult) -> None:
    """Raises BadRequest for a result that is not one of this task: nothing may be built on it."""
    if not result.succeeded or task.kind != TaskKind.COMPUTE_START:
        return
    try:
        started = ComputeStarted.model_validate(result.result)
    except ValidationError as error:
        raise BadRequest("The result of compute.start must say where the compute takes connections.") from error
    if started.compute_id != task.compute_id:
        raise BadRequest("The result is about another compute.")
