"""What agents and Gateways report, and what follows from it. Here: heartbeats, leases, results of tasks. Not here: HTTP."""

from __future__ import annotations

from datetime import timedelta

from spg99 import faults, log, spans
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import computes, histories, leases, observe, rows, schedule, storage_limits
from spg99.control_plane.databases.apply import end_compute
from spg99.control_plane.databases.computes import ComputeRow
from spg99.control_plane.databases.reconcile import Reconciler
from spg99.control_plane.databases.wake import Waker
from spg99.control_plane.records.policy_cache import PolicyCache
from spg99.errors import Forbidden, NotFound
from spg99.protocol.gateway import LeaseAnswer, LeaseReport
from spg99.protocol.node import HEARTBEAT_SECONDS, Heartbeat, HeartbeatAnswer, TaskResult, is_silent
from spg99.protocol.pageserver import PageserverAnswer, PageserverHeartbeat
from spg99.protocol.safekeeper import SafekeeperAnswer, SafekeeperHeartbeat
from spg99.protocol.tasks import find_declaration

MISSING_AFTER = timedelta(seconds=10)
"""A compute younger than this may be missing in a heartbeat that was written before it ran."""

_log = log.get("databases")


class Reports:
    """Takes reports in."""

    def __init__(
        self, reconciler: Reconciler, waker: Waker, policies: PolicyCache, installation: storage.Installation
    ) -> None:
        self._reconciler = reconciler
        self._waker = waker
        self._store = reconciler.store
        self._clock = reconciler.clock
        self._policies = policies
        self._installation = installation

    async def finish_task(self, node: fleet.NodeRow, task_id: int, result: TaskResult) -> None:
        """Writes down what became of a task and does what follows, in one transaction. A repeated result changes nothing.

        Raises Forbidden when another node holds the task.
        """
        spans.mark("wake.result_heard")
        async with self._store.transaction() as tx:
            task = await fleet.find_task(tx, task_id)
            if task is None:
                raise NotFound(
                    f"Task {task_id} is not known: its record is gone, or it is of another catalogue. Drop the result.",
                    details={"task_id": task_id},
                )
            if task.node_id != node.node_id:
                raise Forbidden(
                    f"Task {task_id} is held by another identity. Drop the result, or give this node an identity of its own.",
                    details={"task_id": task_id},
                )
            if result.succeeded and (declared := find_declaration(task.kind)) is not None:
                declared.read_result(task.payload, result.result)
            # The database is locked before its order, as everybody does; all of it in one round trip.
            row = asked = None
            if task.db_id is None:
                finished = await fleet.finish_task(tx, task_id, node.node_id, result)
            else:
                await rows.begin_lock(tx, task.db_id)
                finished = await fleet.finish_task(tx, task_id, node.node_id, result)
                now = self._clock.now()
                asked = await observe.ask(tx, now, self._reconciler.graces(now), db_id=task.db_id)
                row = await rows.by_id(tx, task.db_id)
            if await finished.count() != 1:
                _log.info("a result came twice or too late", task_id=task_id, node_id=node.node_id)
                return
            if not result.succeeded:
                _log.warning("a task failed", task_id=task_id, kind=task.kind, db_id=task.db_id, reason=result.error)
            if task.db_id is None:
                await tx.notify("spg99_task", str(task_id))
            if row is not None and (row := await self._reconciler.settle(tx, row, asked=asked)) is not None:
                await self._waker.hand_over(tx, row)
            faults.point("task_result.before_commit")
        spans.mark("wake.ready")

    async def heartbeat(self, node: fleet.NodeRow, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Notes what an agent sees, and tells it what should not be there."""
        now = self._clock.now()
        observed = heartbeat.model_dump(
            include={
                "disk_total_bytes",
                "disk_free_bytes",
                "disk_is_short",
                "reserve_is_given_up",
                "makes_timelines",
                "keeps_wal",
                "changes_members",
                "makes_branches",
                "opens_moments",
                "makes_schema_branches",
                "makes_exports",
                "network_address",
            }
        )
        seen = {compute.compute_id: compute for compute in heartbeat.computes}
        async with self._store.transaction() as tx:
            before = await fleet.note_node_seen(tx, node.node_id, observed, now)
            if is_silent(before, now):
                await schedule.reconcile_databases_of_node(tx, node.node_id, now)
            await computes.note_connections(
                tx, node.node_id, {c.compute_id: c.connections for c in heartbeat.computes if c.running}
            )
            await schedule.note_storage(tx, node.node_id, heartbeat.timelines)
            limits = await storage_limits.take_in(
                tx, node.node_id, heartbeat.computes, lambda key, org_id: self._policies.value(tx, key, org_id=org_id)
            )
            expected = {compute.compute_id: compute for compute in await computes.on_node(tx, node.node_id)}
            forget = await storage.timelines_to_forget(tx, list(heartbeat.timelines))
            revoked = await fleet.revoked_identities(tx, now) if heartbeat.network_address is not None else []

        def is_missing(age: timedelta) -> bool:
            # The agent has looked: only how young the compute is may be wrong, just after a step of the clock.
            return age > MISSING_AFTER and not self._reconciler.clock.has_stepped_within(MISSING_AFTER)

        for compute in expected.values():
            report = seen.get(compute.compute_id)
            if compute.state != "running" or (report is not None and report.running):
                continue  # one that starts or stops has a task, whose result tells more than we can see here
            if report is not None:
                await self._compute_ended(compute, report.exit_reason or "The compute ended by itself.")
            elif compute.started_at is not None and is_missing(now - compute.started_at):
                await self._compute_ended(compute, "The compute is no longer on its node.")
        return HeartbeatAnswer(
            stop_compute_ids=[c.compute_id for c in heartbeat.computes if c.running and c.compute_id not in expected],
            forget_timeline_ids=forget,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            storage_limits_bytes=limits,
            revoked_ids=revoked,
        )

    async def safekeeper_heartbeat(
        self, safekeeper: fleet.SafekeeperRow, beat: SafekeeperHeartbeat
    ) -> SafekeeperAnswer:
        """Notes where a safekeeper is, and tells it what belongs to nothing any more."""
        observed = beat.model_dump(
            mode="json",
            include={
                "address",
                "network_address",
                "disk_total_bytes",
                "disk_free_bytes",
                "disk_is_short",
                "damaged",
                "troubles",
            },
        )
        async with self._store.transaction() as tx:
            await fleet.note_safekeeper_seen(tx, safekeeper.safekeeper_id, observed, self._clock.now())
            if beat.promised_terms:
                await rows.raise_terms(tx, beat.promised_terms)
            forget = await storage.timelines_to_forget(tx, beat.timelines) if beat.timelines else []
            revoked = await fleet.revoked_identities(tx, self._clock.now()) if beat.network_address is not None else []
        return SafekeeperAnswer(forget_timeline_ids=forget, revoked_ids=revoked)

    async def pageserver_heartbeat(
        self, pageserver: fleet.PageserverRow, beat: PageserverHeartbeat
    ) -> PageserverAnswer:
        """Notes what the store has of timelines, and tells which there are."""
        async with self._store.transaction() as tx:
            return await histories.heartbeat(
                tx, pageserver, beat, self._clock.now(), self._policies, self._installation
            )

    async def _compute_ended(self, compute: ComputeRow, reason: str) -> None:
        async with self._store.transaction() as tx:
            row = await rows.lock(tx, compute.db_id)
            if row is None or row.compute_id != compute.compute_id:
                return
            row = await end_compute(tx, row, reason)
            _log.warning("a compute ended by itself", db_id=row.db_id, compute_id=compute.compute_id, reason=reason)
            await self._reconciler.settle(tx, row)
            faults.point("compute_ended.before_commit")

    async def leases(self, gateway: fleet.GatewayRow, report: LeaseReport) -> LeaseAnswer:
        """Renews and releases the leases of a Gateway, and counts what it has sent to clients."""
        now = self._clock.now()
        async with self._store.transaction() as tx:
            lease_seconds = await self._policies.value(tx, "gateway.lease_seconds")
            # The gateway's row first: of two reports with the same bytes the second waits here, and no lock goes backwards.
            await fleet.note_gateway_seen(tx, gateway.gateway_id, now)
            sent_bytes = await fleet.uncounted_egress(tx, gateway.gateway_id, report.egress)
            reported = await leases.report(
                tx, gateway.gateway_id, report.leases, sent_bytes, now=now, lease_seconds=lease_seconds
            )
            if any(line.needs_reconciling for line in reported):
                await tx.notify("spg99_reconcile")
        renewed = {line.db_id for line in reported if line.stands}
        used = {use.db_id for use in report.leases if use.active_connections > 0}
        return LeaseAnswer(
            renewed=sorted(renewed), lost=sorted(used - renewed), renew_seconds=max(1, lease_seconds // 3)
        )
