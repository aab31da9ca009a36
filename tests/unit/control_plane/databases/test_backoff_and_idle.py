"""The two clocks: when to try again, when to sleep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spg99.control_plane.databases import backoff, idle

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_the_back_off_doubles_up_to_five_minutes() -> None:
    assert [backoff.delay(n).total_seconds() for n in range(1, 12)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(st.integers(min_value=1, max_value=10**9))
def test_the_back_off_is_bounded(attempt_count: int) -> None:
    assert seconds(1) <= backoff.delay(attempt_count) <= seconds(300)


def test_after_the_last_attempt_nothing_is_tried_by_itself() -> None:
    assert backoff.retry_at(NOW, 9, attempts_max=10) == NOW + seconds(256)
    assert backoff.retry_at(NOW, 10, attempts_max=10) is None
    assert backoff.retry_at(NOW, 1, retryable=False) is None


def test_somebody_who_waits_shortens_the_back_off() -> None:
    planned = NOW + seconds(300)
    assert backoff.due_at(planned, NOW, wanted=False) == planned
    assert backoff.due_at(planned, NOW, wanted=True) == NOW + seconds(1)
    assert backoff.due_at(None, NOW, wanted=True) == NOW + seconds(1)
    assert backoff.due_at(None, NOW, wanted=False) is None


def test_the_idle_clock_starts_at_the_last_use() -> None:
    used, started = NOW - seconds(4), NOW - seconds(60)
    assert idle.clock_starts_at(NOW, last_used_at=used, started_at=started) == used


def test_a_use_from_before_the_start_does_not_count() -> None:
    started = NOW - seconds(1)
    assert idle.clock_starts_at(NOW, last_used_at=NOW - seconds(9000), started_at=started) == started


def test_a_gateway_whose_clock_is_ahead_does_not_move_the_idle_clock_into_the_future() -> None:
    assert idle.clock_starts_at(NOW, last_used_at=NOW + seconds(50), started_at=None) == NOW


def test_a_timeout_of_zero_never_ends() -> None:
    assert idle.sleeps_at(NOW, 0) is None
    assert idle.sleeps_at(NOW, 300) == NOW + seconds(300)
