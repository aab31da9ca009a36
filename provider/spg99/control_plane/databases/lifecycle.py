"""The life of databases in one process: its parts put together. Here: wiring, and deleting old records. Not here: the parts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from spg99.config import ControlPlaneSettings
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import computes
from spg99.control_plane.databases.carry_out import Means
from spg99.control_plane.databases.expiry import Expiry
from spg99.control_plane.databases.member_changes import MemberChanges
from spg99.control_plane.databases.reconcile import Reconciler
from spg99.control_plane.databases.reports import Reports
from spg99.control_plane.databases.scheduled_snapshots import ScheduledSnapshots
from spg99.control_plane.databases.time_travel import TimeTravel
from spg99.control_plane.databases.wake import Waker
from spg99.control_plane.records.policy_cache import PolicyCache
from spg99.control_plane.store import Store, Transaction, Wakeups, prune
from spg99.processes import WatchedClock

KEPT_FOR = timedelta(days=30)
"""Finished tasks, ended computes and gone timelines are kept this long."""


class Lifecycle:
    """The life of databases in one Control Plane process. Any number of processes share one catalogue.

    `on_failure` is called for every database that could not be handled; it is looked at again later.
    """

    def __init__(
        self,
        store: Store,
        clock: WatchedClock,
        settings: ControlPlaneSettings,
        wakeups: Wakeups,
        *,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.wakeups = wakeups
        policies = PolicyCache()
        self.polls = fleet.Polls(store, clock, wakeups)
        means = Means(self.polls, policies, installation := storage.Installation())
        self.reconciler = Reconciler(store, clock, settings, wakeups, means, on_failure=on_failure)
        self.waker = Waker(self.reconciler, policies, TimeTravel(store, wakeups, clock))
        self.member_changes = MemberChanges(self.reconciler, self.polls, installation)
        self.expiry = Expiry(store, wakeups, clock)
        self.scheduled_snapshots = ScheduledSnapshots(store, wakeups, clock)
        self.reports = Reports(self.reconciler, self.waker, policies, installation)

    async def delete_old(self) -> None:
        """Deletes records nobody asks for any more, a little at a time."""
        moment = self.clock.now() - KEPT_FOR
        for forget in (fleet.forget_tasks_before, computes.forget_before, _forget_timelines):
            await prune(self.store, forget, moment)


async def _forget_timelines(tx: Transaction, moment: datetime, *, limit: int) -> int:
    away = await fleet.safekeepers_not_seen_since(tx, moment)
    return await storage.forget_timelines_before(tx, moment, limit=limit, away=away)
