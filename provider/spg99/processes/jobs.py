"""Background work that ends by itself, and is never forgotten: at most one job of a name, and what a job raises is logged
and counted. Here: keeping jobs. Not here: work that goes on for ever (loops.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from prometheus_client import Counter

from spg99 import log
from spg99.errors import Spg99Error

_log = log.get("jobs")


class Jobs:
    """The jobs of one process that run now. `failures` counts those that failed by the first word of their name."""

    def __init__(self, *, failures: Counter | None = None) -> None:
        self._failures = failures
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        """Begins a job, unless one of this name is under way: then that one does."""
        if name in self._tasks:
            job.close()
            return
        task = self._tasks[name] = asyncio.get_running_loop().create_task(self._run(name, job), name=name)
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def wait_for_one(self) -> None:
        """Waits until one of those that run now has ended."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)

    async def cancel(self, prefix: str) -> None:
        """Ends those whose names begin so, and returns when they have ended."""
        tasks = [task for name, task in self._tasks.items() if name.startswith(prefix)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def finish(self, *, within_seconds: float) -> None:
        """Lets jobs end by themselves for a while, then cancels what is left."""
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=within_seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a job's edge: nobody waits for it, so this is where it is heard
            if self._failures is not None:
                self._failures.labels(name.partition(" ")[0]).inc()
            if isinstance(error, Spg99Error | OSError):
                _log.warning("a job failed", job=name, reason=str(error))
            else:
                _log.exception("a job failed", job=name)
