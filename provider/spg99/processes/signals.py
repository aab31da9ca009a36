"""Orders to stop, as signals. Here: hearing them. Not here: how a process ends (each process)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def stop_ordered(
    *,
    first: Callable[[], None] | None = None,
    again: Callable[[], None] | None = None,
    signals: tuple[signal.Signals, ...] = STOP_SIGNALS,
) -> asyncio.Event:
    """An event that is set by the first of these signals, in the loop that runs now; `first` is called for it, `again` for
    every later one: whoever says it twice does not want to wait."""
    stop = asyncio.Event()

    def heard() -> None:
        if stop.is_set():
            if again is not None:
                again()
            return
        stop.set()
        if first is not None:
            first()

    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, heard)
    return stop


def hear_no_more(signals: tuple[signal.Signals, ...] = STOP_SIGNALS) -> None:
    """These signals do again what they do to every process."""
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.remove_signal_handler(number)
