"""What runs beside the requests: the reconciler and the janitors. Here: wiring and starting. Not here: their work."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from spg99 import log
from spg99.clock import Clock
from spg99.config import ControlPlaneSettings
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import computes
from spg99.control_plane.databases.reconcile import Reconciler
from spg99.control_plane.databases.reports import Reports
from spg99.control_plane.databases.wake import Waker
from spg99.control_plane.records.policy_cache import PolicyCache
from spg99.control_plane.store import Store, Wakeups
from spg99.errors import Unavailable

KEPT_FOR = timedelta(days=30)
"""Finished tasks, ended computes and gone timelines are kept this long."""
JANITOR_SECONDS = 3600.0
JANITOR_ROWS_MAX = 10_000


class Lifecycle:
    """The life of databases in one Control Plane process. Any number of processes share one catalogue."""

    def __init__(self, store: Store, clock: Clock, settings: ControlPlaneSettings, wakeups: Wakeups) -> None:
        self.store = store
        self.clock = clock
        self.wakeups = wakeups
        policies = PolicyCache()
        self.reconciler = Reconciler(store, clock, settings, wakeups)
        self.waker = Waker(self.reconciler, policies)
        self.reports = Reports(self.reconciler, policies)


def start(life: Lifecycle) -> list[asyncio.Task[None]]:
    """Starts the loops; the caller cancels them. `wakeups.run()` is the caller's: others listen too."""
    return [
        asyncio.create_task(life.reconciler.run(), name="reconciler"),
        asyncio.create_task(_forget_old(life), name="lifecycle janitor"),
    ]


async def _forget_old(life: Lifecycle) -> None:
    while True:
        try:
            await forget_old(life)
        except Unavailable as error:
            log.get("lifecycle").warning("the janitor waits for the catalogue", reason=error.message)
        await asyncio.sleep(JANITOR_SECONDS)


async def forget_old(life: Lifecycle) -> None:
    """Deletes what nobody asks for any more, a little at a time."""
    moment = life.clock.now() - KEPT_FOR
    deleted = JANITOR_ROWS_MAX
    while deleted == JANITOR_ROWS_MAX:
        async with life.store.transaction() as tx:
            deleted = await fleet.forget_tasks_before(tx, moment, limit=JANITOR_ROWS_MAX)
    async with life.store.transaction() as tx:
        await computes.forget_before(tx, moment)
        await storage.forget_timelines_before(tx, moment)
