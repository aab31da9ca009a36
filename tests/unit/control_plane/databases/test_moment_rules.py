"""A moment that is open for reading: where a database would sleep, fail or wait for its node, it goes; and it never waits for safekeepers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spg99.control_plane.databases import actions as a
from spg99.control_plane.databases.decide import decide
from spg99.control_plane.databases.moment_rules import FAILURE_KEPT_FOR
from spg99.control_plane.databases.states import Event
from spg99.control_plane.databases.view import (
    UNREACHABLE_AFTER,
    ComputeView,
    DatabaseView,
    Keeping,
    NodeView,
    TaskView,
    TimelineView,
)
from spg99.protocol.node import NODE_SILENT_AFTER
from spg99.protocol.tasks import Origin, Point, TaskKind
from spg99.resources import DatabaseState as State

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
ORIGIN = Origin(timeline_id="tl_1", point=Point(lsn=1), database_name="app")
FRESH = TimelineView("mom_1", "creating", None, origin=ORIGIN)
PLACED = replace(FRESH, node_id="node_1")
NODE = NodeView(
    "node_1", "alpha", "active", NOW, 100, makes_timelines=True, keeps_wal=True, makes_branches=True, opens_moments=True
)
OTHER = replace(NODE, node_id="node_2", disk_free_bytes=50)
OLDER = replace(NODE, node_id="node_3", disk_free_bytes=900, opens_moments=False)
SILENT = replace(NODE, last_seen_at=NOW - NODE_SILENT_AFTER - timedelta(seconds=1))
LATE = replace(NODE, last_seen_at=NOW - UNREACHABLE_AFTER - timedelta(seconds=1))
GONE = replace(NODE, status="gone")
RUNS = ComputeView("cmp_1", "running", NOW - timedelta(minutes=5))
STARTS = ComputeView("cmp_1", "starting")
ENDED = ComputeView("cmp_1", "ended", NOW - timedelta(minutes=5), NOW, "It was killed by signal 9.")


def seconds(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


def moment(state: State, **more: Any) -> DatabaseView:
    facts: dict[str, Any] = {
        "state": state, "timeline": PLACED, "idle_timeout_seconds": 15, "node": NODE, "is_moment": True,
        "hears_since": NOW - timedelta(hours=1), "keeping": Keeping(3, 2),
    }  # fmt: skip
    return DatabaseView(**facts | more)


def order(kind: TaskKind, status: str, **more: Any) -> TaskView:
    finished_at = NOW if status in ("completed", "failed") else None
    return TaskView(7, kind, "cmp_1", status, seconds(60), finished_at, **more)


START, STOP = TaskKind.COMPUTE_START, TaskKind.COMPUTE_STOP
ACTS: dict[str, tuple[DatabaseView, a.Action]] = {
    "somebody waits: on the best node that can, without safekeepers": (
        moment(State.STOPPED, timeline=FRESH, node=None, wanted_until=seconds(9), candidates=(NODE, OTHER, OLDER)),
        a.StartCompute(Event.WANTED, 0, first_on=NODE),
    ),
    "it was open already: it is made anew, elsewhere as well": (
        moment(State.STOPPED, wanted_until=seconds(9), candidates=(OTHER,)),
        a.StartCompute(Event.WANTED, 0, first_on=OTHER),
    ),
    "nobody came": (moment(State.STOPPED, timeline=FRESH, node=None, wanted_until=NOW), a.Discard()),
    "its last client has left and it was stopped": (moment(State.STOPPED), a.Discard()),
    "also while a writer of a database would be wanted": (moment(State.STOPPED, target_scale=1), a.Discard()),
    "it could not be opened, and who asked has heard": (
        moment(State.ERROR, target_scale=1, compute=ENDED, tasks=(order(START, "failed"),), node=replace(NODE, last_seen_at=seconds(11)))
        , a.Discard(),
    ),
    "idle: the time is over": (
        moment(State.IDLE, target_scale=1, compute=RUNS, idle_since=seconds(-15), last_used_at=seconds(-15)),
        a.StopCompute(),
    ),
    "its compute was killed": (moment(State.READY, target_scale=1, compute=ENDED, leases_end_at=seconds(9)), a.MarkStopped(Event.LOST)),
    "its node is silent and nobody reads": (moment(State.IDLE, target_scale=1, compute=RUNS, node=SILENT, idle_since=NOW), a.Discard()),
    "its node was removed under who reads": (
        moment(State.READY, target_scale=1, compute=RUNS, node=GONE, leases_end_at=seconds(9)),
        a.Discard(),
    ),
    "a Gateway does not reach it and its node is late": (
        moment(State.READY, target_scale=1, compute=RUNS, node=LATE, leases_end_at=seconds(9), is_unreachable=True),
        a.Discard(),
    ),
    "its node went away while it started it": (
        moment(State.BOOTING, target_scale=1, compute=STARTS, node=SILENT, wanted_until=seconds(9), tasks=(order(START, "dispatched"),)),
        a.Discard(),
    ),
    "its node went away while it stopped it": (
        moment(State.STOPPING, compute=RUNS, node=SILENT, tasks=(order(STOP, "dispatched"),)),
        a.Discard(),
    ),
    "its node is emptied at once": (
        moment(State.READY, target_scale=1, compute=RUNS, node=replace(NODE, status="draining", ends_sessions=True), leases_end_at=seconds(9)),
        a.Discard(),
    ),
    "its database is gone": (moment(State.READY, target_scale=1, compute=RUNS, leases_end_at=seconds(9), is_source_gone=True), a.Discard()),
    "removing: its compute runs on a node that is away": (
        moment(State.DELETING, compute=RUNS, node=SILENT),
        a.EndCompute("The database is being deleted."),
    ),
    "removing: what lies on a node that is away goes when that is back": (moment(State.DELETING, compute=ENDED, node=SILENT), a.Remove()),
    "removing: its files": (moment(State.DELETING, compute=ENDED), a.DeleteTimeline()),
}  # fmt: skip


@pytest.mark.parametrize("situation", ACTS)
def test_what_is_done(situation: str) -> None:
    view, action = ACTS[situation]
    now = NOW + FAILURE_KEPT_FOR if view.state is State.ERROR else NOW
    assert decide(view, now).action == action


WAITS: dict[str, DatabaseView] = {
    "somebody reads": moment(State.READY, target_scale=1, compute=RUNS, leases_end_at=seconds(9)),
    "somebody reads, and only the agent is away": moment(
        State.READY, target_scale=1, compute=RUNS, leases_end_at=seconds(9), node=SILENT
    ),
    "who asked has to hear why": moment(State.ERROR, target_scale=1, compute=ENDED, tasks=(order(START, "failed"),)),
    "its last client may come back": moment(State.IDLE, target_scale=1, compute=RUNS, idle_since=seconds(-14)),
    "no node can": moment(State.STOPPED, timeline=FRESH, node=None, wanted_until=seconds(9), candidates=(OLDER,)),
}


@pytest.mark.parametrize("situation", WAITS)
def test_what_is_waited_for(situation: str) -> None:
    assert decide(WAITS[situation], NOW).action is None


def test_of_a_database_none_of_this_is_so() -> None:
    """The same situations, of a database: none of them removes it."""
    for situation, (view, _) in ACTS.items():
        its = replace(view, is_moment=False, timeline=replace(view.timeline, state="present", node_id="node_1"))
        if view.state is not State.DELETING:
            assert not isinstance(decide(its, NOW).action, a.Discard), situation
