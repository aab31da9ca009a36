"""Opens moments of databases for reading: `app@2026-11-26T10:00:00Z` in place of `app`, at the same endpoint, with the same user and password.

A moment is a row beside the databases (`moment_of`), whose timeline begins in theirs and which nobody keeps. A compute on a node lays it out and only reads (node/time_travel.py);
waking, leases, metering and placement are those of databases. It knows nothing of the database's own life: no term of it is raised, no safekeeper promises anything, and the
database itself sleeps on.

Here: from the name that a client has said to a row that can be woken. Not here: names (moment_names.py), when it ends (moment_rules.py), waking (wake.py).
"""

from __future__ import annotations

from datetime import timedelta

from spg99 import faults
from spg99.control_plane import identity, storage
from spg99.control_plane.databases import moment_names, moment_rows, rows, snapshots
from spg99.control_plane.databases.branch_points import Beginning, Source, Wanted
from spg99.control_plane.databases.branching import Branching, hold, source_as_it_is
from spg99.control_plane.databases.deletion_requests import begin_delete
from spg99.control_plane.databases.moment_names import MomentName
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.records import audit, policies
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Store, Transaction, Wakeups
from spg99.errors import BadRequest, CannotWake, LimitExceeded, NoSuchMoment, NotFound, Unavailable
from spg99.ids import new_id
from spg99.processes import WatchedClock
from spg99.protocol.tasks import MOMENT_PREFIX
from spg99.resources import DatabaseState as State

MOMENTS_MAX, LINGER_SECONDS = "storage.moments_max", "storage.moment_linger_seconds"
TAKEN_UP_WITHIN = timedelta(seconds=10)
"""Whoever asked wakes it at once; a row that nobody came for goes after this time."""


class TimeTravel:
    """Moments of one installation."""

    def __init__(self, store: Store, wakeups: Wakeups, clock: WatchedClock) -> None:
        self._store, self._clock = store, clock
        self._branching = Branching(store, wakeups, clock)

    async def open(self, tenant_id: str, text: str) -> str:
        """The name of the row of this moment, there now if it was not. All who ask for the same moment get the same row.

        Raises NotFound where there is no such database, NoSuchMoment with a sentence that names what is kept, LimitExceeded when the tenant has as many open as it may, CannotWake
        when nobody can tell.
        """
        asked = moment_names.parse(text)
        if asked is None:
            raise _no_database(text)
        async with self._store.reading() as tx:
            source = await _source(tx, tenant_id, asked, text)
            there = await rows.find(tx, tenant_id, asked.text)
        if there is not None and there.state != State.DELETING:
            if there.moment_of == source.timeline_id:
                return asked.text
            await self._discard(there.db_id)  # of what the database was before a restore, or of one that had its name
        try:
            await self._find_and_write(tenant_id, asked, text)
        except BadRequest as refused:
            raise _said_to_clients(refused, text) from None
        except CannotWake:
            raise
        except Unavailable as error:
            raise CannotWake(error.message) from None
        return asked.text

    async def _find_and_write(self, tenant_id: str, asked: MomentName, text: str) -> None:
        if asked.snapshot is not None:
            async with self._store.transaction() as tx:
                row = await rows.lock(tx, (await _source(tx, tenant_id, asked, text)).db_id)
                assert row is not None, "its row is read in this transaction"
                await self._write(tx, await source_as_it_is(tx, row), await self._kept(tx, row, asked.snapshot), asked)
            return

        async def find(tx: Transaction) -> DatabaseRow:
            return await _source(tx, tenant_id, asked, text)

        wanted = Wanted(asked.time, asked.lsn, "moment", "moment", "database")
        source, found = await self._branching.find(find, wanted)
        async with self._store.transaction() as tx:
            await hold(tx, source)
            await self._write(tx, source, found, asked)

    async def _kept(self, tx: Transaction, row: DatabaseRow, name: str) -> Beginning:
        kept = await snapshots.find(tx, row.tenant_id, name)
        if kept is None or kept.db_id != row.db_id:
            raise NoSuchMoment(f'Database "{row.name}" has no snapshot "{name}".')
        if kept.is_over(self._clock.now()):
            raise NoSuchMoment(f'The snapshot "{name}" has expired at {kept.expires_at}.')
        await snapshots.hold(tx, kept)
        return Beginning(kept.moment)

    async def _write(self, tx: Transaction, source: Source, found: Beginning, asked: MomentName) -> None:
        """The source's row is locked."""
        row = await rows.by_id(tx, source.db_id)
        assert row is not None, "it is locked"
        if found.origin is None:
            raise NoSuchMoment(f'Database "{source.name}" was never started, so it has no history yet.')
        await identity.lock_organization(tx, row.org_id)  # of two that come at once, one is the last that may
        there = await rows.find(tx, row.tenant_id, asked.text)
        if there is not None and there.state != State.DELETING:
            return  # somebody else was faster
        await self._check_room(tx, row)
        now = self._clock.now()
        db_id, timeline_id = new_id("db"), new_id(MOMENT_PREFIX)
        await storage.insert_timeline(tx, timeline_id, db_id, found.origin)
        await moment_rows.insert(
            tx,
            row,
            db_id=db_id,
            timeline_id=timeline_id,
            name=asked.text,
            database_name=found.origin.database_name,
            linger_seconds=int(await policies.value(tx, LINGER_SECONDS, org_id=row.org_id)),
            wanted_until=now + TAKEN_UP_WITHIN,
        )
        await storage.insert_pin(tx, found.origin.timeline_id, db_id, "moment", lsn=found.lsn, at=now)
        await audit.record(tx, SYSTEM, "moment.open", db_id, org_id=row.org_id, name=asked.text, tenant=row.tenant)
        faults.point("moment.opened")

    async def _check_room(self, tx: Transaction, row: DatabaseRow) -> None:
        most = int(await policies.value(tx, MOMENTS_MAX, org_id=row.org_id))
        if await moment_rows.count(tx, row.tenant_id) >= most:
            raise LimitExceeded(
                f"Tenant '{row.tenant}' has {most} moment{'s' * (most != 1)} open for reading, and may not have more at the same time "
                f"(policy {MOMENTS_MAX}). One ends when its last client has left.",
                details={"limit": MOMENTS_MAX, "maximum": most},
            )

    async def _discard(self, db_id: str) -> None:
        async with self._store.transaction() as tx:
            row = await rows.lock(tx, db_id)
            if row is not None:
                await begin_delete(tx, row, force=True, actor=SYSTEM, now=self._clock.now(), for_good=True)


async def _source(tx: Transaction, tenant_id: str, asked: MomentName, text: str) -> DatabaseRow:
    row = await rows.find(tx, tenant_id, asked.database)
    if row is None or row.state in (State.DELETING, State.DELETED):
        raise _no_database(text)
    return row


def _no_database(text: str) -> NotFound:
    return NotFound(f'database "{text}" does not exist')


def _said_to_clients(refused: BadRequest, text: str) -> NoSuchMoment:
    """A refusal of the rules of branches, as a client of PostgreSQL reads it."""
    field, sentence = next(iter(refused.fields.items()), ("", refused.message))
    subject = "the moment " if field == "moment" and not sentence.startswith("'") else ""
    return NoSuchMoment(f'database "{text}" cannot be opened: {subject}{sentence}.')
