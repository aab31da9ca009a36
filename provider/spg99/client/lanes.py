"""Many requests at once without the pool's quadratic cost. Here: which pool of connections carries a request. Not here: what is sent (transport.py).

httpcore looks at every connection of a pool whenever a request begins or ends, and at every connection again for each idle
one: 128 requests over 100 connections spend four seconds with that. Lanes of a few connections each spend next to nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

REQUESTS_MAX = 12
"""Requests at once in one lane."""
CONNECTIONS_MAX = REQUESTS_MAX + 8
"""Connections of one lane: streams of events hold theirs for as long as they run."""
LANES_MAX = 24
"""What comes beyond waits in the lane that has the least to do."""


class Lanes:
    """A set of httpx clients that are made as they are needed."""

    def __init__(self, make: Callable[[], httpx.AsyncClient]) -> None:
        self._make = make
        self.first = make()
        """Has the base URL and the headers for all; requests are built with it."""
        self._busy: dict[httpx.AsyncClient, int] = {self.first: 0}

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client that has room."""
        lane = min(self._busy, key=lambda each: (self._busy[each] >= REQUESTS_MAX, -self._busy[each]))
        if self._busy[lane] >= REQUESTS_MAX:
            if len(self._busy) < LANES_MAX:
                lane = self._make()
                self._busy[lane] = 0
            else:
                lane = min(self._busy, key=self._busy.__getitem__)
        self._busy[lane] += 1
        try:
            yield lane
        finally:
            self._busy[lane] -= 1

    async def aclose(self) -> None:
        """Closes all connections."""
        for lane in self._busy:
            await lane.aclose()
