"""When schedules are due, what becomes of an attempt, which snapshots go; and what cron expressions are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99 import cron
from spg99.control_plane.databases.branch_points import Beginning
from spg99.control_plane.databases.due_snapshots import (
    AGAIN,
    ATTEMPT,
    BeingRestored,
    Made,
    Outcome,
    Times,
    corrected,
    first_times,
    name_of_snapshot,
    outcome,
    superfluous,
)
from spg99.errors import BadRequest, Conflict, NotFound, Spg99Error, Unavailable
from spg99.patterns import NAME_PATTERN
from spg99.rules import cron_is_right

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
FOUND = Beginning(None)
LATE = Times(NOON - timedelta(days=3), NOON)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", "2026-12-02 02:30"),
        ("  30   2 * *  * ", "2026-12-02 02:30"),
        ("@hourly", "2026-12-01 13:00"),
        ("@Daily", "2026-12-02 00:00"),
        ("@midnight", "2026-12-02 00:00"),
        ("@weekly", "2026-12-06 00:00"),
        ("@monthly", "2027-01-01 00:00"),
        ("@yearly", "2027-01-01 00:00"),
        ("@annually", "2027-01-01 00:00"),
        ("0 12 * * *", "2026-12-02 12:00"),  # after now, never now
        ("0 0 * * mon-fri", "2026-12-02 00:00"),
        ("0 0 13 * 5", "2026-12-04 00:00"),  # the day of the month or that of the week, as cron has it
        ("0 0 29 2 *", "2028-02-29 00:00"),
    ],
)
def test_the_next_time_is_in_utc_and_after_now(expression: str, expected: str) -> None:
    assert cron.complaint(expression) is None
    assert cron.next_after(expression, NOON).strftime("%Y-%m-%d %H:%M") == expected
    elsewhere = NOON.astimezone(datetime.fromisoformat("2026-12-01T12:00:00+05:30").tzinfo)
    assert cron.next_after(expression, elsewhere) == cron.next_after(expression, NOON)


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("", "must be five fields in UTC"),
        ("* * * *", "must be five fields in UTC"),
        ("* * * * * *", "must be five fields in UTC"),
        ("@never", "must be five fields in UTC"),
        ("60 * * * *", "the minute '60'"),
        ("* 24 * * *", "the hour '24'"),
        ("* * 32 * *", "the day of the month '32'"),
        ("* * * 13 *", "the month '13'"),
        ("* * * * 8", "the day of the week '8'"),
        ("*/0 * * * *", "the minute '*/0'"),
        ("0 0 30 2 *", "the day of the month '30'"),
        ("* * */20 * 1L", "never due"),
    ],
)
def test_a_wrong_expression_is_refused_at_its_field_with_what_is_wrong(expression: str, part: str) -> None:
    said = cron_is_right({"cron": expression})
    assert said is not None and said.startswith("cron: ") and part in said


@given(st.lists(st.text("*/,-#LW0123456789MONJAN?@", max_size=6), min_size=5, max_size=5))
def test_whatever_is_written_there_is_a_sentence_or_a_time(fields: list[str]) -> None:
    expression = " ".join(fields)
    if cron.complaint(expression) is None:
        assert cron.next_after(expression, NOON) > NOON


def test_what_was_missed_is_made_up_for_by_one_and_the_next_time_is_after_now() -> None:
    after = outcome("@daily", LATE, "it was away", FOUND, NOON)
    assert after == Outcome(first_times("@daily", NOON), makes_one=True, last_error=None)
    assert after.times.next_snapshot_at == after.times.attempt_at == NOON + timedelta(hours=12)


@pytest.mark.parametrize("error", [Unavailable("The node is away."), Conflict("It was restored in the same moment.")])
def test_what_cannot_be_made_right_now_stays_due_and_says_so(error: Spg99Error) -> None:
    after = outcome("@daily", LATE, None, error, NOON)
    assert after == Outcome(Times(LATE.next_snapshot_at, NOON + AGAIN), makes_one=False, last_error=error.message)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BadRequest("A field has a value that is not allowed.", fields={"database": "'app' was never started"}), "'app' was never started"),
        (NotFound("There is no such thing."), "There is no such thing."),
    ],
)  # fmt: skip
def test_what_cannot_be_made_at_all_says_so_and_waits_for_the_next_time(error: Spg99Error, said: str) -> None:
    after = outcome("@daily", LATE, None, error, NOON)
    assert after == Outcome(first_times("@daily", NOON), makes_one=False, last_error=said)


def test_a_database_that_is_being_restored_is_waited_for_and_that_is_no_error() -> None:
    after = outcome("@daily", LATE, None, BeingRestored(), NOON)
    assert not after.makes_one and after.last_error is None
    assert after.times.next_snapshot_at == LATE.next_snapshot_at and NOON < after.times.attempt_at < NOON + AGAIN


def test_only_what_a_wrong_clock_has_written_is_put_right() -> None:
    tomorrow = NOON + timedelta(hours=12)
    year = timedelta(days=365)
    for right in (
        Times(tomorrow, tomorrow),
        LATE,
        Times(LATE.next_snapshot_at, NOON + ATTEMPT),
        Times(tomorrow, tomorrow + ATTEMPT),
    ):
        assert corrected("@daily", right, NOON) in (None, Times(tomorrow, tomorrow))
    assert corrected("@daily", LATE, NOON) is None
    assert corrected("@daily", Times(LATE.next_snapshot_at, NOON + ATTEMPT), NOON) is None
    assert corrected("@daily", Times(tomorrow + year, tomorrow + year), NOON) == Times(tomorrow, tomorrow)
    stuck = corrected("@daily", Times(LATE.next_snapshot_at, NOON + year), NOON)
    assert stuck is not None and stuck.next_snapshot_at == LATE.next_snapshot_at
    assert stuck.attempt_at <= NOON + max(ATTEMPT, AGAIN)


def test_the_latest_stay_and_what_is_needed_stays_too() -> None:
    made = [Made(name, is_needed=name in "d") for name in "abcdef"]  # the latest first
    assert superfluous(made, 2) == ["c", "e", "f"]
    assert superfluous(made, 6) == superfluous(made, 7) == []
    assert superfluous([], 1) == []


def test_damaged_ones_take_no_place_of_whole_ones_and_are_not_kept_for_ever() -> None:
    made = [Made(name, is_needed=False, is_damaged=name in "abdf") for name in "abcdefgh"]  # the latest first
    assert superfluous(made, 2) == ["g", "h", "d", "f"]
    assert superfluous(made, 3) == ["h", "f"]


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 14))
def test_never_more_than_are_too_many_and_never_one_of_the_latest(needed: list[bool], keep: int) -> None:
    made = [Made(str(number), is_needed) for number, is_needed in enumerate(needed)]
    gone = superfluous(made, keep)
    assert len(gone) <= max(0, len(made) - keep)
    assert all(int(one) >= keep and not needed[int(one)] for one in gone)
    left = [one for one in made if one.snapshot_id not in gone]
    assert superfluous(left, keep) == []


@pytest.mark.parametrize("schedule", ["nightly", "a" * 63])
def test_a_snapshot_is_called_after_its_schedule_and_its_time(schedule: str) -> None:
    import re

    name = name_of_snapshot(schedule, NOON)
    assert re.fullmatch(NAME_PATTERN, name) and name.endswith("_20261201_120000") and name.startswith(schedule[:47])
