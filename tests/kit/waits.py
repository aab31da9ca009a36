"""Waiting for a condition, with a deadline: the only way in which a test waits. Not here: any condition."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(what: str, check: Callable[[], T], *, seconds: float = 30, every: float = 0.02) -> T:
    """Waits until `check` answers something true and returns it; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (seen := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what} (last seen: {seen!r})")
        time.sleep(every)
    return seen


async def until(what: str, check: Callable[[], Awaitable[T] | T], *, seconds: float = 30, every: float = 0.01) -> T:
    """The same in a loop of asyncio; `check` may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        seen: T = await answer if inspect.isawaitable(answer) else answer  # type: ignore[assignment]
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what} (last seen: {seen!r})")
        await asyncio.sleep(every)
