"""Where the writer of a database is: asked of the Control Plane once, kept while this gateway's lease is held.

Here: the cache of checkouts, one question at a time per database, what holds while the Control Plane is away. This is
also where a new checkout can be held back: a `freeze` makes the cached one unusable, so that every new client asks the
Control Plane, whose answer may take until the handoff is over. Not here: counting use (leases.py), the connection to
the compute (backend.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from spg99 import log, spans
from spg99.errors import (
    BadRequest,
    CannotWake,
    Forbidden,
    Internal,
    NotFound,
    Spg99Error,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from spg99.processes import SingleFlight, StillUnderWay
from spg99.protocol.gateway import Change, Checkout, ConnectRequest

ASK_SECONDS_MAX: Final = 25.0
ASK_SECONDS_IN_GRACE: Final = 2.0
"""While a cached checkout would still do, the Control Plane gets this long to give a fresh one."""
RETRY_SECONDS: Final = 0.25
ANSWER_SECONDS: Final = 1.0
"""Of a client's time: for the answer to come, so that the Control Plane's reason is told rather than our guess."""

Key = tuple[str, str]
"""(tenant_id, database)"""

_log = log.get("gateway")


class ConnectApi(Protocol):
    """The part of InternalClient that is used here."""

    async def connect(self, request: ConnectRequest) -> Checkout:
        """Takes a lease and wakes the database."""
        ...


@dataclass(slots=True)
class Held:
    """A checkout and until when (monotonic seconds) the lease that goes with it is surely held."""

    checkout: Checkout
    until: float


def is_outage(error: Spg99Error) -> bool:
    """Whether the Control Plane failed to answer, rather than answered."""
    if isinstance(error, CannotWake):
        return False
    return isinstance(error, Unavailable | Internal | TooManyRequests) or type(error) is Spg99Error


def concerns_client(error: Spg99Error) -> bool:
    """Whether this answer is for the client; that our own identity is refused is no business of its."""
    return not is_outage(error) and not isinstance(error, Unauthorized | Forbidden | BadRequest)


class Checkouts:
    """All checkouts of this gateway. `on_wake` is called with the time a wake-up took."""

    def __init__(
        self,
        api: ConnectApi,
        *,
        monotonic: Callable[[], float],
        ask_seconds: float = ASK_SECONDS_MAX,
        on_wake: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._api = api
        self._monotonic = monotonic
        self._ask_seconds = ask_seconds
        self._on_wake = on_wake
        self._held: dict[Key, Held] = {}
        self._requests: SingleFlight[Key, Checkout] = SingleFlight()
        self._releasing: dict[str, asyncio.Event] = {}
        """By db_id: what is cached of the database may be forgotten before its release is answered."""
        self._released_as: dict[Key, str] = {}
        """The db_id of what was cached when its release began."""
        self.grace_seconds_seen = 0

    async def take(
        self,
        tenant_id: str,
        database: str,
        *,
        seconds: float,
        failed_compute_id: str | None = None,
        client_addr: str | None = None,
    ) -> Checkout:
        """Where to connect to, within `seconds`. `failed_compute_id` is a compute that was found not to answer; `client_addr` is
        who comes, which the events of a wake-up name.

        Raises NotFound, or CannotWake with the reason.
        """
        key = (tenant_id, database)
        deadline = self._monotonic() + seconds
        if (held := self._held.get(key)) is not None and held.checkout.compute_id == failed_compute_id:
            del self._held[key]
            held = None
        if held is not None and held.until > self._monotonic():
            return held.checkout
        while True:
            try:
                return await self._ask_once(key, deadline - self._monotonic(), client_addr, failed_compute_id)
            except Spg99Error as error:
                if concerns_client(error):
                    raise
                if (usable := self._in_grace(key)) is not None:
                    return usable
                if self._monotonic() + RETRY_SECONDS >= deadline:
                    _log.error("no answer from the Control Plane", error=str(error), database=database)
                    raise CannotWake(
                        "The database cannot be reached right now: the Control Plane does not answer. Retry in a moment."
                    ) from error
            await asyncio.sleep(RETRY_SECONDS)

    async def _ask_once(
        self, key: Key, seconds: float, client_addr: str | None, failed_compute_id: str | None
    ) -> Checkout:
        request = partial(self._request, key, client_addr, failed_compute_id)
        try:
            return await self._requests.call(key, request, wait_seconds=seconds)
        except StillUnderWay:
            # Whether it wakes or nobody heard us is not known: the Control Plane gives a reason when it has one.
            raise CannotWake(
                "The database cannot be reached right now: the Control Plane has not answered in time. Retry in a moment."
            ) from None

    async def _request(self, key: Key, client_addr: str | None, failed_compute_id: str | None) -> Checkout:
        if (releasing := self._releasing.get(self._released_as.get(key, ""))) is not None:
            # The release of the last lease is on its way: asked before it is answered, the new lease might be the one
            # that is released.
            await releasing.wait()
        tenant_id, database = key
        seconds = self._ask_seconds
        if self._in_grace(key) is not None:
            seconds = min(seconds, ASK_SECONDS_IN_GRACE)
        asked_at = self._monotonic()
        spans.mark("gateway.asks")
        try:
            async with asyncio.timeout(seconds + 1):
                checkout = await self._api.connect(
                    ConnectRequest(
                        tenant_id=tenant_id,
                        database=database,
                        wait_seconds=seconds,
                        failed_compute_id=failed_compute_id,
                        client_addr=client_addr,
                    )
                )
        except TimeoutError:
            raise Unavailable from None
        except NotFound as error:
            self._held.pop(key, None)
            raise NotFound(f'database "{database}" does not exist') from error
        spans.mark("gateway.answered")
        self._held[key] = Held(checkout, asked_at + checkout.lease_seconds)
        self.grace_seconds_seen = max(self.grace_seconds_seen, checkout.grace_seconds)
        if checkout.woke:
            seconds = self._monotonic() - asked_at
            self._on_wake(seconds)
            _log.info("woken", db_id=checkout.db_id, seconds=round(seconds, 3))
        return checkout

    def _in_grace(self, key: Key) -> Checkout | None:
        held = self._held.get(key)
        if held is None or self._monotonic() >= held.until + held.checkout.grace_seconds:
            return None
        return held.checkout

    def renewed(self, db_ids: set[str], *, asked_at: float) -> None:
        """The Control Plane has renewed these leases, when it was asked at `asked_at`."""
        for held in self._held.values():
            if held.checkout.db_id in db_ids:
                held.until = max(held.until, asked_at + held.checkout.lease_seconds)

    def lost(self, db_id: str) -> None:
        """The lease no longer stands: the next client asks. Live sessions are left alone."""
        for key in [k for k, held in self._held.items() if held.checkout.db_id == db_id]:
            del self._held[key]

    def begin_release(self, db_id: str) -> None:
        """A report that releases this lease is about to be sent: from now on new clients ask, and wait for its answer."""
        for key, held in self._held.items():
            if held.checkout.db_id == db_id:
                held.until = min(held.until, self._monotonic())
                self._releasing.setdefault(db_id, asyncio.Event())
                self._released_as[key] = db_id

    def end_release(self, db_id: str, *, answered: bool) -> None:
        """The report was answered (the lease is gone) or failed (the cached checkout may still do in an outage)."""
        if (event := self._releasing.pop(db_id, None)) is not None:
            event.set()
        for key in [k for k, released in self._released_as.items() if released == db_id]:
            del self._released_as[key]
        if answered:
            self.lost(db_id)

    def changed(self, change: Change) -> None:
        """The Control Plane says that something cached is no longer true."""
        for key, held in list(self._held.items()):
            checkout = held.checkout
            concerned = checkout.db_id == change.db_id if change.db_id else checkout.tenant_id == change.tenant_id
            newer = change.lease_control_epoch is not None and (
                checkout.lease_control_epoch >= change.lease_control_epoch
            )
            if concerned and not newer and change.reason != "credentials.rotated":
                del self._held[key]

    def forget_all(self) -> None:
        """Changes were missed: nothing cached is certain, though it may still do in an outage."""
        for held in self._held.values():
            held.until = min(held.until, self._monotonic())
