"""Makes the snapshots of schedules that are due, and removes those that are too many. Here: one turn of the loop, which any number of Control Planes run. Not here: what is
decided (due_snapshots.py), schedules themselves (snapshot_schedules.py).

An attempt is claimed first, because the database's node may have to be asked, outside of any transaction. One transaction writes what becomes of it (the snapshot, those that
go, the next time), and only if the claim still counts. So whoever is killed in between has done nothing, and of two only one does it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from spg99 import faults, log
from spg99.control_plane import tenants
from spg99.control_plane.databases import branching, due_snapshots, rows, snapshot_schedules, snapshots
from spg99.control_plane.databases.branch_points import Beginning, Source, Wanted, refused
from spg99.control_plane.databases.branching import Branching
from spg99.control_plane.databases.due_snapshots import ATTEMPT, BeingRestored, Times
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.snapshot_schedules import ScheduleRow
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Store, Transaction, Wakeups
from spg99.errors import Spg99Error
from spg99.ids import new_id
from spg99.processes import WatchedClock
from spg99.resources import SnapshotSpec

SEARCH_SECONDS = 5.0
BATCH = 8
CORRECTED_EVERY = timedelta(hours=1)
CORRECTED_AT_ONCE = 500

_log = log.get("databases")


class _Restoring(Exception):
    """Raised within the search for a moment."""


class ScheduledSnapshots:
    """The snapshots of all schedules."""

    def __init__(self, store: Store, wakeups: Wakeups, clock: WatchedClock) -> None:
        self._store, self._clock = store, clock
        self._branching = Branching(store, wakeups, clock)
        self._steps = -1
        self._corrected_at: datetime | None = None

    async def turn(self) -> float:
        """An attempt at each that is due, some at once; answers the seconds until the next."""
        now = self._clock.now()
        await self._correct(now)
        claim = new_id("claim")
        async with self._store.transaction() as tx:
            due = await tx.many(ScheduleRow, "claim_schedules", now=now, claim=claim, until=now + ATTEMPT, limit=BATCH)
        faults.point("schedules.claimed")
        for failure in await asyncio.gather(*map(self._attempt, due), return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure  # the others have had their attempt; this one's claim runs out
        return 0.0 if len(due) == BATCH else SEARCH_SECONDS

    async def _attempt(self, row: ScheduleRow) -> None:
        try:
            found = await self._find(row)
            faults.point("schedules.found")
            await self._carry_out(row, found)
        except Spg99Error as error:
            # Written nowhere yet: the database was deleted or restored in the same moment, or a snapshot of this name was made.
            await self._carry_out(row, error)

    async def _find(self, row: ScheduleRow) -> tuple[Source, Beginning] | BeingRestored | Spg99Error:
        async def database(tx: Transaction) -> DatabaseRow:
            found = await rows.by_id(tx, row.db_id)
            if found is None:
                raise refused("database", f"Database '{row.database}' does not exist any more")
            if found.restore is not None:
                raise _Restoring
            return found

        try:
            return await self._branching.find(database, Wanted(None, None, "time", "lsn", "database"))
        except _Restoring:
            return BeingRestored()
        except Spg99Error as error:
            return error

    async def _carry_out(
        self, claimed: ScheduleRow, found: tuple[Source, Beginning] | BeingRestored | Spg99Error
    ) -> None:
        now = self._clock.now()
        async with self._store.transaction() as tx:
            if isinstance(found, tuple):
                await branching.hold(tx, found[0])  # a database is locked before what belongs to it, as everywhere
            row = await tx.one_or_none(
                ScheduleRow, "claimed_schedule", schedule_id=claimed.schedule_id, claim=claimed.claim
            )
            if row is None:
                return  # deleted or changed meanwhile, or this took so long that somebody else is at it
            beginning = found[1] if isinstance(found, tuple) else found
            outcome = due_snapshots.outcome(row.cron, row.times, row.last_error, beginning, now)
            if outcome.makes_one:
                assert isinstance(found, tuple), "a moment was found"
                await _make(tx, row, *found, now)
            await tx.execute(
                "note_attempt",
                schedule_id=row.schedule_id,
                next_snapshot_at=outcome.times.next_snapshot_at,
                attempt_at=outcome.times.attempt_at,
                last_snapshot_at=now if outcome.makes_one else row.last_snapshot_at,
                last_error=outcome.last_error,
            )
            if outcome.makes_one or outcome.last_error != row.last_error:
                await snapshot_schedules.publish(tx, row, "snapshot_schedule.attempted")
        if outcome.last_error is not None:
            _log.warning("a snapshot that is due was not made", schedule_id=row.schedule_id, reason=outcome.last_error)

    async def _correct(self, now: datetime) -> None:
        """Puts right what was written by a clock that was ahead: else nothing would be due until that time."""
        is_recent = self._corrected_at is not None and now - self._corrected_at < CORRECTED_EVERY
        if is_recent and self._clock.steps == self._steps:
            return
        after_id = ""
        while True:
            async with self._store.transaction() as tx:
                found = await tx.many(_Times, "page_of_schedule_times", after_id=after_id, limit=CORRECTED_AT_ONCE)
                for one in found:
                    right = due_snapshots.corrected(one.cron, Times(one.next_snapshot_at, one.attempt_at), now)
                    if right is not None:
                        await tx.execute("set_schedule_times", schedule_id=one.schedule_id, **vars(right))
            if len(found) < CORRECTED_AT_ONCE:
                break
            after_id = found[-1].schedule_id
        self._corrected_at, self._steps = now, self._clock.steps


async def _make(tx: Transaction, row: ScheduleRow, source: Source, found: Beginning, now: datetime) -> None:
    owner = await tenants.tenant_by_id(tx, row.tenant_id)
    assert owner is not None, "a foreign key of the catalogue"
    at = now
    while await snapshots.find(tx, row.tenant_id, due_snapshots.name_of_snapshot(row.name, at)) is not None:
        at += timedelta(seconds=1)
    name = due_snapshots.name_of_snapshot(row.name, at)
    spec = SnapshotSpec(tenant=row.tenant, name=name, database=row.database)
    await snapshots.create(
        tx, owner, spec, source, found, SYSTEM, now=now, schedule_id=row.schedule_id, verify=row.verify
    )
    made = await snapshots.of_schedule(tx, row.schedule_id)
    decided = [due_snapshots.Made(one.snapshot_id, one.is_needed, one.is_damaged) for one in made]
    gone = set(due_snapshots.superfluous(decided, row.keep))
    for one in made:
        if one.snapshot_id in gone:
            await snapshots.delete(tx, one, SYSTEM)
    faults.point("schedules.before_commit")


@dataclass(frozen=True)
class _Times:
    schedule_id: str
    cron: str
    next_snapshot_at: datetime
    attempt_at: datetime
