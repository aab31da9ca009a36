"""A client wants a database: takes the Gateway's lease and has it running, however long that takes.

Here: one connect from first reading to Checkout. Not here: starting (the reconciler's `settle`, called in the same transaction),
routing (gateway/). Whoever waits here is answered by the transaction that finds the database ready, or woken by the notification
of a change of state; nobody polls.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from spg99 import faults, spans
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import leases, moment_names, observe, rows, storage_limits, usage
from spg99.control_plane.databases.reconcile import Reconciler
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.time_travel import TimeTravel
from spg99.control_plane.records.policy_cache import PolicyCache
from spg99.control_plane.store import Deferred, Transaction
from spg99.errors import CannotWake, NotFound, Unavailable
from spg99.processes import SingleFlight, Wakeup
from spg99.protocol.gateway import CONNECT_SECONDS_MAX, Checkout, ConnectRequest
from spg99.protocol.node import is_silent
from spg99.resources import DatabaseState as State

_Key = tuple[str, str, str, int | None, str | None]
"""Gateway, tenant, name of the database, failed attempts before the client came (None: it comes now), the compute that it did not reach."""


LEASE_SECONDS, GRACE_SECONDS = "gateway.lease_seconds", "gateway.grace_seconds"


MOMENT_TRIES = 3
"""A moment may end while somebody comes for it."""


@dataclass(frozen=True)
class _Status:
    """What one reading found: a checkout, or where the database stands."""

    db_id: str
    state: State
    attempt_count_before: int
    attempt_count: int
    reason: str
    checkout: Checkout | None = None


@dataclass(eq=False)
class _Waiting:
    """A Gateway's connect that waits for a database."""

    gateway_id: str
    wakeup: Wakeup = field(default_factory=Wakeup)
    db_id: str | None = None
    """Set once it is woken by what happens to the database."""
    checkout: Checkout | None = None
    """Set by `hand_over`."""
    has_left: bool = False


class Waker:
    """Answers connects."""

    def __init__(self, reconciler: Reconciler, policies: PolicyCache, time_travel: TimeTravel) -> None:
        self._reconciler = reconciler
        self._time_travel = time_travel
        self._policies = policies
        # A reading that has begun may not see the change that woke one who comes now.
        self._flights: SingleFlight[_Key, _Status] = SingleFlight(joins_under_way=False)
        self._joined: dict[_Key, list[_Waiting]] = {}
        """Who shares the next reading."""
        self._waiting: dict[str, set[_Waiting]] = {}
        """By db_id."""

    async def connect(self, gateway_id: str, request: ConnectRequest) -> Checkout:
        """Where the database's writer is, once it runs; of a moment who reads it.

        Raises NotFound for an unknown database or one that is being deleted; LimitExceeded when it sleeps and its account
        has used up what it may; CannotWake with the reason when a start failed
        meanwhile or the time is over; and for a moment what TimeTravel.open raises.
        """
        spans.mark("wake.asked")
        waiting = _Waiting(gateway_id)
        try:
            if not moment_names.is_moment(request.database):
                return await self._connect(request, waiting)
            return await self._connect_to_moment(request, waiting)
        finally:
            self._leave(waiting)

    async def _connect_to_moment(self, request: ConnectRequest, waiting: _Waiting) -> Checkout:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + request.wait_seconds
        for _ in range(MOMENT_TRIES):
            name = await self._time_travel.open(request.tenant_id, request.database)
            left = request.model_copy(update={"database": name, "wait_seconds": ends_at - loop.time()})
            try:
                return await self._connect(left, waiting)
            except NotFound:
                self._leave(waiting)  # it has just ended: it is opened anew
                waiting.has_left = False
        raise CannotWake("This moment of the database ends and is opened again all the time. Retry in a moment.")

    async def _connect(self, request: ConnectRequest, waiting: _Waiting) -> Checkout:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + min(max(request.wait_seconds, 0.0), CONNECT_SECONDS_MAX)
        status = await self._status(request, waiting, ends_at - loop.time())
        if status.checkout is not None:
            return status.checkout
        spans.mark("wake.ordered")
        attempt_count = status.attempt_count_before
        while True:
            if status.state is State.DELETING:
                raise NotFound(f'database "{request.database}" does not exist')
            # A failure from before we came is not ours: an attempt for us is under way or soon will be.
            if status.state is State.ERROR and status.attempt_count > attempt_count:
                raise CannotWake(status.reason, details={"db_id": status.db_id})
            if self._reconciler.wakeups.closing:
                raise Unavailable("The Control Plane is shutting down. Retry in a moment.")
            if not await waiting.wakeup.wait_for(ends_at - loop.time()):
                raise CannotWake(await self._why_not(status), details={"db_id": status.db_id})
            waiting.wakeup.clear()
            if waiting.checkout is None:
                status = await self._status(request, waiting, ends_at - loop.time(), attempt_count)
            if (checkout := waiting.checkout or status.checkout) is not None:
                spans.mark("wake.checked_out")
                return checkout.model_copy(update={"woke": True})

    async def hand_over(self, tx: Transaction, row: DatabaseRow) -> None:
        """Takes the leases of all who wait here for a database that may just have become ready, and answers them with the
        commit: nobody needs to find out by a reading of its own. Who waits elsewhere is notified, as ever."""
        waiting = self._waiting.get(row.db_id, ())
        if not _is_open(row):
            return
        for gateway_id in {one.gateway_id for one in waiting}:
            checkout = await self._check_out(tx, row, gateway_id, self._reconciler.clock.now())
            if checkout is not None:
                tx.after_commit(partial(self._answer, row.db_id, gateway_id, checkout))

    def _answer(self, db_id: str, gateway_id: str, checkout: Checkout) -> None:
        for one in self._waiting.get(db_id, ()):
            if one.gateway_id == gateway_id:
                one.checkout = checkout
                one.wakeup.wake()

    def _begin_waiting(self, waiting: _Waiting, db_id: str) -> None:
        if waiting.has_left or waiting.db_id == db_id:
            return
        self._leave(waiting)  # the name stood for another database before
        waiting.has_left, waiting.db_id = False, db_id
        self._waiting.setdefault(db_id, set()).add(waiting)
        self._reconciler.wakeups.begin(("spg99_database", db_id), waiting.wakeup)

    def _leave(self, waiting: _Waiting) -> None:
        waiting.has_left = True
        if (db_id := waiting.db_id) is None:
            return
        self._reconciler.wakeups.end(("spg99_database", db_id), waiting.wakeup)
        self._waiting[db_id].discard(waiting)
        if not self._waiting[db_id]:
            del self._waiting[db_id]
        waiting.db_id = None

    async def _status(
        self, request: ConnectRequest, waiting: _Waiting, seconds_left: float, attempt_count: int | None = None
    ) -> _Status:
        """The status, read together with all who came for the same database while the reading before was under way.

        `attempt_count` is what one who waits found when it came: after a later failure it wants no further attempt.
        """
        failed_compute_id = request.failed_compute_id if attempt_count is None else None
        key = (waiting.gateway_id, request.tenant_id, request.database, attempt_count, failed_compute_id)
        self._joined.setdefault(key, []).append(waiting)
        return await self._flights.call(key, partial(self._status_for_all, key, seconds_left))

    async def _status_for_all(self, key: _Key, seconds_left: float) -> _Status:
        joined = self._joined.pop(key, [])
        async with self._reconciler.store.transaction() as tx:
            status = await self._status_once(tx, key, seconds_left)
            if status.checkout is None:
                # While the row is locked, so that no change is missed; what this transaction itself changes is known.
                for waiting in joined:
                    self._begin_waiting(waiting, status.db_id)
                    tx.after_commit(lambda waiting=waiting: waiting.wakeup.clear())  # type: ignore[misc]
            faults.point("wake.before_commit")
        return status

    async def _status_once(self, tx: Transaction, key: _Key, seconds_left: float) -> _Status:
        gateway_id, tenant_id, name, attempt_count, failed_compute_id = key
        now = self._reconciler.clock.now()
        # All that the first decision looks at, in one round trip: most who come here find a sleeper.
        begun = await rows.begin_lock_of_name(tx, tenant_id, name)
        asked: Deferred | None = await observe.ask(
            tx, now, self._reconciler.graces(now), tenant_id=tenant_id, name=name
        )
        row = await rows.lock_of_name(tx, tenant_id, name, begun=begun)
        if row is None:
            raise NotFound(f'database "{name}" does not exist')
        if _is_open(row) and row.compute_id == failed_compute_id:
            # Perhaps it can be had elsewhere. If not, who asks tries again where it was.
            wanted_until = now + timedelta(seconds=max(seconds_left, 1.0))
            row = dataclasses.replace(row, wanted_until=max(wanted_until, row.wanted_until or wanted_until))
            settled = await self._reconciler.settle(tx, row, asked=asked, is_unreachable=True)
            if settled is None or settled.state == State.DELETING:
                return _gone(row)
            row, asked = settled, None
        if _is_open(row):
            checkout = await self._check_out(tx, row, gateway_id, now)
            if checkout is not None:
                return _Status(row.db_id, State.READY, row.attempt_count, row.attempt_count, "", checkout)
        before = row.attempt_count
        if row.state not in _STARTED:
            needed = (*usage.LIMITS, storage_limits.policy_of(row.size), LEASE_SECONDS, GRACE_SECONDS)
            await self._policies.read(tx, needed, org_id=row.org_id)
            await usage.check(tx, row.org_id, now, partial(self._policies.value, org_id=row.org_id))
        if row.state == State.ERROR and attempt_count is not None and before > attempt_count:
            return _Status(row.db_id, State.ERROR, before, before, row.state_reason or "")
        wanted_until = now + timedelta(seconds=max(seconds_left, 1.0))
        noted = row.wanted_until is not None and row.wanted_until > wanted_until - _NOTED_WITHIN
        if row.state in _MOVES_WHEN_WANTED or not noted:
            row = dataclasses.replace(row, wanted_until=max(wanted_until, row.wanted_until or wanted_until))
            settled = await self._reconciler.settle(tx, row, asked=asked)
            if settled is None:
                return _gone(row)
            row = settled
        return _Status(row.db_id, State(row.state), before, row.attempt_count, row.state_reason or "")

    async def _check_out(self, tx: Transaction, row: DatabaseRow, gateway_id: str, now: datetime) -> Checkout | None:
        """Takes the lease of a running database; None when its compute turns out to be gone."""
        lease_seconds = await self._policies.value(tx, LEASE_SECONDS, org_id=row.org_id)
        grace_seconds = await self._policies.value(tx, GRACE_SECONDS, org_id=row.org_id)
        if row.backend_addr is None or row.backend_port is None or row.compute_id is None:
            return None
        await leases.take(tx, row.db_id, gateway_id, now=now, lease_seconds=lease_seconds)
        row = dataclasses.replace(row, last_used_at=now, wanted_until=now + leases.HELD_FOR, target_scale=1)
        if row.state == State.IDLE:
            settled = await self._reconciler.settle(tx, row)
            assert settled is not None, "what is in use does not vanish"
            row = settled
        else:
            await rows.save(tx, row)
        return Checkout(
            db_id=row.db_id,
            tenant_id=row.tenant_id,
            database=row.name_in_files,
            pg_user=row.pg_user,
            compute_id=row.compute_id or "",
            backend_addr=row.backend_addr or "",
            backend_port=row.backend_port or 0,
            node_id=row.compute_node_id,
            node_address=row.compute_node_address,
            writer_term=row.writer_term,
            lease_control_epoch=row.lease_control_epoch,
            lease_seconds=lease_seconds,
            grace_seconds=grace_seconds,
            woke=False,
        )

    async def _why_not(self, status: _Status) -> str:
        """The sentence for a client whose time is over."""
        async with self._reconciler.store.transaction() as tx:
            row = await rows.by_id(tx, status.db_id)
            node_id = await storage.node_of_timeline(tx, row.timeline_id) if row is not None else None
            node = await fleet.find_node(tx, node_id) if node_id is not None else None
        now = self._reconciler.clock.now()
        if node is not None and self._reconciler.knows_silence() and is_silent(node.last_seen_at, now):
            seen = (
                "ever" if node.last_seen_at is None else f"for {int((now - node.last_seen_at).total_seconds())} seconds"
            )
            return f"Node {node.name}, which keeps the files of the database, has not been heard of {seen}."
        if status.reason:
            return status.reason
        return f"The database is still in state '{status.state}'. Retry in a moment."


def _gone(row: DatabaseRow) -> _Status:
    """A moment that has ended in this very transaction; a database that is wanted does not vanish."""
    assert row.moment_of is not None, "a wanted database does not vanish"
    return _Status(row.db_id, State.DELETING, row.attempt_count, row.attempt_count, "")


def _is_open(row: DatabaseRow) -> bool:
    return row.state in (State.READY, State.IDLE) and not row.freeze_new_checkouts


_STARTED = frozenset({State.BOOTING, State.READY, State.IDLE})
"""States in which a compute is there, or has been ordered: a limit on usage refuses a start, not what runs."""

_MOVES_WHEN_WANTED = frozenset({State.STOPPED, State.ERROR, State.READY, State.IDLE})
"""States in which being wanted may change something at once; in the others it is only written down."""

_NOTED_WITHIN = timedelta(seconds=5)
"""A `wanted_until` this little later than the one on record is not worth another write: a hundred clients come at once."""
