"""Names of moments: what a client writes after the `@`, and the one form of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.control_plane.databases import moment_names
from spg99.control_plane.databases.moment_names import MomentName, parse
from spg99.errors import NoSuchMoment


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("app@2026-11-26T10:00:00Z", "app@2026-11-26T10:00:00Z"),
        ("app@2026-11-26 10:00:00+00", "app@2026-11-26T10:00:00Z"),
        ("app@2026-11-26T12:00+02:00", "app@2026-11-26T10:00:00Z"),
        ("app@20261126T100000Z", "app@2026-11-26T10:00:00Z"),
        ("app@2026-11-26T10:00:00.25Z", "app@2026-11-26T10:00:00.250000Z"),
        ("app@0/3A5B1C8", "app@0/3A5B1C8"),
        ("app@00/03a5b1c8", "app@0/3A5B1C8"),
        ("app@a/0", "app@A/0"),
        ("my$app_1@before_upgrade", "my$app_1@before_upgrade"),
        ("app@ABC", "app@ABC"),
    ],
)
def test_each_moment_has_one_form(written: str, text: str) -> None:
    found = parse(written)
    assert found is not None and found.text == text
    assert parse(found.text) == found


@pytest.mark.parametrize(
    "written", ["@2026-11-26T10:00:00Z", "1app@0/1", "a b@0/1", "app\n@0/1", "x" * 64 + "@0/1", "@", "@@"]
)
def test_before_the_mark_stands_a_name_or_there_is_no_such_database(written: str) -> None:
    assert parse(written) is None


@pytest.mark.parametrize(
    "written",
    [
        "app@",
        "app@yesterday evening",
        "app@2026-13-01T00:00:00Z",
        "app@0/",
        "app@0/123456789",
        "app@a@b",
        "app@ab\n",
        "app@0/1\n",
        "app@1735689600",
        "app@\x00",
    ],
)
def test_what_is_no_moment_is_refused_with_the_forms_there_are(written: str) -> None:
    with pytest.raises(NoSuchMoment, match="no moment of a database: write a time"):
        parse(written)


@pytest.mark.parametrize("written", ["app@2026-11-26", "app@2026-11-26T10:00:00", "app@2026-11-26 10:00"])
def test_a_time_without_a_zone_could_be_several(written: str) -> None:
    with pytest.raises(NoSuchMoment, match="has no zone"):
        parse(written)


def test_a_time_at_the_end_of_the_calendar_is_refused() -> None:
    with pytest.raises(NoSuchMoment, match="outside of the calendar"):
        parse("app@0001-01-01T00:00:00+14:00")


@given(st.text(max_size=80))
def test_whatever_stands_there_it_is_a_moment_or_refused(at: str) -> None:
    try:
        found = parse(f"app@{at}")
    except NoSuchMoment as error:
        message = error.message
        found = None
    if found is None:
        assert message.isprintable()
        return
    assert sum(one is not None for one in (found.time, found.lsn, found.snapshot)) == 1
    assert parse(found.text) == found


def test_no_database_can_be_called_like_a_moment() -> None:
    assert not moment_names.is_moment("app") and moment_names.is_moment("app@0/1")
    assert MomentName("app", lsn=1).text == "app@0/1"
