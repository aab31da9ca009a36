"""A bell: wakes one who waits. Here: waking inside a process. Not here: what rings it (the catalogue's notifications,
a compute that ended, a first client)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

PAYLOADS_MAX = 1000
"""One who does not look for so long is told only that something rang: it has to look at everything then."""


class Bell:
    """Rings when something one waits for may have changed. It says "look again", never what is there.

    A bell is its own context manager, so that one that is taken down at the end (`Wakeups.waiter`) and one that is not
    are handed to a loop in the same way.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._forgot = False
        self.payloads: set[str] = set()
        """What rang since the last `clear`; empty when it is not known: then look at everything."""

    def ring(self, payload: str = "") -> None:
        """Wakes the one who waits."""
        if payload and not self._forgot:
            self.payloads.add(payload)
        if len(self.payloads) > PAYLOADS_MAX:
            self._forgot = True
            self.payloads.clear()
        self._event.set()

    def clear(self) -> set[str]:
        """Forgets past rings, answers their payloads; call it before looking."""
        self._event.clear()
        self._forgot = False
        rung, self.payloads = self.payloads, set()
        return rung

    async def wait_for(self, seconds: float) -> bool:
        """Waits for a ring, `seconds` at most; answers whether it rang."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._event.wait()
        return self._event.is_set()

    def __enter__(self) -> Bell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return
