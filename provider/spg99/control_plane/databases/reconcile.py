"""The reconciler: looks at databases whose moment has come, decides, carries out; one transaction a database.

Here: the loop, and `settle`, the one path on which anything about a running database changes (wake-ups, results of tasks and
heartbeats go through it too, so they cost no turn of the loop). Not here: rules (decide.py), deeds (carry_out.py).
Any number of Control Planes run it at once: the row lock decides who acts. Sleepers cost nothing: the loop asks an index
in which they do not stand, when it is notified, when the next moment has come, or at the latest after a tick.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from spg99 import faults, log
from spg99.config import ControlPlaneSettings
from spg99.control_plane import fleet
from spg99.control_plane.databases import leases, rows, schedule
from spg99.control_plane.databases.carry_out import Means, carry_out
from spg99.control_plane.databases.decide import decide
from spg99.control_plane.databases.observe import LONG_AGO, Graces, leases_end_before, view_of
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.records import kept_answers, policies
from spg99.control_plane.store import Deferred, Store, Transaction
from spg99.control_plane.store.wakeups import Wakeups
from spg99.errors import Unavailable
from spg99.processes import WatchedClock
from spg99.protocol.node import NODE_SILENT_AFTER
from spg99.resources import DatabaseState as State

STEPS_MAX = 12
"""More steps at once than any path has: whoever reaches it goes round in circles."""
AT_ONCE = 4
BATCH = 64
POSTPONED_FOR = timedelta(seconds=30)
BUSY_AGAIN_SECONDS = 0.05
SILENCE_AGAIN = timedelta(seconds=10)
LEASE_SECONDS_ASSUMED = 15
"""Until the policy has been read."""

_log = log.get("databases")


class Reconciler:
    """Moves databases along."""

    def __init__(
        self,
        store: Store,
        clock: WatchedClock,
        settings: ControlPlaneSettings,
        wakeups: Wakeups,
        means: Means,
        *,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.wakeups = wakeups
        self._means = means
        self._tick_seconds = settings.tick_seconds
        self._on_failure = on_failure
        self._hears = False
        self._steps_seen = clock.steps
        self._is_retimed = True
        self._silence_seen_at = LONG_AGO
        self._lease_seconds = LEASE_SECONDS_ASSUMED
        self._hears_since: datetime | None = None
        """Since when Gateways and agents could reach a Control Plane, as far as this one knows; None: not now."""

    def graces(self, now: datetime) -> Graces:
        """Since when silence says anything."""
        return Graces(
            self._lease_grace_until, (self._hears_since or now) + NODE_SILENT_AFTER, hears_since=self._hears_since
        )

    async def settle(
        self, tx: Transaction, row: DatabaseRow, *, asked: Deferred | None = None, is_unreachable: bool = False
    ) -> DatabaseRow | None:
        """Does everything that can be done now for a locked row, saves it, and notes when to look again.

        `asked`: what surrounds it, where that was asked for with the row (`observe.ask`), which saves a round trip. `is_unreachable`: a Gateway
        has found its compute not to answer. Answers the row
        afterwards, None when it is gone.
        """
        now = self.now()
        for _ in range(STEPS_MAX):
            view = await view_of(tx, row, now, self.graces(now), asked, is_unreachable=is_unreachable)
            asked, is_unreachable = None, False
            if view.has_ended_leases:
                await leases.remove_ended(tx, row.db_id, now)
            decision = decide(view, now)
            if decision.action is None:
                break
            _log.info("step", db_id=row.db_id, state=row.state, action=type(decision.action).__name__, why=decision.why)
            after = await carry_out(tx, row, view, decision.action, now, self._means)
            if after is None:
                faults.point("reconcile.before_commit")
                return None
            row = after
        else:
            raise AssertionError(f"{row.db_id} does not settle")
        row = dataclasses.replace(
            row, reconcile_at=decision.again_at, state_reason=decision.state_reason or _lasting_reason(row)
        )
        await rows.save(tx, row)
        if decision.again_at is not None:
            await tx.notify("spg99_reconcile", row.db_id)  # some loop may sleep beyond that moment
        faults.point("reconcile.before_commit")
        return row

    async def reconcile_one(self, db_id: str) -> bool:
        """One database, one transaction; False when somebody else is at it."""
        async with self.store.transaction() as tx:
            row = await rows.lock_unless_busy(tx, db_id)
            if row is None:
                return False
            await self.settle(tx, row)
        faults.point("reconcile.after_commit")
        return True

    def now(self) -> datetime:
        """The moment of a decision. A step of the wall clock since the last one gives every lease its time anew, at once."""
        now = self.clock.now()
        if self.clock.steps != self._steps_seen:
            self._steps_seen = self.clock.steps
            self._hears = False
            self._is_retimed = False
            self._hears_since = now
        return now

    @property
    def _lease_grace_until(self) -> datetime:
        if self._hears_since is None:
            return datetime.max.replace(tzinfo=UTC)
        return self._hears_since + timedelta(seconds=self._lease_seconds)

    def knows_silence(self) -> bool:
        """Whether a node that was not heard of is silent. For the first half minute it may be us who were not there."""
        now = self.now()
        return self._hears_since is not None and now >= self._hears_since + NODE_SILENT_AFTER

    @property
    def is_hearing(self) -> bool:
        """Whether the last turn was a good one, with nothing to put right before the next."""
        return self._hears

    async def turn(self) -> float:
        """Looks at all that is due; answers the seconds until the next moment. After a turn that failed (the catalogue
        may have been away), and after a step of the clock, Gateways get the time of one lease to report before a lease
        counts as ended, and agents half a minute to be heard of and to take what was ordered."""
        self.now()
        heard, self._hears = self._hears, False
        try:
            if not heard:
                await self._begin_hearing()
            await self._find_waiting_for_nobody()
            seconds = await self._reconcile_due()
        except BaseException:
            self._hears_since = None  # from here until the next good turn, silence may be ours
            raise
        self._hears = True
        return seconds

    async def _find_waiting_for_nobody(self) -> None:
        """Now and then: orders that an agent took and is away with."""
        now = self.now()
        if self.knows_silence() and now >= self._silence_seen_at + SILENCE_AGAIN:
            self._silence_seen_at = now
            async with self.store.transaction() as tx:
                await schedule.reconcile_databases_of_silent_nodes(tx, now)

    async def _begin_hearing(self) -> None:
        async with self.store.transaction() as tx:
            self._lease_seconds = int(await policies.value(tx, "gateway.lease_seconds"))
        now = self.clock.now()
        # Another Control Plane of this machine may do the same: twice is as good as once.
        async with self.store.transaction() as tx:
            if not self._is_retimed:
                # In the order in which heartbeats and results lock: node, database, order.
                await fleet.retime_nodes(tx, now)
                await fleet.retime_safekeepers(tx, now)
                await fleet.retime_pageservers(tx, now)
                await schedule.retime(tx, now, lease_seconds=self._lease_seconds)
                await fleet.retime_tasks(tx, now)
                await kept_answers.retime(tx, now)
            await fleet.orders_wait_until(tx, now + NODE_SILENT_AFTER)
        self._is_retimed = True
        self._hears_since = now

    async def _reconcile_due(self) -> float:
        while True:
            now = self.now()
            async with self.store.transaction() as tx:
                trusted = now >= self._lease_grace_until
                due = await schedule.due(tx, now, leases_before=leases_end_before(now, trusted=trusted), limit=BATCH)
                next_at = None if due else await schedule.next_due_at(tx, leases_from=self._lease_grace_until)
            if not due:
                wait = self._tick_seconds if next_at is None else (next_at - now).total_seconds()
                return min(self._tick_seconds, max(wait, 0.001))
            room = asyncio.Semaphore(AT_ONCE)
            handled = await asyncio.gather(
                *(self._reconcile_safely(db_id, room) for db_id in due), return_exceptions=True
            )
            if failures := [failure for failure in handled if isinstance(failure, BaseException)]:
                raise failures[0]
            if not any(handled):
                return BUSY_AGAIN_SECONDS  # others are at them: look whether anything is left

    async def _reconcile_safely(self, db_id: str, room: asyncio.Semaphore) -> bool:
        async with room:
            try:
                return await self.reconcile_one(db_id)
            except Unavailable:
                raise
            except Exception:  # noqa: BLE001 - the reconciler's turn
                # One database that cannot be handled must not keep the others waiting, nor this loop spinning.
                self._on_failure()
                _log.exception("a database could not be handled; it is looked at again later", db_id=db_id)
                async with self.store.transaction() as tx:
                    await schedule.postpone(tx, db_id, self.clock.now() + POSTPONED_FOR)
                return True


def _lasting_reason(row: DatabaseRow) -> str | None:
    return row.state_reason if row.state in (State.ERROR, State.DELETING) else None
