"""Runs async code in the thread that asks, without an event loop for as long as none is needed.

Here: the driver, and what waits the same way in both worlds (`sleep`, `TimeLimit`). Not here: sockets (sockets.py), the loop of a
process (bridges/shared/background.py).

asyncio costs a short-lived process as much as all the rest of its imports, and most calls of a bridge or a command are one
request and its answer: nobody else has to run meanwhile. A coroutine does not care who drives it, so it is begun here, and goes
on in a loop once it says so (`into_loop`): before it waits for what others tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any, Self, TypeVar

T = TypeVar("T")


class TimeIsUp(BaseException):
    """A TimeLimit around a call without a loop has run out. As asyncio's CancelledError no `except Exception` may stop it."""

    def __init__(self, limit: TimeLimit) -> None:
        super().__init__()
        self.limit = limit


class Turn:
    """One coroutine that runs without a loop."""

    def __init__(self) -> None:
        self.limits: list[TimeLimit] = []

    def within(self, seconds: float) -> tuple[float, TimeLimit | None]:
        """How long a wait of at most `seconds` may take, and the limit around it that ends it sooner. Raises TimeIsUp."""
        first = min(self.limits, key=lambda limit: limit.ends, default=None)
        if first is None or (left := first.ends - time.monotonic()) > seconds:
            return seconds, None
        if left <= 0:
            raise TimeIsUp(first)
        return left, first


_turn: ContextVar[Turn | None] = ContextVar("spg99_loopless_turn", default=None)


class _HandOver:
    """Awaiting it gives the coroutine to the loop; the driver knows it by its class."""

    def __await__(self) -> Generator[Any, None, None]:
        yield self


def run(work: Coroutine[Any, Any, T], go_on: Callable[[Coroutine[Any, Any, T], Context], T]) -> T:
    """The result of `work`. `go_on(work, context)` carries it on in a loop, as a task of that context, and waits for its end."""
    context = copy_context()
    context.run(_turn.set, Turn())
    try:
        said = context.run(work.send, None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    if not isinstance(said, _HandOver):
        work.close()
        raise RuntimeError(f"Waits for {type(said).__name__} without an event loop; `into_loop` comes first.")
    return go_on(work, context)


def current() -> Turn | None:
    """What runs here without a loop; None: a loop runs it."""
    return _turn.get()


async def into_loop() -> None:
    """From here on an event loop runs this coroutine."""
    turn = _turn.get()
    if turn is None:
        return
    await _HandOver()
    _turn.set(None)
    for limit in turn.limits:
        await limit.go_on_in_the_loop()


async def sleep(seconds: float) -> None:
    """Waits."""
    turn = _turn.get()
    if turn is None:
        import asyncio

        await asyncio.sleep(seconds)
        return
    pause, limit = turn.within(seconds)
    time.sleep(pause)  # noqa: ASYNC251 - there is no loop that it could hold up
    if limit is not None:
        raise TimeIsUp(limit)


class TimeLimit:
    """As `asyncio.timeout`: raises TimeoutError when what is inside takes longer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.ends = 0.0
        """On `time.monotonic()`'s clock."""
        self._turn: Turn | None = None
        self._in_loop: Any = None

    async def __aenter__(self) -> Self:
        self.ends = time.monotonic() + self._seconds
        self._turn = _turn.get()
        if self._turn is None:
            await self.go_on_in_the_loop()
        else:
            self._turn.limits.append(self)
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if self._turn is not None:
            self._turn.limits.remove(self)
        if self._in_loop is not None:
            return await self._in_loop.__aexit__(kind, error, trace)  # type: ignore[no-any-return]
        if isinstance(error, TimeIsUp) and error.limit is self:
            raise TimeoutError from error
        return None

    async def go_on_in_the_loop(self) -> None:
        """The loop's own limit, for what is left."""
        import asyncio

        self._in_loop = asyncio.timeout(self.ends - time.monotonic())
        await self._in_loop.__aenter__()
