"""Calls that are being carried out, and how Cancel ends them. Not here: what they do (objects.py).

Each is a task of its own, so that what does not end by itself can be ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from spg99.errors import Spg99Error

T = TypeVar("T")

CANCEL_SECONDS = 2.5
"""Waits end at once when Pulumi cancels; a call on the wire gets so long for its answer (Pulumi kills after 5 s)."""


class Calls:
    """All calls of one plugin."""

    def __init__(self, end_waits: Callable[[], None]) -> None:
        """`end_waits` makes those that wait for an object come back with what they have."""
        self._end_waits = end_waits
        self._under_way: set[asyncio.Task[Any]] = set()
        self._ending: asyncio.Task[None] | None = None

    async def carry_out(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises Spg99Error when Cancel ended it."""
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if self._ending is None:
                task.cancel()  # it is the caller who went away
                raise
            raise Spg99Error(
                "Interrupted while the Control Plane had not answered yet. Whether it was done is found out by the next "
                "`pulumi up`: nothing is made twice."
            ) from None

    def cancel(self) -> None:
        """Ends all waits now, and what does not end by itself a moment later."""
        self._end_waits()
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end_what_remains())

    def begin(self) -> None:
        """A run begins: a Cancel of the one before, in a plugin that outlives it, is no matter of this one's."""
        self._ending = None

    async def settle(self) -> None:
        """Returns when no call is being carried out any more."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def _end_what_remains(self) -> None:
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=CANCEL_SECONDS)
        for task in list(self._under_way):
            task.cancel()
