"""The parent's answers to its workers: the one place that knows all sessions of this gateway.

Here: whose password, which compute, how many sessions, which worker owns a cancel key, sums for metrics and leases.
Not here: sockets of clients (worker.py and below), asking the Control Plane (checkouts.py, credentials.py, leases.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from spg99 import faults, log
from spg99.errors import Spg99Error, TooManyConnections
from spg99.gateway.cancel import hash_of
from spg99.gateway.channel import Channel, Handler
from spg99.gateway.checkouts import Checkouts
from spg99.gateway.credentials import CredentialsCache
from spg99.gateway.leases import Leases
from spg99.gateway.login_backoff import LoginBackOff
from spg99.gateway.metrics import Metrics
from spg99.gateway.places import Limits, Places, refusal
from spg99.processes import Wakeup
from spg99.protocol.gateway import SLOWED_LOGINS_MAX, CancelForward, SlowedLogin, SlowedLogins

COLLECT_SECONDS_MAX: Final = 2.0
FORWARD_SECONDS: Final = 0.1
"""Cancel requests with unknown keys are handed on no oftener than this, after a burst."""
FORWARD_BURST: Final = 20
FORWARD_SECONDS_MAX: Final = 2.0
SLOWED_SECONDS: Final = 3600.0
"""There is a wake-up: no turn is needed without one."""
USER_LENGTH_MAX: Final = 63
"""PostgreSQL's; a longer name is nobody's."""

_log = log.get("gateway")


class RegistryApi(Protocol):
    """The part of InternalClient that is used here."""

    async def forward_cancel(self, forward: CancelForward) -> None:
        """Has every Gateway look for a key."""
        ...

    async def report_slowed_logins(self, report: SlowedLogins) -> None:
        """Has owners hear whose log-ins are slowed."""
        ...


@dataclass(slots=True)
class Session:
    """One client that is connecting or connected."""

    tenant_id: str
    database: str
    db_id: str | None = None
    """Set once it holds a place in the leases."""
    asking: asyncio.Task[Any] | None = None


@dataclass(slots=True)
class WorkerSessions:
    """Those of one worker process."""

    sessions: dict[int, Session] = field(default_factory=dict)
    places: Places = field(default_factory=Places)


@dataclass(slots=True)
class SessionRegistry:
    """Answers all workers; `open_for` gives the handlers for one of them."""

    credentials: CredentialsCache
    checkouts: Checkouts
    metrics: Metrics
    monotonic: Callable[[], float]
    leases: Leases | None = None
    workers: dict[int, Channel] = field(default_factory=dict)
    half_open: dict[int, int] = field(default_factory=dict)
    _workers: dict[int, WorkerSessions] = field(default_factory=dict)
    worker_connections_max: int = 5000
    _places: Places = field(default_factory=Places)
    api: RegistryApi | None = None
    reach_network: Callable[[], Awaitable[None]] | None = None
    """Has all workers able to reach other machines; called when a checkout names one."""
    _backoff: LoginBackOff = field(default_factory=LoginBackOff)
    _slowed: dict[tuple[str, str], None] = field(default_factory=dict)
    """Users and addresses whose owners are to hear of it."""
    slowed_wakeup: Wakeup = field(default_factory=Wakeup)
    _forwards_from: float = -math.inf

    @property
    def session_count(self) -> int:
        """Sessions over all workers."""
        return self._places.of_tenant.total()

    def open_for(self, worker: int) -> dict[str, Handler]:
        """What this worker may ask."""
        mine = self._workers[worker] = WorkerSessions()

        async def connect(**ask: Any) -> Any:
            return await self._connect(mine, **ask)

        async def closed(session: int) -> None:
            self._closed(mine, session)

        return {
            "credentials": self._credentials,
            "password_failed": self._password_failed,
            "connect": connect,
            "closed": closed,
            "cancel": self._cancel,
        }

    def worker_ended(self, worker: int) -> None:
        """All its sessions have ended with it."""
        ended = self._workers.pop(worker, WorkerSessions())
        for session in list(ended.sessions):
            self._closed(ended, session)
        self.workers.pop(worker, None)
        self.half_open.pop(worker, None)

    async def _credentials(self, pg_user: str, address: str, again: bool = False) -> dict[str, Any]:
        delay_seconds = self._backoff.delay_seconds(address, pg_user, now=self.monotonic())
        found = await (self.credentials.get_again(pg_user) if again else self.credentials.get(pg_user))
        return {"credentials": found and found.model_dump(mode="json"), "delay_seconds": delay_seconds}

    async def _password_failed(self, pg_user: str, address: str) -> None:
        if self._backoff.failed(address, pg_user, now=self.monotonic()):
            _log.warning("log-ins are slowed after many wrong passwords", address=address, pg_user=pg_user)
            if (
                len(pg_user) <= USER_LENGTH_MAX and len(self._slowed) < SLOWED_LOGINS_MAX
            ):  # a flood of names is in the log; the owners hear of the first
                self._slowed[pg_user, address] = None
                self.slowed_wakeup.wake()

    async def report_slowed(self) -> float:
        """One turn: has the Control Plane tell the owners whose log-ins have begun to be slowed."""
        slowed, self._slowed = self._slowed, {}
        if slowed and self.api is not None:
            logins = [SlowedLogin(pg_user=pg_user, client_addr=address) for pg_user, address in slowed]
            with contextlib.suppress(Spg99Error):
                await self.api.report_slowed_logins(SlowedLogins(logins=logins))
        return SLOWED_SECONDS

    async def _connect(
        self,
        worker: WorkerSessions,
        *,
        session: int,
        request_id: str,
        address: str,
        pg_user: str,
        tenant_id: str,
        database: str,
        connections_max: int,
        database_connections_max: int,
        seconds: float,
        failed_compute_id: str | None,
    ) -> dict[str, Any]:
        log.bind_request(request_id)  # every call of a worker is a task of its own
        self._backoff.succeeded(address, pg_user, now=self.monotonic())
        entry = worker.sessions.get(session)
        if entry is None:
            limits = Limits(connections_max, database_connections_max, self.worker_connections_max)
            refused = refusal(limits, tenant_id, database, gateway=self._places, worker=worker.places)
            if refused is not None:
                raise TooManyConnections(refused)
            entry = worker.sessions[session] = Session(tenant_id, database)
            for places in (self._places, worker.places):
                places.take(tenant_id, database)
        entry.asking = asyncio.current_task()
        try:
            checkout = await self.checkouts.take(
                tenant_id, database, seconds=seconds, failed_compute_id=failed_compute_id, client_addr=address
            )
        finally:
            entry.asking = None
        if checkout.node_address is not None and self.reach_network is not None:
            await self.reach_network()
        self._hold(entry, checkout.db_id)
        faults.point("gateway.after_checkout")
        return checkout.model_dump(mode="json")

    def _hold(self, entry: Session, db_id: str) -> None:
        assert self.leases is not None
        if entry.db_id == db_id:
            return
        if entry.db_id is None:
            self.metrics.connects.inc()
        else:
            self.leases.closed(entry.db_id)  # the name stands for another database by now
        entry.db_id = db_id
        self.leases.opened(db_id)

    def _closed(self, worker: WorkerSessions, session: int) -> None:
        entry = worker.sessions.pop(session, None)
        if entry is None:
            return
        for places in (self._places, worker.places):
            places.give_back(entry.tenant_id, entry.database)
        if entry.asking is not None:
            entry.asking.cancel()
        if entry.db_id is not None and self.leases is not None:
            self.leases.closed(entry.db_id)

    async def _cancel(self, pid: int, secret: str) -> None:
        if not await self._ask_workers("cancel", pid=pid, secret=secret):
            await self._forward_cancel(hash_of(pid, bytes.fromhex(secret)))

    async def _forward_cancel(self, key_hash: str) -> None:
        """Behind a balancer the request may have landed here though another Gateway has the session."""
        now = self.monotonic()
        if self.api is None or now < self._forwards_from:
            return
        # Anybody may send keys that are nobody's: they must not become a load on all Gateways.
        self._forwards_from = max(self._forwards_from, now - FORWARD_BURST * FORWARD_SECONDS) + FORWARD_SECONDS
        with contextlib.suppress(Spg99Error, TimeoutError):
            async with asyncio.timeout(FORWARD_SECONDS_MAX):
                await self.api.forward_cancel(CancelForward(key_hash=key_hash))

    async def cancel_forwarded(self, key_hash: str) -> None:
        """Another Gateway, or this one, was asked to cancel what may run here."""
        await self._ask_workers("cancel_forwarded", key_hash=key_hash)

    async def _ask_workers(self, call: str, **arguments: Any) -> bool:
        async def ask(worker: Channel) -> bool:
            try:
                return bool(await worker.call(call, **arguments))
            except Spg99Error:
                return False  # that worker has just ended, and its sessions with it

        found = any(await asyncio.gather(*(ask(worker) for worker in list(self.workers.values()))))
        if found:
            self.metrics.cancels.inc()
        return found

    async def collect(self) -> None:
        """Fetches from every worker what it has counted since the last time."""

        async def ask(index: int, worker: Channel) -> None:
            try:
                async with asyncio.timeout(COLLECT_SECONDS_MAX):
                    self._count(index, await worker.call("counters"))
            except (Spg99Error, TimeoutError):
                return  # counted the next time, or lost with the worker

        await asyncio.gather(*(ask(index, worker) for index, worker in list(self.workers.items())))
        self.metrics.active_connections.set(self.session_count)
        self.metrics.half_open_connections.set(sum(self.half_open.values()))

    def _count(self, index: int, counters: dict[str, Any]) -> None:
        assert self.leases is not None
        self.half_open[index] = counters["half_open"]
        for via, count in counters["accepted"].items():
            self.metrics.connections.labels(via).inc(count)
        for sqlstate, count in counters["errors"].items():
            self.metrics.errors.labels(sqlstate).inc(count)
        for db_id, (to_client, to_server) in counters["bytes"].items():
            self.metrics.relayed_bytes.labels("to_client").inc(to_client)
            self.metrics.relayed_bytes.labels("to_server").inc(to_server)
            self.leases.sent_to_clients(db_id, to_client)
