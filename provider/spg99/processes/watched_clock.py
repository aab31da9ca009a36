"""The machine's wall clock, watched: it notices when it steps, says so, and gives everybody grace. Here: one clock a process.

A deadline inside a process is kept on the monotonic clock; what several processes must agree on stands in the catalogue in wall
time, and there a step of hours looks like hours of silence. Nothing may be concluded from that: whoever acts because time has
passed asks `grace_until` first. Not here: how a step is told from drift (clock_steps.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from spg99 import log
from spg99.clock import Clock
from spg99.processes.clock_steps import ClockSteps

_log = log.get("clock")

STEPS_MAX = 100


class WatchedClock:
    """A clock that knows whether it has stepped. `monotonic` answers seconds that only grow."""

    def __init__(self, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._steps = ClockSteps(clock.now(), monotonic())
        self._stepped: list[tuple[float, timedelta]] = []  # when, on the monotonic clock, and by how much
        self.steps = 0
        """How often it has stepped since the process began."""

    def now(self) -> datetime:
        """The current moment in UTC."""
        now, monotonic = self._clock.now(), self._monotonic()
        step = self._steps.step(now, monotonic)
        if step is not None:
            self._stepped = [*self._stepped[-(STEPS_MAX - 1) :], (monotonic, step)]
            self.steps += 1
            _log.warning(
                "the wall clock has stepped; nothing is concluded from it for the time of a lease",
                step_seconds=round(step.total_seconds(), 1),
            )
        return now

    def has_stepped_within(self, grace: timedelta) -> bool:
        """Whether the clock has stepped so lately that the time which seems to have passed proves nothing."""
        self.now()
        return bool(self._stepped) and self._monotonic() - self._stepped[-1][0] < grace.total_seconds()

    def unstepped(self, grace: timedelta) -> datetime:
        """The moment in UTC that this clock would show if it had not stepped within `grace`; `now()` where it has not. Steps
        there and back again are none."""
        now, monotonic = self.now(), self._monotonic()
        return now - sum((by for at, by in self._stepped if monotonic - at < grace.total_seconds()), timedelta())
