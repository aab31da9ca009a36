"""Threads for calls: made when they are needed, up to a limit, then kept. Not here: what a call does (dispatch.py)."""

from __future__ import annotations

import _thread
from _queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

THREADS_MAX = 256
"""Calls at a time; further ones wait. Terraform's -parallelism is 10, people set it to 100."""


class Workers:
    """Runs jobs, each in a thread of its own."""

    def __init__(self, threads_max: int = THREADS_MAX) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = _thread.allocate_lock()
        self._threads_max = threads_max
        self._threads = 0
        self._free = 0  # threads that wait, less the jobs that wait for them

    def submit(self, job: Callable[[], None]) -> None:
        """Run `job` soon. It must not raise."""
        with self._lock:
            self._free -= 1
            if self._free < 0 and self._threads < self._threads_max:
                self._threads += 1
                self._free += 1
                try:
                    # The bare call: `threading.Thread.start` waits until the thread runs.
                    _thread.start_new_thread(self._work, ())
                except RuntimeError:  # the system gives no further thread
                    self._threads -= 1
                    self._free -= 1
                    if not self._threads:
                        raise
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                self._free += 1
