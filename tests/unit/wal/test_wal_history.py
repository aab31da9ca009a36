"""Timeline history files: read, written, and compared whole."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.wal.history import (
    Switch,
    TimelineHistory,
    descends,
    format_history,
    history_name,
    owner,
    parse_history,
    parse_history_name,
    parse_last,
    parted,
)

THREE = TimelineHistory(3, (Switch(1, 0x300), Switch(2, 0x500)))
OTHER_THREE = TimelineHistory(3, (Switch(1, 0x300), Switch(2, 0x480)))


@st.composite
def histories(draw: st.DrawFn) -> TimelineHistory:
    tlis = sorted(draw(st.sets(st.integers(1, 20), min_size=1, max_size=6)))
    lsns = sorted(draw(st.lists(st.integers(1, 50), min_size=len(tlis) - 1, max_size=len(tlis) - 1)))
    return TimelineHistory(tlis[-1], tuple(itertools.starmap(Switch, zip(tlis, lsns, strict=False))))


def test_a_file_of_postgresql_is_read() -> None:
    text = "# comment\n\n1\t0/300\tno recovery target specified\n  2\t0/500\tbefore transaction 7 at 2026-11-30\n"
    assert parse_history(3, text) == THREE
    assert parse_history(1, "") == TimelineHistory(1)
    assert parse_history(2, "1 0/300") == TimelineHistory(2, (Switch(1, 0x300),))


def test_a_file_is_written_as_postgresql_writes_it() -> None:
    assert format_history(THREE, "why") == "1\t0/300\twhy\n2\t0/500\twhy\n"
    assert history_name(2) == "00000002.history"
    assert parse_history_name("0000000D.history") == 13


@given(histories())
def test_a_history_survives_its_file(history: TimelineHistory) -> None:
    assert parse_history(history.tli, format_history(history)) == history


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1\n", "line 1 of the history"),
        ("# x\n\nx\t0/300\n", "line 3 of the history"),
        ("1\t300\n", "line 1 of the history"),
        ("1\t0/300\tx\n1\t0/400\tx\n", "timelines do not ascend"),
        ("3\t0/300\tx\n", "timelines do not ascend"),
        ("0\t0/300\tx\n", "timelines do not ascend"),
        ("1\t0/500\tx\n2\t0/300\tx\n", "left in no order"),
    ],
)
def test_what_is_no_history_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_history(3, text)


@pytest.mark.parametrize("name", ["2.history", "00000002", "00000002.history.tmp", "000000010000000000000001"])
def test_another_file_is_no_history(name: str) -> None:
    with pytest.raises(ValueError, match="not a timeline history file"):
        parse_history_name(name)


def test_each_byte_has_one_owner_on_the_way() -> None:
    assert [owner(THREE, lsn) for lsn in (0, 0x2FF, 0x300, 0x4FF, 0x500, 0x9999)] == [1, 1, 2, 2, 3, 3]


def test_a_restore_follows_thirteen_timelines() -> None:
    history = TimelineHistory(13, tuple(Switch(tli, tli * 0x100) for tli in range(1, 13)))
    assert [owner(history, lsn) for lsn in range(0x80, 0xD80, 0x100)] == list(range(1, 14))
    assert all(descends(history, TimelineHistory(tli, history.switches[: tli - 1])) for tli in range(1, 14))


def test_the_same_number_may_be_another_life() -> None:
    two, other_two = TimelineHistory(2, (Switch(1, 0x300),)), TimelineHistory(2, (Switch(1, 0x280),))
    assert descends(THREE, two)
    assert not descends(THREE, other_two)
    assert not descends(THREE, OTHER_THREE)
    assert descends(THREE, THREE)
    assert not descends(two, THREE)
    assert not descends(TimelineHistory(3, (Switch(1, 0x300),)), two)  # 3 came of 1 itself, and knows no 2


def test_where_two_lives_part() -> None:
    assert parted(THREE, THREE) is None
    assert parted(THREE, OTHER_THREE) == 0x480
    assert parted(THREE, TimelineHistory(2, (Switch(1, 0x300),))) == 0x500
    assert parted(THREE, TimelineHistory(2)) == 0
    assert parted(THREE, TimelineHistory(5, (Switch(1, 0x300), Switch(4, 0x500)))) == 0x300
    other = TimelineHistory(5, (Switch(1, 0x300), Switch(3, 0x500), Switch(4, 0x600)))
    assert parted(TimelineHistory(5, (Switch(1, 0x300), Switch(2, 0x500), Switch(4, 0x600))), other) == 0x300


@given(histories(), histories())
def test_up_to_where_they_part_each_byte_has_the_same_owner(one: TimelineHistory, two: TimelineHistory) -> None:
    lsn = parted(one, two)
    assert lsn == parted(two, one)
    assert all(owner(one, byte) == owner(two, byte) for byte in range(60 if lsn is None else lsn))
    if descends(one, two) and one != two:
        assert lsn == one.switches[len(two.switches)].lsn


def test_where_a_timeline_began_is_in_its_last_line_whatever_is_before() -> None:
    """Of a recovery that damage has ended before the places at which its target's timelines were left."""
    text = "1\t0/3000000\tno recovery target specified\n\n2\t0/2000000\tno recovery target specified\n"
    assert parse_last(3, text) == Switch(3, 0x2000000)
    with pytest.raises(ValueError, match="in no order"):
        parse_history(3, text)
    with pytest.raises(ValueError, match="has no line"):
        parse_last(3, "# nothing\n")
