"""The table of retry.py, row by row, and its arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from spg99.client import retry
from spg99.client.retry import Answered, Lost, NotSent, Outcome

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def wait(outcome: Outcome, *, is_repeatable: bool = True, attempt: int = 1, chance: float = 0.0) -> float | None:
    return retry.decide(outcome, is_repeatable=is_repeatable, attempt=attempt, attempts_max=6, now=NOW, chance=chance)


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {}, True),
        ("PATCH", {}, True),
        ("DELETE", {}, True),
        ("POST", {}, False),
        ("POST", {"idempotency-key": "k"}, True),
        ("PATCH", {"If-Match": '"3"'}, False),
        ("DELETE", {"if-match": '"3"'}, False),
    ],
)
def test_what_may_be_sent_twice(method: str, headers: dict[str, str], expected: bool) -> None:
    assert retry.repeatable(method, headers) is expected


@pytest.mark.parametrize(
    ("outcome", "when_repeatable", "when_not"),
    [
        (NotSent(), True, True),
        (Answered(429), True, True),
        (Lost(), True, False),
        (Answered(502), True, False),
        (Answered(503), True, False),
        (Answered(504), True, False),
        (Answered(500), False, False),
        (Answered(409), False, False),
        (Answered(404), False, False),
        (Answered(200), False, False),
    ],
)
def test_what_is_worth_another_attempt(outcome: Outcome, when_repeatable: bool, when_not: bool) -> None:
    assert (wait(outcome, is_repeatable=True) is not None) is when_repeatable
    assert (wait(outcome, is_repeatable=False) is not None) is when_not


def test_waits_grow_are_spread_and_end() -> None:
    assert [wait(NotSent(), attempt=n, chance=0.0) for n in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.6, None]
    assert wait(NotSent(), attempt=5, chance=0.5) == pytest.approx(2.4)
    late = retry.decide(NotSent(), is_repeatable=True, attempt=50, attempts_max=99, now=NOW, chance=0.999)
    assert late is not None and late < retry.LONGEST_WAIT_SECONDS


def test_the_server_says_when_to_come_back() -> None:
    assert wait(Answered(429, "7")) == 7
    assert wait(Answered(503, format_datetime(NOW + timedelta(seconds=9), usegmt=True))) == pytest.approx(9)
    assert wait(Answered(429, format_datetime(NOW - timedelta(seconds=9), usegmt=True))) == 0
    spread = wait(Answered(429, "7"), chance=0.5)
    assert spread is not None and 7 < spread < 8


def test_a_long_retry_after_is_left_to_the_user() -> None:
    assert wait(Answered(429, "3600")) is None


def test_nonsense_in_retry_after_means_the_usual_wait() -> None:
    assert wait(Answered(429, "soon")) == wait(Answered(429))


@pytest.mark.parametrize(("left", "goes_on"), [(120.0, True), (0.2, True), (0.05, False), (0.0, False)])
def test_who_has_a_time_limit_of_his_own_is_not_counted_but_timed(left: float, goes_on: bool) -> None:
    for attempt in (1, 6, 1000):
        found = retry.decide(
            NotSent(), is_repeatable=True, attempt=attempt, attempts_max=6, now=NOW, chance=0.0, seconds_left=left
        )
        assert (found is not None) is (goes_on if attempt == 1 else left == 120.0)


def test_time_changes_nothing_about_what_may_be_sent_again() -> None:
    for outcome, repeatable in ((Lost(), False), (Answered(503), False), (Answered(500), True), (Answered(409), True)):
        assert (
            retry.decide(
                outcome, is_repeatable=repeatable, attempt=1, attempts_max=6, now=NOW, chance=0.0, seconds_left=99.0
            )
            is None
        )
