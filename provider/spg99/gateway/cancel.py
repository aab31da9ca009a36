"""Cancel keys of our own, and what Ctrl-C in psql becomes. Here: the keys this worker gave out, cancelling at a compute.

Not here: finding the worker, or the Gateway, that owns a key (registry.py asks them all: a key says nothing about where it
came from).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import ssl
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from spg99.gateway import backend
from spg99.gateway.backend import Place
from spg99.processes import SingleFlight
from spg99.wire.startup import cancel_request

SHORT_KEY_BYTES: Final = 4
LONG_KEY_BYTES: Final = 32
CANCEL_SECONDS_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class CancelTarget:
    """The session at a compute that a key of ours stands for."""

    place: Place
    pid: int
    secret: bytes = field(repr=False)


class CancelKeys:
    """The keys of this worker's live sessions: (the compute's pid, our own secret)."""

    def __init__(self) -> None:
        self._targets: dict[tuple[int, bytes], CancelTarget] = {}
        self._by_hash: dict[str, CancelTarget] = {}

    def give(self, target: CancelTarget, *, long: bool) -> tuple[int, bytes]:
        """A fresh key. The pid stays the compute's, so that a client finds itself in pg_stat_activity."""
        while True:
            key = (target.pid, secrets.token_bytes(LONG_KEY_BYTES if long else SHORT_KEY_BYTES))
            if key not in self._targets:
                self._targets[key] = target
                self._by_hash[hash_of(*key)] = target
                return key

    def take_back(self, key: tuple[int, bytes]) -> None:
        """The session has ended."""
        self._targets.pop(key, None)
        self._by_hash.pop(hash_of(*key), None)

    def find(self, pid: int, secret: bytes) -> CancelTarget | None:
        """The session a key stands for."""
        return self._targets.get((pid, secret))

    def find_by_hash(self, key_hash: str) -> CancelTarget | None:
        """The session a key stands for that another Gateway was given."""
        return self._by_hash.get(key_hash)


def hash_of(pid: int, secret: bytes) -> str:
    """What Gateways say to each other in place of a key."""
    return hashlib.sha256(b"cancel" + pid.to_bytes(4) + secret).hexdigest()


class Cancels:
    """Cancels at computes: however many requests come for one session, one connection to its compute at a time. One that comes while
    another is under way is carried out after it, because the query it means may have begun only now; with all that came meanwhile."""

    def __init__(self) -> None:
        self._flights: SingleFlight[CancelTarget, None] = SingleFlight(joins_under_way=False)

    async def cancel(self, target: CancelTarget, network: ssl.SSLContext | None = None) -> None:
        """Returns when the compute was asked."""
        await self._flights.call(target, partial(cancel, target, network))


async def cancel(target: CancelTarget, network: ssl.SSLContext | None = None) -> None:
    """Asks the compute to cancel and waits until it has closed the connection, which is all the answer there is."""
    try:
        async with asyncio.timeout(CANCEL_SECONDS_MAX):
            protocol = _UntilClosed()
            transport = await backend.connect(target.place, protocol, network=network)
            try:
                transport.write(cancel_request(target.pid, target.secret))
                await protocol.closed.wait()
            finally:
                transport.abort()
    except (TimeoutError, backend.BackendGone):
        # A compute that is gone runs nothing to cancel; PostgreSQL never answers a canceller more than this.
        return


class _UntilClosed(backend.Protocol):
    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
