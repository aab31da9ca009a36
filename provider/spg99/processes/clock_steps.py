"""Notices when the machine's wall clock steps, by comparing it with the monotonic one. Pure: both are handed in.

A step proves nothing about anybody else: whoever sees one says so, and gives what it waits for one more grace before it
draws conclusions from a time that has passed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

STEP_SECONDS_MIN: Final = 2.0
"""Less is slewing (NTP moves a clock by 0.5 ms a second at most) and a loop that was kept waiting between two reads."""


class ClockSteps:
    """Looked at now and then, it answers by how much the wall clock has stepped since the last look."""

    def __init__(self, now: datetime, monotonic: float) -> None:
        self._now = now
        self._monotonic = monotonic

    def step(self, now: datetime, monotonic: float) -> timedelta | None:
        """The step since the last look (negative: back), None when there was none. A machine that was suspended wakes
        with a step forward: its monotonic clock stood still."""
        expected = self._now + timedelta(seconds=monotonic - self._monotonic)
        self._now, self._monotonic = now, monotonic
        step = now - expected
        return step if abs(step.total_seconds()) >= STEP_SECONDS_MIN else None
