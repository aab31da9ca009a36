"""One decision for one view: every named situation, and what is done about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spg99.control_plane.databases import actions as a
from spg99.control_plane.databases.decide import decide
from spg99.control_plane.databases.states import Event, State
from spg99.control_plane.databases.view import (
    ComputeView,
    DatabaseView,
    Keeping,
    NodeView,
    SafekeeperView,
    TaskView,
    TimelineView,
)
from spg99.protocol.tasks import Origin, Point, TaskKind

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLACED = TimelineView("tl_1", "present", "node_1")
UNPLACED = TimelineView("tl_1", "creating", None)
HALF_MADE = TimelineView("tl_1", "creating", "node_1")
NODE = NodeView("node_1", "alpha", "active", NOW)
ELSEWHERE = replace(NODE, node_id="node_2")
AWAY = NodeView("node_1", "alpha", "active", NOW - timedelta(seconds=31))


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def db(state: State, **more: Any) -> DatabaseView:
    view = DatabaseView(**{"state": state, "timeline": PLACED, "idle_timeout_seconds": 300, "node": NODE} | more)
    # A timeline that was never started may go to any node there is.
    there = (view.node,) if view.node is not None and view.timeline.state == "creating" else ()
    return view if view.candidates else replace(view, candidates=there)


def compute(state: str = "running", **more: Any) -> ComputeView:
    return ComputeView("cmp_1", state, **({"started_at": at(-100)} | more))


def task(kind: TaskKind, status: str = "dispatched", **more: Any) -> TaskView:
    owner = "cmp_1" if kind in (TaskKind.COMPUTE_START, TaskKind.COMPUTE_STOP) else None
    finished_at = at(-0.01) if status in ("completed", "failed") else None
    return TaskView(
        **{
            "task_id": 7,
            "kind": kind,
            "compute_id": owner,
            "status": status,
            "expires_at": at(60),
            "finished_at": finished_at,
        }
        | more
    )


CREATE, START, STOP, DELETE = (
    TaskKind.TIMELINE_CREATE,
    TaskKind.COMPUTE_START,
    TaskKind.COMPUTE_STOP,
    TaskKind.TIMELINE_DELETE,
)
ENDED = compute("ended", ended_at=at(0), exit_reason="It was killed by signal 9.")

ACTS: dict[str, tuple[DatabaseView, a.Action]] = {
    "of an older version, without a node: it waits for none": (db(State.CREATING, timeline=UNPLACED, node=None), a.MarkCreated()),
    "of an older version, the agent makes its files: nobody waits for them": (
        db(State.CREATING, timeline=HALF_MADE, tasks=(task(CREATE),)),
        a.MarkCreated(),
    ),
    "of an older version, its files could not be made: a start makes them": (
        db(State.ERROR, timeline=HALF_MADE, retry_at=at(9), tasks=(task(CREATE, "failed"),)),
        a.MarkCreated(),
    ),
    "never started: its files go to the best node with the start": (
        db(State.STOPPED, timeline=UNPLACED, wanted_until=at(10)),
        a.StartCompute(Event.WANTED, 0, first_on=NODE),
    ),
    "never started, and failed: perhaps elsewhere": (
        db(State.ERROR, timeline=HALF_MADE, target_scale=1, compute=ENDED, attempt_count=1, retry_at=NOW, node=ELSEWHERE),
        a.StartCompute(Event.WANTED, 1, first_on=ELSEWHERE),
    ),
    "sleeper: a client waits": (db(State.STOPPED, wanted_until=at(10)), a.StartCompute(Event.WANTED, 0)),
    "sleeper: the API wants it": (db(State.STOPPED, target_scale=1), a.StartCompute(Event.WANTED, 0)),
    "booting: started": (db(State.BOOTING, compute=compute("starting"), tasks=(task(START, "completed"),)), a.MarkReady(7)),
    "booting: failed": (
        db(State.BOOTING, compute=compute("starting"), attempt_count=2, tasks=(task(START, "failed", error="No port."),)),
        a.Fail("No port.", 3, at(4)),
    ),
    "booting: failed for good": (
        db(State.BOOTING, compute=compute("starting"), tasks=(task(START, "failed", error="Bad.", retryable=False),)),
        a.Fail("Bad.", 1, None),
    ),
    "booting: failed for the last time": (
        db(State.BOOTING, compute=compute("starting"), attempt_count=9, tasks=(task(START, "failed", error="Bad."),)),
        a.Fail("Bad.", 10, None),
    ),
    "booting: nobody took the order": (
        db(State.BOOTING, compute=compute("starting"), tasks=(task(START, "queued", expires_at=NOW),), node=AWAY),
        a.CancelTask(7, "Node alpha did not answer in time."),
    ),
    "running: the last lease has ended": (
        db(State.READY, target_scale=1, compute=compute(), leases_end_at=NOW, last_used_at=at(-3)),
        a.MarkIdle(at(-3)),
    ),
    "running: the API wants it stopped": (db(State.READY, target_scale=0, compute=compute()), a.StopCompute()),
    "idle: used again": (
        db(State.IDLE, target_scale=1, compute=compute(), idle_since=at(-999), leases_end_at=at(1)),
        a.MarkUsed(),
    ),
    "idle: the clock ran out": (
        db(State.IDLE, target_scale=1, compute=compute(), idle_since=at(-300)),
        a.StopCompute(),
    ),
    "died in use: replaced": (
        db(State.READY, target_scale=1, compute=ENDED, leases_end_at=at(5)),
        a.StartCompute(Event.REPLACED, attempt_count=1),
    ),
    "died while somebody connects: replaced": (
        db(State.IDLE, target_scale=1, compute=ENDED, wanted_until=at(5)),
        a.StartCompute(Event.REPLACED, attempt_count=1),
    ),
    "died unused: asleep": (db(State.IDLE, target_scale=1, compute=ENDED), a.MarkStopped(Event.LOST)),
    "died again and again: back-off": (
        db(
            State.READY,
            target_scale=1,
            attempt_count=2,
            leases_end_at=at(5),
            compute=compute("ended", started_at=at(-2), ended_at=at(0), exit_reason="Killed."),
        ),
        a.Fail("Its compute ended by itself 3 times in a row: Killed.", 3, at(4)),
    ),
    "died after a long life: the count begins anew": (
        db(State.READY, target_scale=1, attempt_count=2, leases_end_at=at(5), compute=ENDED),
        a.StartCompute(Event.REPLACED, attempt_count=1),
    ),
    "stopping: stopped": (
        db(State.STOPPING, compute=compute("stopping"), tasks=(task(STOP, "completed"),)),
        a.MarkStopped(Event.STOPPED),
    ),
    "stopping: it died before": (
        db(State.STOPPING, compute=ENDED, tasks=(task(STOP),)),
        a.MarkStopped(Event.STOPPED),
    ),
    "stopping: failed": (
        db(State.STOPPING, compute=compute("stopping"), tasks=(task(STOP, "failed", error="It hangs."),)),
        a.Fail("It hangs.", 1, at(1)),
    ),
    "failed start: due again": (
        db(State.ERROR, target_scale=1, compute=ENDED, attempt_count=3, retry_at=NOW),
        a.StartCompute(Event.WANTED, 3),
    ),
    "failed start, long back-off: a new connect tries": (
        db(State.ERROR, target_scale=1, attempt_count=9, retry_at=at(250), wanted_until=at(20),
           tasks=(task(START, "failed", finished_at=at(-2)),)),
        a.StartCompute(Event.WANTED, 9),
    ),
    "failed start, given up: a new connect tries": (
        db(State.ERROR, target_scale=1, attempt_count=10, wanted_until=at(20), tasks=(task(START, "failed", finished_at=at(-2)),)),
        a.StartCompute(Event.WANTED, 10),
    ),
    "failed start: nobody wants it any more": (db(State.ERROR, target_scale=0, compute=ENDED, retry_at=at(9)), a.GiveUp()),
    "failed stop: due again": (
        db(State.ERROR, compute=compute("stopping"), retry_at=NOW, tasks=(task(STOP, "failed"),)),
        a.StopCompute(event=Event.STOPPED_AGAIN),
    ),
    "delete running: stop at once": (
        db(State.DELETING, compute=compute(), tasks=(task(START, "completed"),)),
        a.StopCompute("immediate", event=None),
    ),
    "delete booting: the order is withdrawn": (
        db(State.DELETING, compute=compute("starting"), tasks=(task(START, "queued"),)),
        a.CancelTask(7, "The database is being deleted."),
    ),
    "delete booting: it did not start": (
        db(State.DELETING, compute=compute("starting"), tasks=(task(START, "failed", error="No."),)),
        a.EndCompute("No."),
    ),
    "delete booting: it started meanwhile": (
        db(State.DELETING, compute=compute("starting"), tasks=(task(START, "completed"),)),
        a.StopCompute("immediate", event=None),
    ),
    "delete: stopped, files next": (
        db(State.DELETING, compute=compute("stopping"), tasks=(task(STOP, "completed"),)),
        a.EndCompute("The database is being deleted."),
    ),
    "delete: no compute": (db(State.DELETING), a.DeleteTimeline()),
    "delete: files are gone": (
        db(State.DELETING, timeline=TimelineView("tl_1", "deleting", "node_1"), tasks=(task(DELETE, "completed"),)),
        a.Remove(),
    ),
    "delete: files cannot be removed": (
        db(State.DELETING, tasks=(task(DELETE, "failed", error="Busy."),)),
        a.Fail("Busy.", 1, at(1)),
    ),
    "delete: tried again": (
        db(State.DELETING, retry_at=NOW, attempt_count=1, tasks=(task(DELETE, "failed", error="Busy."),)),
        a.DeleteTimeline(),
    ),
    "delete before anything was laid down": (db(State.DELETING, timeline=UNPLACED), a.Remove()),
    "delete after a first start that failed: its node is asked": (db(State.DELETING, timeline=HALF_MADE, compute=ENDED), a.DeleteTimeline()),
}  # fmt: skip

WAITS: dict[str, tuple[DatabaseView, datetime | None]] = {
    "never started": (db(State.STOPPED, timeline=UNPLACED), None),
    "never started, wanted: no node": (db(State.STOPPED, timeline=UNPLACED, node=None, wanted_until=at(20)), at(30)),
    "never started, failed, wanted: no node any more": (
        db(State.ERROR, timeline=HALF_MADE, target_scale=1, compute=ENDED, retry_at=NOW, node=None),
        at(30),
    ),
    "sleeper": (db(State.STOPPED), None),
    "sleeper: nobody waits any more": (db(State.STOPPED, wanted_until=NOW), None),
    "booting: the agent works": (db(State.BOOTING, compute=compute("starting"), tasks=(task(START),)), None),
    "in use": (db(State.READY, target_scale=1, compute=compute(), leases_end_at=at(15)), None),
    "in use, although the API wants it stopped": (
        db(State.READY, target_scale=0, compute=compute(), leases_end_at=at(15)),
        None,
    ),
    "about to be used": (db(State.READY, target_scale=1, compute=compute(), wanted_until=at(2)), at(2)),
    "idle: the clock runs": (db(State.IDLE, target_scale=1, compute=compute(), idle_since=at(-10)), at(290)),
    "idle: never sleeps": (
        db(State.IDLE, target_scale=1, compute=compute(), idle_since=at(-9999), idle_timeout_seconds=0),
        None,
    ),
    "idle: about to be used": (
        db(State.IDLE, target_scale=1, compute=compute(), idle_since=at(-300), wanted_until=at(2)),
        at(2),
    ),
    "idle: the node's agent is away": (
        db(State.IDLE, target_scale=1, compute=compute(), idle_since=at(-300), node=AWAY),
        at(10),
    ),
    "stopping: a client waits for the end": (
        db(State.STOPPING, compute=compute("stopping"), wanted_until=at(9), tasks=(task(STOP),)),
        None,
    ),
    "failed start: back-off": (db(State.ERROR, target_scale=1, compute=ENDED, retry_at=at(4)), at(4)),
    "failed start just now: a connect waits a moment": (
        db(State.ERROR, target_scale=1, retry_at=at(200), wanted_until=at(20), tasks=(task(START, "failed", finished_at=NOW),)),
        at(1),
    ),
    "failed start, given up": (db(State.ERROR, target_scale=1, compute=ENDED), None),
    "delete: an older stop is under way": (
        db(State.DELETING, compute=compute("stopping"), tasks=(task(STOP), task(START, "completed"))),
        None,
    ),
    "delete booting: the agent has the order": (db(State.DELETING, compute=compute("starting"), tasks=(task(START),)), None),
    "delete while creating: the agent has the order": (
        db(State.DELETING, timeline=HALF_MADE, tasks=(task(CREATE),)),
        None,
    ),
    "delete: back-off": (
        db(State.DELETING, retry_at=at(3), attempt_count=2, tasks=(task(DELETE, "failed"),)),
        at(3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTS)
def test_acts(name: str) -> None:
    view, action = ACTS[name]
    assert decide(view, NOW).action == action


@pytest.mark.parametrize("name", WAITS)
def test_waits(name: str) -> None:
    view, again_at = WAITS[name]
    decision = decide(view, NOW)
    assert (decision.action, decision.again_at) == (None, again_at), decision.why


@pytest.mark.parametrize("name", [*ACTS, *WAITS])
def test_every_decision_says_why(name: str) -> None:
    view = (ACTS.get(name) or WAITS[name])[0]
    assert decide(view, NOW).why.endswith(".")


@pytest.mark.parametrize("state", [State.READY, State.IDLE])
@pytest.mark.parametrize("timeout", [0, 1, 300])
@pytest.mark.parametrize("target_scale", [0, 1])
def test_a_database_with_a_live_lease_is_never_stopped(state: State, timeout: int, target_scale: int) -> None:
    view = db(
        state,
        target_scale=target_scale,
        idle_timeout_seconds=timeout,
        compute=compute(),
        idle_since=at(-(10**6)),
        leases_end_at=at(0.001),
    )
    assert not isinstance(decide(view, NOW).action, a.StopCompute)


def test_a_database_without_a_node_says_so() -> None:
    state_reason = decide(db(State.STOPPED, timeline=UNPLACED, node=None, target_scale=1), NOW).state_reason
    assert state_reason is not None and "No node has room" in state_reason


@pytest.mark.parametrize("state", [state for state in State if state is not State.DELETING])
def test_what_is_wanted_back_goes_back_unless_its_compute_is_on_its_way(state: State) -> None:
    tasks = (task(START), task(STOP))
    for its in (compute(), ENDED):
        action = decide(db(state, compute=its, tasks=tasks, is_to_be_restored=True), NOW).action
        goes = state in (State.STOPPED, State.READY, State.IDLE) or (state is State.ERROR and its.ended)
        assert isinstance(action, a.Restore) == goes, (state, its)


ORIGIN = Origin(timeline_id="tl_0", point=Point(lsn=1), database_name="app")
BRANCH = replace(UNPLACED, origin=ORIGIN)
TWO = Keeping(1, 0, (SafekeeperView("sk_1", NOW),))


def test_a_branch_goes_only_to_who_knows_what_that_is() -> None:
    old, new = replace(NODE, keeps_wal=True), replace(ELSEWHERE, keeps_wal=True, makes_branches=True)
    waits = db(State.STOPPED, timeline=BRANCH, wanted_until=at(10), node=None, candidates=(old,), keeping=TWO)
    assert decide(waits, NOW).action is None
    action = decide(replace(waits, candidates=(old, new)), NOW).action
    assert isinstance(action, a.StartCompute) and action.first_on == new


def test_a_branch_without_rows_goes_only_to_who_leaves_them_out() -> None:
    old = replace(NODE, keeps_wal=True, makes_branches=True)
    new = replace(ELSEWHERE, keeps_wal=True, makes_branches=True, makes_schema_branches=True)
    without_rows = replace(BRANCH, origin=ORIGIN.model_copy(update={"schema_only": True}))
    waits = db(State.STOPPED, timeline=without_rows, wanted_until=at(10), node=None, candidates=(old,), keeping=TWO)
    assert decide(waits, NOW).action is None
    action = decide(replace(waits, candidates=(old, new)), NOW).action
    assert isinstance(action, a.StartCompute) and action.first_on == new


def test_a_branch_waits_while_its_account_wants_no_safekeepers() -> None:
    new = replace(NODE, keeps_wal=True, makes_branches=True)
    view = db(State.STOPPED, timeline=BRANCH, wanted_until=at(10), node=None, candidates=(new,))
    decision = decide(view, NOW)
    assert decision.action is None and "storage.safekeepers" in (decision.state_reason or "")
