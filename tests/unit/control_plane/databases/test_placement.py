"""Which safekeepers a timeline that begins has, and what a database waits for when there are too few."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from spg99.control_plane.databases import actions as a
from spg99.control_plane.databases.decide import decide
from spg99.control_plane.databases.placement import TooFew, choose_safekeepers
from spg99.control_plane.databases.states import State
from spg99.control_plane.databases.view import (
    ComputeView,
    DatabaseView,
    Keeping,
    NodeView,
    SafekeeperView,
    TimelineView,
)
from spg99.protocol.safekeeper import Configuration, Members

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
THERE = tuple(SafekeeperView(f"sk_{n}", NOW, disk_free_bytes=n) for n in range(5))
AWAY = replace(THERE[4], last_seen_at=NOW - timedelta(seconds=31))


def ids(configuration: Configuration | None) -> list[str]:
    assert configuration is not None
    return configuration.members.safekeeper_ids


def test_none_are_wanted() -> None:
    assert choose_safekeepers(Keeping(0, 0, THERE), None, NOW) is None


@pytest.mark.parametrize(
    ("wanted", "quorum", "expected"), [(1, 0, 1), (2, 0, 2), (3, 0, 2), (5, 0, 3), (3, 3, 3), (3, 1, 1), (1, 9, 1)]
)
def test_the_quorum_is_most_of_them_unless_the_policy_says(wanted: int, quorum: int, expected: int) -> None:
    found = choose_safekeepers(Keeping(wanted, quorum, THERE), None, NOW)
    assert found is not None
    assert (len(found.members.safekeeper_ids), found.members.quorum, found.number) == (wanted, expected, 1)


def test_those_with_room_that_are_there() -> None:
    assert ids(choose_safekeepers(Keeping(2, 0, (*THERE[:4], AWAY)), None, NOW)) == ["sk_3", "sk_2"]


def test_too_few() -> None:
    with pytest.raises(TooFew) as caught:
        choose_safekeepers(Keeping(5, 0, (*THERE[:4], AWAY)), None, NOW)
    assert caught.value.there == 4


def test_another_attempt_has_the_same_unless_one_is_away() -> None:
    before = Configuration(number=4, members=Members(safekeeper_ids=["sk_0", "sk_4"], quorum=2))
    assert choose_safekeepers(Keeping(2, 0, THERE), before, NOW) == before
    after = choose_safekeepers(Keeping(2, 0, (*THERE[:4], AWAY)), before, NOW)
    assert after is not None
    assert (after.number, ids(after)) == (5, ["sk_3", "sk_2"])


@pytest.mark.parametrize("there", [0, 2])
def test_a_database_waits_until_there_are_enough(there: int) -> None:
    view = DatabaseView(
        state=State.STOPPED,
        timeline=TimelineView("tl_1", "creating", None),
        idle_timeout_seconds=300,
        target_scale=1,
        candidates=(NodeView("node_1", "alpha", "active", NOW, keeps_wal=True),),
        keeping=Keeping(3, 0, THERE[:there]),
    )
    waits = decide(view, NOW)
    assert waits.action is None
    assert waits.again_at is not None
    assert f"to have 3 safekeepers (policy storage.safekeepers), and {there} have reported" in (
        waits.state_reason or ""
    )
    starts = decide(replace(view, keeping=Keeping(3, 0, THERE)), NOW).action
    assert isinstance(starts, a.StartCompute)
    assert ids(starts.configuration) == ["sk_4", "sk_3", "sk_2"]


def test_an_agent_that_knows_no_safekeepers_gets_no_database_that_has_some() -> None:
    """It would start it without them, and what it acknowledges would be on its disk alone."""
    kept = Configuration(number=1, members=Members(safekeeper_ids=["sk_1"], quorum=1))
    old = NodeView("node_1", "alpha", "active", NOW)
    first = DatabaseView(
        state=State.STOPPED,
        timeline=TimelineView("tl_1", "creating", None),
        idle_timeout_seconds=300,
        target_scale=1,
        candidates=(old,),
        keeping=Keeping(1, 0, THERE),
    )
    later = replace(first, timeline=TimelineView("tl_1", "present", "node_1", kept), node=old, candidates=())
    assert decide(first, NOW).action is None
    waits = decide(later, NOW)
    assert waits.action is None
    assert "knows no safekeepers" in (waits.state_reason or "")
    new = replace(old, keeps_wal=True)
    assert isinstance(decide(replace(first, candidates=(new,)), NOW).action, a.StartCompute)
    assert isinstance(decide(replace(later, node=new), NOW).action, a.StartCompute)
    without = replace(first, keeping=Keeping())
    assert isinstance(decide(without, NOW).action, a.StartCompute)


def test_nor_is_a_compute_that_ended_replaced_by_one_without_them() -> None:
    kept = Configuration(number=1, members=Members(safekeeper_ids=["sk_1"], quorum=1))
    ended = ComputeView("cmp_1", "ended", NOW - timedelta(hours=1), NOW, "killed")
    view = DatabaseView(
        state=State.READY,
        timeline=TimelineView("tl_1", "present", "node_1", kept),
        idle_timeout_seconds=300,
        target_scale=1,
        wanted_until=NOW + timedelta(seconds=20),
        compute=ended,
        node=NodeView("node_1", "alpha", "active", NOW),
    )
    assert isinstance(decide(view, NOW).action, a.Fail)
    assert isinstance(decide(replace(view, node=replace(view.node, keeps_wal=True)), NOW).action, a.StartCompute)
