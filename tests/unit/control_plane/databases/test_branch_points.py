"""Where a branch may begin: each source, each wish, each refusal; and whose time is over."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from spg99.control_plane.databases.branch_points import Ask, Beginning, Source, Wanted, Window, beginning, located
from spg99.errors import BadRequest, Conflict
from spg99.protocol.tasks import Origin, Point
from spg99.resources import DatabaseState as State

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WINDOW = Window(from_lsn=100, from_time=NOW - timedelta(hours=1), end_lsn=200)
ASLEEP = Source(
    "db_1",
    "app",
    "app_inside",
    State.STOPPED,
    "tl_1",
    was_started=True,
    is_kept=True,
    is_archived=True,
    has_writer=False,
    writer_term=7,
)
RUNS = dataclasses.replace(ASLEEP, state=State.READY, has_writer=True)


def at(**point: object) -> Beginning:
    return Beginning(Origin(timeline_id="tl_1", database_name="app_inside", point=Point.model_validate(point)))


def test_now_of_a_sleeper_is_the_end_of_its_last_term() -> None:
    assert beginning(ASLEEP, Wanted(), NOW) == at(end_of_term=7)


def test_now_of_one_that_is_being_started_is_before_that_start() -> None:
    booting = dataclasses.replace(ASLEEP, state=State.BOOTING)
    assert beginning(booting, Wanted(), NOW) == at(end_of_term=6)


@pytest.mark.parametrize("state", [State.READY, State.IDLE, State.STOPPING, State.ERROR])
def test_now_of_one_that_may_be_written_is_asked(state: State) -> None:
    """Its term is not over: its end would move along with what is written after the request."""
    runs = dataclasses.replace(RUNS, state=state)
    assert isinstance(beginning(runs, Wanted(), NOW), Ask)
    assert located(runs, Wanted(), WINDOW) == at(lsn=200)


def test_a_point_is_asked_whether_it_runs_or_not() -> None:
    for source in (ASLEEP, RUNS):
        assert isinstance(beginning(source, Wanted(time=NOW), NOW), Ask)
        assert isinstance(beginning(source, Wanted(lsn=150), NOW), Ask)


def test_the_window_has_both_its_ends() -> None:
    for lsn in (100, 200):
        assert located(RUNS, Wanted(lsn=lsn), WINDOW) == at(lsn=lsn)
    for lsn in (99, 201):
        with pytest.raises(BadRequest) as refused:
            located(RUNS, Wanted(lsn=lsn), WINDOW)
        assert "from 0/64 to 0/C8" in refused.value.fields["source_lsn"]
    assert located(RUNS, Wanted(time=WINDOW.from_time), WINDOW) == at(time=WINDOW.from_time)
    with pytest.raises(BadRequest) as refused:
        located(RUNS, Wanted(time=WINDOW.from_time - timedelta(seconds=1)), WINDOW)
    assert "from 2026-01-01 11:00:00+00:00 to now" in refused.value.fields["source_time"]
    with pytest.raises(BadRequest):
        beginning(RUNS, Wanted(time=NOW + timedelta(seconds=1)), NOW)


def test_what_was_never_started_gives_what_it_would_have_itself() -> None:
    fresh = dataclasses.replace(ASLEEP, was_started=False)
    assert beginning(fresh, Wanted(), NOW) == Beginning(None)
    origin = Origin(timeline_id="tl_0", database_name="first", point=Point(lsn=5))
    branch = dataclasses.replace(fresh, begins_in=origin)
    assert beginning(branch, Wanted(), NOW) == Beginning(origin)
    assert beginning(dataclasses.replace(branch, state=State.BOOTING), Wanted(), NOW) == Beginning(origin)
    for wanted in (Wanted(time=NOW), Wanted(lsn=5)):
        with pytest.raises(BadRequest):
            beginning(branch, wanted, NOW)


def test_nothing_begins_in_what_goes_or_is_kept_nowhere() -> None:
    for wanted in (Wanted(), Wanted(time=NOW), Wanted(lsn=150)):
        with pytest.raises(Conflict):
            beginning(dataclasses.replace(RUNS, state=State.DELETING), wanted, NOW)
        with pytest.raises(BadRequest) as refused:
            beginning(dataclasses.replace(RUNS, is_kept=False), wanted, NOW)
        assert "storage.safekeepers" in refused.value.fields["source_database"]


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(lsn=5), Wanted(time=NOW)])
def test_without_a_pageserver_nothing_holds_what_is_pinned(wanted: Wanted) -> None:
    for source in (ASLEEP, RUNS, dataclasses.replace(ASLEEP, was_started=False)):
        with pytest.raises(BadRequest) as refused:
            beginning(dataclasses.replace(source, is_archived=False), wanted, NOW)
        assert "pageserver" in refused.value.fields["source_database"]
