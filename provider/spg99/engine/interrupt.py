"""Ctrl-C. Once: providers give up waiting, what is in flight ends, the state is kept. Twice: everything is killed. Not here:
what a run does when it is told to stop (run.py)."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def handled(on_first: Callable[[], None], on_second: Callable[[], None]) -> Iterator[None]:
    """Calls `on_first` at the first SIGINT or SIGTERM, and `on_second` and exit at the next.

    Does nothing outside the main thread: there signals are somebody else's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == 1:
            # a handler must not wait for locks that the interrupted thread may hold
            threading.Thread(target=on_first, daemon=True).start()
        else:
            on_second()
            os._exit(130)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
