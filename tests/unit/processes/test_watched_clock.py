"""The watched wall clock: a step is noticed once, either way, and ordinary time is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spg99.clock import FrozenClock
from spg99.processes import WatchedClock

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
GRACE = timedelta(seconds=15)


class Monotonic:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize("step_seconds", [7200, -7200, 3, -3])
def test_a_step_is_noticed_once_and_its_grace_ends(step_seconds: int) -> None:
    wall, monotonic = FrozenClock(START), Monotonic()
    clock = WatchedClock(wall, monotonic)
    wall.advance(seconds=step_seconds)
    assert clock.has_stepped_within(GRACE)
    assert clock.now() == START + timedelta(seconds=step_seconds)
    assert clock.steps == 1
    for _ in range(14):
        wall.advance(seconds=1)
        monotonic.seconds += 1
        assert clock.has_stepped_within(GRACE)
    wall.advance(seconds=2)
    monotonic.seconds += 2
    assert not clock.has_stepped_within(GRACE)
    assert clock.steps == 1


def test_time_that_passes_is_no_step() -> None:
    wall, monotonic = FrozenClock(START), Monotonic()
    clock = WatchedClock(wall, monotonic)
    for _ in range(100):
        wall.advance(seconds=60.01)  # as far as a clock is ever slewed
        monotonic.seconds += 60
        clock.now()
    assert clock.steps == 0
    assert not clock.has_stepped_within(GRACE)


def test_a_machine_that_was_suspended_wakes_with_a_step() -> None:
    wall = FrozenClock(START)
    clock = WatchedClock(wall, Monotonic())  # which stands still meanwhile
    wall.advance(seconds=3600)
    assert clock.has_stepped_within(GRACE)
