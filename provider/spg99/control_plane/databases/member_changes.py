"""Replaces safekeepers that are lost for good, of databases that run and of those that sleep. Here: reading, and carrying out one step a transaction. Not here: which step
(members.py), what an agent does of it (node/members.py)."""

from __future__ import annotations

from datetime import datetime, timedelta

from spg99 import faults, log
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import members, observe, rows
from spg99.control_plane.databases.kept import kept_by
from spg99.control_plane.databases.members import Seen
from spg99.control_plane.databases.reconcile import Reconciler
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.view import SafekeeperView
from spg99.control_plane.records import audit, policies
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Transaction
from spg99.protocol.node import is_silent
from spg99.protocol.safekeeper import Configuration
from spg99.protocol.tasks import TaskKind, TimelineMembers
from spg99.resources import DatabaseState as State

AGAIN_SECONDS = 5.0
STEPS_AT_ONCE = 32

_log = log.get("databases")


class MemberChanges:
    """The changes of all databases."""

    def __init__(self, reconciler: Reconciler, polls: fleet.Polls, installation: storage.Installation) -> None:
        self._reconciler = reconciler
        self._store, self._clock = reconciler.store, reconciler.clock
        self._polls, self._installation = polls, installation

    async def turn(self) -> float:
        """One step for each that needs one; answers the seconds until the next."""
        now = self._clock.now()
        async with self._store.reading() as tx:
            gone_ids = await self._gone(tx, now)
            db_ids = await storage.timelines_with_members(tx, sorted(gone_ids), limit=STEPS_AT_ONCE)
        for db_id in db_ids:
            async with self._store.transaction() as tx:
                row = await rows.lock_unless_busy(tx, db_id)
                if row is not None and row.state != State.DELETING:
                    await self._step(tx, row, gone_ids)
        return AGAIN_SECONDS

    async def _gone(self, tx: Transaction, now: datetime) -> frozenset[str]:
        """Those that are lost, or were not heard of for long though they could have been."""
        lost_after = timedelta(seconds=await policies.value(tx, "storage.safekeeper_lost_seconds"))
        hears_since = self._reconciler.graces(now).hears_since
        if hears_since is None or self._clock.has_stepped_within(lost_after):
            silent_before = None
        else:
            silent_before = now - lost_after if hears_since <= now - lost_after else None
        return frozenset(await fleet.safekeepers_gone(tx, silent_before))

    async def _step(self, tx: Transaction, row: DatabaseRow, gone_ids: frozenset[str]) -> None:
        now = self._clock.now()
        timeline = await storage.find_timeline(tx, row.timeline_id)
        if timeline is None or timeline.state != "present" or (configuration := timeline.keepers) is None:
            return
        node = await fleet.find_node(tx, timeline.node_id) if timeline.node_id is not None else None
        if node is None or is_silent(node.last_seen_at, now) or not node.changes_members:
            return
        view = await observe.view_of(tx, row, now, self._reconciler.graces(now))
        seen = Seen(
            configuration=configuration,
            is_announced=not (timeline.configuration or {}).get("is_pending"),
            gone_ids=gone_ids,
            candidates=tuple(
                SafekeeperView(one.safekeeper_id, one.last_seen_at, one.disk_free_bytes, one.disk_is_short)
                for one in await fleet.active_safekeepers(tx)
            ),
            task=view.latest(TaskKind.TIMELINE_MEMBERS),
        )
        step = members.next_step(seen, now)
        match step:
            case None:
                return
            case members.CancelOrder(task_id):
                await fleet.cancel_task(tx, task_id, "The node did not answer in time.")
            case members.NoteAnnounced():
                await storage.configure_timeline(tx, row.timeline_id, configuration, tenant_id=row.tenant_id)
            case members.OrderIt():
                await self._order(tx, row, node.node_id, configuration, now)
            case members.Configure(following):
                joining = set((following.next_members or following.members).safekeeper_ids) - gone_ids
                if not joining <= await fleet.hold_safekeepers(tx, sorted(joining)):
                    return  # one of them was removed a moment ago: the next turn knows
                await storage.configure_timeline(
                    tx, row.timeline_id, following, tenant_id=row.tenant_id, is_pending=following.next_members is None
                )
                ids = (following.next_members or following.members).safekeeper_ids
                await audit.record(
                    tx, SYSTEM, "database.safekeepers", row.db_id, org_id=row.org_id, reason=f"kept by {', '.join(ids)}"
                )
                await self._order(tx, row, node.node_id, following, now)
        _log.info("members", db_id=row.db_id, step=type(step).__name__, number=configuration.number)
        faults.point("members.stepped")

    async def _order(
        self, tx: Transaction, row: DatabaseRow, node_id: str, configuration: Configuration, now: datetime
    ) -> None:
        kept = await kept_by(tx, row.tenant_id, configuration, self._installation)
        assert kept is not None, "it has a configuration"
        order = TimelineMembers(timeline_id=row.timeline_id, kept=kept)
        poll = await self._polls.waiting(node_id)
        await fleet.enqueue_task(tx, order, node_id=node_id, db_id=row.db_id, now=now, poll=poll)
