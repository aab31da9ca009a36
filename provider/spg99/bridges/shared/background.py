"""The one event loop of a bridge's process, in a thread of its own: the tools' side is threads, ours is async.

Here: the only asyncio.run of the bridges, and work that begins without it. Not here: what runs in it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` in the loop and waits for its result in this thread."""
    return asyncio.run_coroutine_threadsafe(work, _running_loop()).result()


def go_on(work: Coroutine[Any, Any, T], context: Context) -> T:
    """Carries on what was begun in this thread (client/loopless.py), in the loop and in its own context."""

    async def rest() -> T:
        return await asyncio.create_task(work, context=context)

    return run(rest())


def call(function: Callable[[], None]) -> None:
    """Calls `function` in the loop, soon, without waiting; here, while no loop runs."""
    if _loop is None:
        function()
    else:
        _loop.call_soon_threadsafe(function)


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            started: Future[asyncio.AbstractEventLoop] = Future()
            # A daemon: the process ends when Pulumi says so; what must not be lost was answered by then.
            threading.Thread(target=asyncio.run, args=(_until_exit(started),), name="spg99-bridge", daemon=True).start()
            _loop = started.result()
        return _loop


async def _until_exit(started: Future[asyncio.AbstractEventLoop]) -> None:
    started.set_result(asyncio.get_running_loop())
    await asyncio.Event().wait()
