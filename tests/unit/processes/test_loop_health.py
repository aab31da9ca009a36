"""The rules of a loop's health and of its back-off, with time handed in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.processes.health import (
    PAUSE_SECONDS_MAX,
    SAY_AGAIN_SECONDS,
    SETTLED_SECONDS,
    UNHEALTHY_AFTER_SECONDS,
    Course,
    complaint,
    pause_seconds,
)

TURN_MAX = 120.0


def test_a_short_failure_worries_nobody_and_a_long_one_is_told_with_its_beginning() -> None:
    course = Course().began(0).failed("Unavailable", 1, settles=False)
    assert complaint(course, 1 + UNHEALTHY_AFTER_SECONDS - 0.1, turn_seconds_max=TURN_MAX) is None
    course = course.began(4).failed("Internal", 5, settles=False)
    assert complaint(course, 1 + UNHEALTHY_AFTER_SECONDS, turn_seconds_max=TURN_MAX) == (
        1,
        "failed 2 times in a row (Internal)",
    )


def test_one_good_turn_makes_it_well_again() -> None:
    course = Course().began(0).failed("x", 1, settles=False).began(100)
    assert complaint(course, 101, turn_seconds_max=TURN_MAX) is not None
    assert complaint(course.succeeded(), 101, turn_seconds_max=TURN_MAX) is None


def test_a_turn_that_never_ends_is_a_fault_though_nothing_has_failed() -> None:
    course = Course().began(10)
    assert complaint(course, 10 + TURN_MAX, turn_seconds_max=TURN_MAX) is None
    assert complaint(course, 11 + TURN_MAX, turn_seconds_max=TURN_MAX) == (
        10,
        "its turn has not come to an end for 121 s",
    )
    assert complaint(course, 1_000_000, turn_seconds_max=None) is None, "one that runs for ever may"


def test_a_loop_that_runs_for_ever_is_well_again_once_it_has_run_a_while() -> None:
    course = Course().began(0).failed("x", 1, settles=True).began(20)
    assert complaint(course, 20, turn_seconds_max=None) is not None
    assert complaint(course, 20 + SETTLED_SECONDS, turn_seconds_max=None) is None
    again = course.failed("x", 20 + SETTLED_SECONDS, settles=True)
    assert (again.failures, again.failing_since) == (1, 20 + SETTLED_SECONDS), "what was before is over"
    quick = course.failed("x", 19 + SETTLED_SECONDS, settles=True)
    assert (quick.failures, quick.failing_since) == (2, 1)


def test_a_loop_that_has_ended_is_told_at_once() -> None:
    assert complaint(Course().began(1).ended("SystemExit", 7), 7, turn_seconds_max=None) == (
        7,
        "it has ended (SystemExit)",
    )


def test_a_failure_is_said_when_it_begins_when_its_cause_changes_and_now_and_then() -> None:
    course = Course().failed("a", 0, settles=False)
    assert course.is_worth_saying(0)
    course = course.said(0).failed("a", 1, settles=False)
    assert not course.is_worth_saying(1)
    assert course.is_worth_saying(SAY_AGAIN_SECONDS)
    assert course.failed("b", 1, settles=False).is_worth_saying(1)


@given(failures=st.integers(1, 10**9), chance=st.floats(0, 1), asked=st.floats(0, 60))
def test_a_pause_grows_and_has_a_bound_and_gives_the_other_side_the_time_it_asked_for(
    failures: int, chance: float, asked: float
) -> None:
    pause = pause_seconds(failures, chance=chance, asked_seconds=asked)
    assert asked < pause <= asked + PAUSE_SECONDS_MAX
    assert pause_seconds(failures + 1, chance=chance, asked_seconds=asked) >= pause


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_the_first_pause_is_short(chance: float) -> None:
    assert pause_seconds(1, chance=chance) <= 0.1
