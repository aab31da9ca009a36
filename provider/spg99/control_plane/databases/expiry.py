"""Databases and snapshots that are deleted by themselves when their time is over, and deleted databases whose data go then. Here: which, and one attempt at each. Not here:
the deletion (deletion_requests.py), which asks and refuses as it does for everybody: one that is protected, in use, or needed by a branch or a snapshot stays, and is tried
again later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from spg99 import log
from spg99.control_plane.databases import rows, snapshots, undeleting
from spg99.control_plane.databases.deletion_requests import Questions, begin_delete
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Store, Transaction, Wakeups
from spg99.errors import Conflict
from spg99.processes import WatchedClock
from spg99.resources import DatabaseState as State

AGAIN_SECONDS = 30.0
STOPPING_SECONDS = 2.0
"""One that sleeps by then is deleted at the second look."""
BATCH = 32
WAITS_AFTER_A_STEP = timedelta(days=1)
"""After a step of the wall clock a time may only seem to be over: somebody has a day to put the clock right."""

_log = log.get("databases")


@dataclass(frozen=True)
class _Id:
    db_id: str


def is_over(row: DatabaseRow, now: datetime) -> bool:
    """Whether a database's time is over (pure). Protection counts for more, and what is being deleted is deleted once."""
    return (
        row.expires_at is not None
        and row.expires_at <= now
        and not row.deletion_protection
        and row.state not in (State.DELETING, State.DELETED)
    )


class Expiry:
    """Deletes databases whose time is over."""

    def __init__(self, store: Store, wakeups: Wakeups, clock: WatchedClock) -> None:
        self._store, self._clock = store, clock
        self._questions = Questions(store, wakeups)

    async def turn(self) -> float:
        """One attempt at each; answers the seconds until the next."""
        if self._clock.has_stepped_within(WAITS_AFTER_A_STEP):
            return AGAIN_SECONDS
        await snapshots.delete_expired(self._store, self._clock)
        async with self._store.reading() as tx:
            due = await tx.many(_Id, "expired_databases", now=self._clock.now(), limit=BATCH)
            lost = await tx.many(_Id, "databases_to_remove", now=self._clock.now(), limit=BATCH)
        for one in lost:
            await self._remove(one.db_id)
        asked = [await self._attempt(one.db_id) for one in due]
        return STOPPING_SECONDS if any(asked) else AGAIN_SECONDS

    async def _remove(self, db_id: str) -> None:
        """Has the data of a deleted database go, unless something needs them."""
        async with self._store.transaction() as tx:
            row = await rows.lock_unless_busy(tx, db_id)
            now = self._clock.now()
            if row is None or not undeleting.is_over(row, now):
                return
            try:
                await begin_delete(tx, row, force=False, actor=SYSTEM, now=now)
            except Conflict as refusal:
                _log.info(
                    "it cannot come back any more, and its data stay for now", db_id=db_id, reason=refusal.message
                )

    async def _attempt(self, db_id: str) -> bool:
        """Whether its compute was asked to stop first."""
        async with self._store.transaction() as tx:
            row = await rows.lock_unless_busy(tx, db_id)
            now = self._clock.now()
            if row is None or not is_over(row, now):
                return False
            return await self._delete(tx, row, now)

    async def _delete(self, tx: Transaction, row: DatabaseRow, now: datetime) -> bool:
        try:
            if await self._questions.ask(tx, [row], force=False, actor=SYSTEM, now=now):
                return True
            await begin_delete(tx, row, force=False, actor=SYSTEM, now=now)
        except Conflict as refusal:  # raised before anything is written
            _log.info("its time is over and it stays for now", db_id=row.db_id, reason=refusal.message)
            return False
        _log.info("deleted: its time is over", db_id=row.db_id, expires_at=row.expires_at)
        return False
