"""When a database whose WAL safekeepers keep goes to another node, to which, and when it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spg99.control_plane.databases import actions as a
from spg99.control_plane.databases.decide import decide
from spg99.control_plane.databases.placement import choose_again
from spg99.control_plane.databases.states import Event
from spg99.control_plane.databases.view import (
    UNREACHABLE_AFTER,
    ComputeView,
    DatabaseView,
    NodeView,
    TaskView,
    TimelineView,
)
from spg99.protocol.node import NODE_SILENT_AFTER
from spg99.protocol.safekeeper import Configuration, Members
from spg99.protocol.tasks import TaskKind
from spg99.resources import DatabaseState as State

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
KEPT = Configuration(number=1, members=Members(safekeeper_ids=["sk_1"], quorum=1))
OWN = NodeView("node_1", "alpha", "active", NOW, 100, keeps_wal=True)
SILENT = replace(OWN, last_seen_at=NOW - NODE_SILENT_AFTER - timedelta(seconds=1))
OTHER = NodeView("node_2", "beta", "active", NOW, 50, keeps_wal=True)
THIRD = NodeView("node_3", "gamma", "active", NOW, 200, keeps_wal=True)
COMPUTE = ComputeView("cmp_1", "running", LONG_AGO)


def view(state: State, node: NodeView = SILENT, **more: Any) -> DatabaseView:
    facts: dict[str, Any] = {
        "state": state, "timeline": TimelineView("tl_1", "present", "node_1", KEPT), "idle_timeout_seconds": 300,
        "node": node, "candidates": (OTHER, THIRD), "hears_since": LONG_AGO, "wanted_until": NOW + timedelta(seconds=9),
        "target_scale": 1,
    }  # fmt: skip
    return DatabaseView(**facts | more)


def where(decided: a.Decision) -> str | None:
    assert isinstance(decided.action, a.StartCompute), decided
    return decided.action.moves_to.node_id if decided.action.moves_to is not None else None


@pytest.mark.parametrize(
    ("own", "candidates", "is_away", "expected"),
    [
        (OWN, (OTHER, THIRD), False, None),
        (replace(OWN, status="cordoned"), (OTHER,), False, None),
        (replace(OWN, status="draining"), (OTHER, THIRD), False, "node_3"),
        (OWN, (OTHER, THIRD), True, "node_3"),
        (OWN, (replace(OTHER, last_term=3), THIRD), True, "node_2"),
        (OWN, (replace(OTHER, last_term=3), replace(THIRD, last_term=4)), True, "node_3"),
        (OWN, (OTHER, replace(THIRD, disk_is_short=True, last_term=9)), True, "node_2"),
        (OWN, (replace(OTHER, status="cordoned"), replace(THIRD, keeps_wal=False)), True, None),
        (OWN, (replace(OTHER, last_seen_at=LONG_AGO), OWN), True, None),
        (replace(OWN, keeps_wal=False), (OTHER,), False, "node_2"),
        (None, (OTHER,), False, "node_2"),
        (OWN, (), True, None),
    ],
)
def test_where_a_timeline_goes_again(
    own: NodeView | None, candidates: tuple[NodeView, ...], is_away: bool, expected: str | None
) -> None:
    found = choose_again(own, candidates, NOW, own_is_away=is_away)
    assert (found.node_id if found is not None else None) == expected


def test_a_sleeper_whose_node_is_silent_wakes_elsewhere() -> None:
    assert where(decide(view(State.STOPPED), NOW)) == "node_3"
    assert where(decide(view(State.STOPPED, OWN), NOW)) is None


def test_one_that_has_no_safekeepers_never_moves() -> None:
    alone = TimelineView("tl_1", "present", "node_1")
    assert where(decide(view(State.STOPPED, timeline=alone), NOW)) is None
    running = view(State.READY, timeline=alone, compute=COMPUTE, is_unreachable=True)
    assert decide(running, NOW).action is None
    draining = replace(OWN, status="draining", ends_sessions=True)
    assert decide(view(State.READY, draining, timeline=alone, compute=COMPUTE), NOW).action is None


def test_silence_that_may_be_ours_moves_nothing() -> None:
    for hears_since in (None, NOW - timedelta(seconds=1)):
        assert where(decide(view(State.STOPPED, hears_since=hears_since), NOW)) is None
        running = view(State.READY, compute=COMPUTE, is_unreachable=True, hears_since=hears_since)
        assert decide(running, NOW).action is None


def test_one_that_runs_is_replaced_only_where_a_gateway_does_not_reach_it_and_its_node_is_silent() -> None:
    running = view(State.READY, compute=COMPUTE, leases_end_at=NOW + timedelta(seconds=9))
    assert decide(running, NOW).action is None  # it may serve whoever is connected
    reported = decide(replace(running, is_unreachable=True), NOW)
    assert where(reported) == "node_3"
    assert isinstance(reported.action, a.StartCompute) and reported.action.event is Event.REPLACED
    heard = replace(running, is_unreachable=True, node=OWN)
    assert decide(heard, NOW).action is None
    draining = replace(heard, node=replace(OWN, status="draining"))
    assert decide(draining, NOW).action is None  # a Gateway's word alone moves nobody who is in use
    soon = replace(heard, node=replace(OWN, last_seen_at=NOW - UNREACHABLE_AFTER - timedelta(seconds=1)))
    assert where(decide(soon, NOW)) == "node_3"
    assert decide(replace(soon, candidates=()), NOW).action is None


def test_an_idle_one_whose_node_is_away_is_left_alone_until_it_is_wanted_or_the_node_removed() -> None:
    quiet = view(
        State.IDLE, compute=COMPUTE, wanted_until=None, idle_since=LONG_AGO, last_used_at=LONG_AGO, target_scale=1
    )
    assert decide(quiet, NOW).action is None  # a lease that was not renewed does not say that nobody is connected
    removed = replace(quiet, node=replace(OWN, status="gone"))
    assert decide(removed, NOW).action == a.EndCompute("Its node was removed.")
    ended = replace(removed, compute=replace(COMPUTE, state="ended"))
    assert isinstance(decide(ended, NOW).action, a.MarkStopped)
    used = replace(ended, leases_end_at=NOW + timedelta(seconds=9))
    assert where(decide(used, NOW)) == "node_3"


@pytest.mark.parametrize("status", ["queued", "dispatched"])
def test_what_waits_for_a_node_that_went_away_goes_on_elsewhere(status: str) -> None:
    def task(kind: TaskKind) -> tuple[TaskView, ...]:
        return (TaskView(1, kind, "cmp_1", status, NOW + timedelta(minutes=1)),)

    starting = replace(COMPUTE, state="starting")
    booting = view(State.BOOTING, compute=starting, tasks=task(TaskKind.COMPUTE_START))
    assert where(decide(booting, NOW)) == "node_3"
    assert decide(replace(booting, node=OWN), NOW).action is None
    assert decide(replace(booting, candidates=()), NOW).action is None
    stopping = view(State.STOPPING, compute=COMPUTE, tasks=task(TaskKind.COMPUTE_STOP))
    ended = decide(stopping, NOW).action
    assert isinstance(ended, a.MarkStopped) and ended.event is Event.STOPPED
    assert decide(replace(stopping, node=OWN), NOW).action is None
    failed = view(State.ERROR, compute=COMPUTE)
    assert isinstance(decide(failed, NOW).action, a.EndCompute)


def test_a_node_that_is_emptied_gives_up_what_nobody_uses_and_on_request_what_is_used() -> None:
    draining = replace(OWN, status="draining")
    used = view(State.READY, draining, compute=COMPUTE, leases_end_at=NOW + timedelta(seconds=9))
    assert decide(used, NOW).action is None
    unused = replace(used, leases_end_at=None, wanted_until=None)
    assert decide(unused, NOW).action == a.StopCompute()
    at_once = replace(used, node=replace(draining, ends_sessions=True))
    assert decide(at_once, NOW).action == a.StopCompute(ends_sessions=True)
    assert decide(replace(at_once, candidates=()), NOW).action is None  # it would only start here again


def test_a_removed_node_is_away_and_without_another_it_waits() -> None:
    gone = replace(OWN, status="gone")
    assert where(decide(view(State.STOPPED, gone), NOW)) == "node_3"
    waits = decide(view(State.STOPPED, gone, candidates=()), NOW)
    assert waits.action is None and waits.state_reason is not None


def test_a_database_whose_node_is_away_is_deleted_by_another() -> None:
    deleting = view(State.DELETING, compute=COMPUTE, wanted_until=None)
    assert isinstance(decide(deleting, NOW).action, a.EndCompute)
    ended = replace(deleting, compute=None)
    assert decide(ended, NOW).action == a.DeleteTimeline(on=THIRD)
    assert decide(replace(ended, node=OWN), NOW).action == a.DeleteTimeline()
    alone = replace(ended, timeline=TimelineView("tl_1", "present", "node_1"))
    assert decide(alone, NOW).action == a.DeleteTimeline()
