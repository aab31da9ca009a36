"""The one event loop of a bridge's process, in a thread of its own: Pulumi's side is threads, ours is async.

Here: the only asyncio.run of the bridges. Not here: what runs in it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` in the loop and waits for its result in this thread."""
    return asyncio.run_coroutine_threadsafe(work, _running_loop()).result()


def call(function: Any) -> None:
    """Calls `function` in the loop, soon, without waiting. Nothing happens when no loop runs."""
    if _loop is not None:
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
