"""One flight of a call for all who want the same at the same time. Here: who shares which flight, and how a flight ends.

The contract, for all of its users (Gateway: checkouts and credentials; Control Plane: wake-ups):

- **Who shares.** Who asks for a key joins the flight of that key that can still be joined, else begins one. A flight can be joined
  until it has ended; with `joins_under_way=False` only until it begins: whoever comes later may know of something that it does
  not see, and shares the next one, which begins when this one has ended.
- **A waiter that is cancelled, or out of time** (`StillUnderWay`), leaves. The flight goes on for the others, and to its end also
  when nobody waits: what it brings (a lease, an entry of a cache) is wanted all the same. So a flight bounds its own time.
- **An exception** reaches everybody who shares the flight, and nobody else: the next who asks begins anew. With nobody left
  to hear it, it is dropped.
- **A result** is kept no longer than the flight: who asks after its end begins anew. What may be believed longer is for a cache,
  which is the caller's.
- `leave_behind()`: something has changed, so who asks from now on shares no flight that is under way; those that are go on.

Not here: background work that nobody waits for (jobs.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class StillUnderWay(TimeoutError):
    """The waiter's time is over; the flight goes on."""


class SingleFlight(Generic[K, V]):
    """The flights of one kind of call that are under way, by key."""

    def __init__(self, *, joins_under_way: bool = True) -> None:
        self._joins_under_way = joins_under_way
        self._open: dict[K, asyncio.Task[V]] = {}
        """Those that can still be joined."""
        self._last: dict[K, asyncio.Task[V]] = {}
        """The one that the next of its key waits for; only where flights follow each other."""
        self._all: set[asyncio.Task[V]] = set()
        """The loop itself holds tasks weakly."""

    def __len__(self) -> int:
        return len(self._all)

    async def call(self, key: K, call: Callable[[], Awaitable[V]], *, wait_seconds: float | None = None) -> V:
        """What `call()` answers, or what the flight answers that is shared. Raises what it raises, or StillUnderWay."""
        flight = self._open.get(key)
        if flight is None:
            before = None if self._joins_under_way else self._last.get(key)
            flight = self._open[key] = asyncio.get_running_loop().create_task(self._fly(key, call, before))
            self._all.add(flight)
            if not self._joins_under_way:
                self._last[key] = flight
            flight.add_done_callback(lambda done: self._ended(key, done))
        # `wait` and not `await flight`: a cancelled waiter must not cancel what others share.
        done, _ = await asyncio.wait({flight}, timeout=None if wait_seconds is None else max(wait_seconds, 0))
        if not done:
            raise StillUnderWay
        return flight.result()

    def leave_behind(self) -> None:
        """Who asks from now on shares none of the flights that are under way."""
        self._open.clear()

    async def _fly(self, key: K, call: Callable[[], Awaitable[V]], before: asyncio.Task[V] | None) -> V:
        if before is not None and not before.done():
            await asyncio.wait({before})
        if not self._joins_under_way:
            self._close(key, asyncio.current_task())
        return await call()

    def _ended(self, key: K, flight: asyncio.Task[V]) -> None:
        self._close(key, flight)
        self._all.discard(flight)
        if self._last.get(key) is flight:
            del self._last[key]
        if not flight.cancelled():
            flight.exception()  # retrieved, also when nobody waits any more

    def _close(self, key: K, flight: object) -> None:
        if self._open.get(key) is flight:
            del self._open[key]
