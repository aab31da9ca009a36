"""Everything a Control Plane does by itself: which loops it runs, when each turns, and without which it is not ready.

Here: when. Not here: what (the domains), how a loop lives on after a failure (spg99.processes). Every loop may run in several
Control Planes at once and be killed at any moment.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from spg99.control_plane import storage
from spg99.control_plane.databases.describing import Describer
from spg99.control_plane.databases.exporting import Exporting
from spg99.control_plane.databases.lifecycle import Lifecycle
from spg99.control_plane.fleet import tokens
from spg99.control_plane.identity.known_keys import KnownKeys
from spg99.control_plane.records import audit, kept_answers, operations, outbox
from spg99.control_plane.serving.plane import Plane
from spg99.control_plane.store import Store, prune
from spg99.control_plane.tenants import rows
from spg99.processes import Loops

RELAY_AGAIN_SECONDS = 0.02
RELAY_GATHERS_SECONDS = 0.02
"""A burst of events becomes one transaction, and the answer that goes out with the commit that wrote them goes first."""
LAST_USED_SECONDS = 10.0
JANITOR_SECONDS = 600.0
DATABASES_JANITOR_SECONDS = 3600.0
SLOW_TICK_SECONDS = 30.0
STORE_TURN_SECONDS_MAX = 3600.0
"""A deleted tenant may have millions of objects."""
OPERATIONS_KEPT_FOR = timedelta(days=30)
ENROLMENT_TOKENS_KEPT_FOR = timedelta(days=1)
JANITORS_WAIT_AFTER_A_STEP = timedelta(days=1)
"""What is deleted because it is old may only look old after a step of the wall clock: somebody has a day to put it right."""

ESSENTIAL: Final = frozenset({"reconciler", "outbox-relay", "catalogue"})
"""Loops without which nothing asked of this process comes true: /readyz answers 503 while one of them is not well."""


def add(loops: Loops, plane: Plane, known_keys: KnownKeys, life: Lifecycle, access: storage.StoreAccess) -> None:
    """Gives `loops` all that this process does by itself; whoever starts them ends them."""
    store, wakeups, tick_seconds = plane.store, plane.wakeups, plane.settings.tick_seconds

    async def relay() -> float:
        await asyncio.sleep(RELAY_GATHERS_SECONDS)
        done = await outbox.relay(store)
        if not done.alone:
            return RELAY_AGAIN_SECONDS  # the other relay may have begun before our event was committed
        return 0.0 if done.published == outbox.RELAY_ROWS_MAX else tick_seconds

    async def follow_events() -> float:
        await plane.feed.follow()
        return tick_seconds  # a safety net; idle, it is one index look-up

    async def write_last_used() -> float:
        await known_keys.write_last_used()
        return LAST_USED_SECONDS

    async def remove_ended_tenants() -> float:
        return 0.0 if await rows.remove_ended(store) else SLOW_TICK_SECONDS

    async def delete_old_records() -> float:
        if not plane.clock.has_stepped_within(JANITORS_WAIT_AFTER_A_STEP):
            await _delete_old_records(plane)
        return JANITOR_SECONDS

    async def delete_old_databases_records() -> float:
        if not plane.clock.has_stepped_within(JANITORS_WAIT_AFTER_A_STEP):
            await life.delete_old()
        return DATABASES_JANITOR_SECONDS

    wakeups.on_listening = loops.keep("wakeups", wakeups.run, says_when_well=True)
    loops.repeat("reconciler", life.reconciler.turn, wakeup=wakeups.waiter(("spg99_reconcile", None)))
    loops.repeat("outbox-relay", relay, wakeup=wakeups.waiter(("spg99_outbox", None)))
    loops.repeat("event-feed", follow_events, wakeup=wakeups.waiter(("spg99_published", None)))
    loops.repeat("last-used", write_last_used)
    loops.repeat("ended-tenants", remove_ended_tenants, wakeup=wakeups.waiter(("spg99_tenant", None)))
    loops.repeat("expiry", life.expiry.turn)
    loops.repeat("snapshot-schedules", life.scheduled_snapshots.turn)
    installation = storage.Installation()
    describer = Describer(store, plane.box, access, installation)
    shredder = storage.Shredder(store, plane.clock, access, installation, plane.metrics.objects_deleted)
    loops.repeat("describer", describer.turn, turn_seconds_max=STORE_TURN_SECONDS_MAX)
    loops.repeat(
        "shredder", shredder.turn, wakeup=wakeups.waiter(("spg99_shred", None)), turn_seconds_max=STORE_TURN_SECONDS_MAX
    )
    exporting = Exporting(store, plane.clock, access, installation)
    loops.repeat("exports", exporting.turn, turn_seconds_max=STORE_TURN_SECONDS_MAX)
    loops.repeat("member-changes", life.member_changes.turn)
    loops.repeat("janitor", delete_old_records)
    loops.repeat("databases-janitor", delete_old_databases_records)


async def _delete_old_records(plane: Plane) -> None:
    store: Store = plane.store
    now = plane.clock.now()
    async with store.transaction() as tx:
        await audit.ensure_partitions(tx)
    for forget, kept_for in (
        (kept_answers.forget_before, timedelta()),
        (tokens.forget_before, ENROLMENT_TOKENS_KEPT_FOR),
        (outbox.forget_before, outbox.KEPT_FOR),
        (operations.forget_before, OPERATIONS_KEPT_FOR),
    ):
        await prune(store, forget, now - kept_for)
