"""Wakes one who waits. Here: waking inside a process. Not here: what is a reason to (the catalogue's notifications, a compute
that ended, a first client)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

PAYLOADS_MAX = 1000
"""One who does not look for so long learns only that something happened: it has to read everything then."""


class Wakeup:
    """Wakes its waiter when something may have changed. It says "read again", never what is there.

    It is its own context manager, so that one that is taken down at the end (`Wakeups.waiter`) and one that is not
    are handed to a loop in the same way.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._forgot = False
        self.payloads: set[str] = set()
        """What it was woken with since the last `clear`; empty when that is not known: then read everything."""

    def wake(self, payload: str = "") -> None:
        """Wakes the one who waits."""
        if payload and not self._forgot:
            self.payloads.add(payload)
        if len(self.payloads) > PAYLOADS_MAX:
            self._forgot = True
            self.payloads.clear()
        self._event.set()

    def clear(self) -> set[str]:
        """Forgets what woke it so far, answers the payloads; call it before reading."""
        self._event.clear()
        self._forgot = False
        payloads, self.payloads = self.payloads, set()
        return payloads

    async def wait_for(self, seconds: float) -> bool:
        """Waits to be woken, `seconds` at most; answers whether it was."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._event.wait()
        return self._event.is_set()

    def __enter__(self) -> Wakeup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return
