"""A call that must succeed some time: what fails is logged, counted and tried again with a loop's back-off.

Here: trying. Not here: work that goes on for ever (loops.py), or that may fail for good (jobs.py).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import Counter

from spg99 import log
from spg99.processes.health import Course, pause_seconds

T = TypeVar("T")

_log = log.get("loops")


async def retried(
    name: str,
    attempt: Callable[[], Awaitable[T]],
    *,
    failures: Counter | None = None,
    chance: Callable[[], float] = random.random,
    **facts: str,
) -> T:
    """What `attempt` answers, however often it fails before. `failures` counts by `name`; `facts` go into the log.

    Raises nothing but CancelledError, when the caller itself is cancelled.
    """
    course = Course()
    while True:
        try:
            return await attempt()
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it, and the next attempt may succeed
            now = time.monotonic()
            course = course.failed(type(error).__name__, now, settles=False)
            if failures is not None:
                failures.labels(name).inc()
            pause = pause_seconds(course.failures, chance=chance())
            if course.is_worth_saying(now):
                course = course.said(now)
                _log.error("an attempt failed", exc_info=error, attempt=name, failures=course.failures, **facts)
        await asyncio.sleep(pause)
