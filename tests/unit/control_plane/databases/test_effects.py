"""The table of moves with its effects: random lives, every row alive, no effect forgotten, one writer of `state`."""

from __future__ import annotations

import ast
import dataclasses
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spg99.control_plane import databases
from spg99.control_plane.databases import actions as a
from spg99.control_plane.databases.apply import after
from spg99.control_plane.databases.decide import decide
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.states import MOVES, Event, Move, State, move
from spg99.control_plane.databases.view import ComputeView, DatabaseView, Leaves, NodeView, TaskView, TimelineView
from spg99.errors import WrongState
from spg99.protocol.safekeeper import Configuration, Members
from spg99.protocol.tasks import TaskKind

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SOURCES = sorted(Path(databases.__file__).parents[1].rglob("*.py"))
TAKES_CONNECTIONS = (State.READY, State.IDLE)
HAS_COMPUTE = (State.BOOTING, State.READY, State.IDLE, State.STOPPING)


def new_row() -> DatabaseRow:
    empty: dict[str, Any] = {}
    for name, hint in get_type_hints(DatabaseRow).items():
        kinds = get_args(hint) or (hint,)
        empty[name] = None if type(None) in kinds else {str: "x", int: 0, bool: False}.get(kinds[0], NOW)
    return DatabaseRow(**empty | {"db_id": "db_1", "state": State.CREATING})


def changes_of(row: DatabaseRow, event: Event) -> dict[str, Any]:
    """What the action beside a move says about the row, as carry_out.py does."""
    match event:
        case Event.WANTED | Event.REPLACED:
            term = row.writer_term + 1
            return {"compute_id": f"cmp_{term}", "writer_term": term, "attempt_count": row.attempt_count}
        case Event.STARTED:
            return {"current_scale": 1, "backend_addr": "/run/x", "backend_port": 5432}
        case Event.RELEASED:
            return {"idle_since": NOW}
        case Event.RESTORED:
            return {"current_scale": 0, "current_profile": None, "backend_addr": None, "backend_port": None}
        case Event.FAILED:
            return {"reason": "It did not work.", "attempt_count": row.attempt_count + 1, "retry_at": NOW}
    return {}


def without(row: DatabaseRow, found: Move) -> DatabaseRow:
    """The end of a compute, as `apply` does before the move."""
    if not found.ends_compute:
        return row
    return dataclasses.replace(row, current_scale=0, current_profile=None, backend_addr=None, backend_port=None)


def is_decided(row: DatabaseRow, event: Event) -> bool:
    """Whether decide.py could ask for this now: it knows whether there is a compute, where the row alone does not say."""
    runs = row.backend_addr is not None
    match event:
        case Event.STOPPED_AGAIN:
            return runs
        case Event.GIVEN_UP:
            return not runs
        case Event.CREATED if row.state == State.ERROR:
            return row.writer_term == 0
        case Event.RESTORED if row.state == State.ERROR:
            return not runs
        case Event.KEPT | Event.RETAINED:
            return not runs
        case Event.WANTED if row.state == State.ERROR:
            return not runs and row.writer_term > 0
    return True


def step(row: DatabaseRow, event: Event) -> DatabaseRow:
    found = move(State(row.state), event)
    return after(without(row, found), found, **changes_of(row, event))


@given(st.lists(st.sampled_from(list(Event)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_life_ends_in_a_row_that_contradicts_its_state(events: list[Event]) -> None:
    row = new_row()
    for event in events:
        before = row
        if not is_decided(row, event):
            continue
        try:
            row = step(row, event)
        except WrongState:
            assert (State(before.state), event) not in MOVES
            continue
        state = State(row.state)
        assert (state is State.ERROR) == (row.state_reason is not None)
        assert row.idle_since is None or state is State.IDLE, "an idle clock runs only in state idle"
        assert row.retry_at is None or state is State.ERROR, "only a failure plans a retry"
        if state in TAKES_CONNECTIONS:
            assert row.backend_addr is not None and row.current_scale == 1 and row.compute_id is not None
        if state in HAS_COMPUTE:
            assert row.compute_id is not None
        if state in (State.STOPPED, State.CREATING, State.BOOTING):
            assert row.current_scale == 0 and row.backend_addr is None, "no address of a compute that is gone"
        if state is State.STOPPED:
            assert row.compute_id is None and row.attempt_count == 0
        if state is State.DELETING:
            assert row.target_scale == 0 and row.wanted_until is None
        left_readiness = before.state in TAKES_CONNECTIONS and state not in TAKES_CONNECTIONS
        if left_readiness or row.writer_term != before.writer_term:
            assert row.lease_control_epoch > before.lease_control_epoch, "what a Gateway knew is void"
        assert row.lease_control_epoch >= before.lease_control_epoch
        assert row.writer_term >= before.writer_term


def test_gateways_hear_of_every_move_that_takes_a_running_writer_away() -> None:
    for (state, event), found in MOVES.items():
        if state in TAKES_CONNECTIONS and found.to not in TAKES_CONNECTIONS:
            heard = found.publishes == "database.compute_changed" or found.to is State.DELETING
            assert found.voids_checkouts and heard, (state, event)


def test_operations_end_by_some_move() -> None:
    ended = {
        kind for found in MOVES.values() for kinds in (found.finishes, found.fails, found.supersedes) for kind in kinds
    }
    assert ended == {
        "database.create",
        "database.start",
        "database.stop",
        "database.restore",
        "database.delete",  # of what is kept; else it ends with the row
    }
    deletes = move(State.READY, Event.DELETED)
    assert {*deletes.fails, "database.delete"} == ended, (
        "whoever waits for something else hears that the database is being deleted"
    )


KEPT = Configuration(number=1, members=Members(safekeeper_ids=["sk_1"], quorum=1))


def random_view(chance: random.Random) -> DatabaseView:
    """Any view whose parts could stand together: what is written with a state always stands beside it."""

    def moment() -> datetime | None:
        return chance.choice([None, *(NOW + timedelta(seconds=s) for s in (-7200, -100, -31, -1, 1, 31, 7200))])

    def node() -> NodeView:
        status = chance.choice(["active", "active", "cordoned", "draining", "gone"])
        return NodeView(
            chance.choice(["node_1", "node_2"]), "alpha", status, moment(), keeps_wal=chance.random() < 0.8,
            ends_sessions=chance.random() < 0.3,
        )  # fmt: skip

    def task(kind: TaskKind) -> TaskView:
        of_compute = kind in (TaskKind.COMPUTE_START, TaskKind.COMPUTE_STOP)
        answers = [{}, {"stopped": False, "reason": "1 session."}] if kind is TaskKind.COMPUTE_STOP else [None]
        status = chance.choice(["queued", "dispatched", "completed", "failed"])
        return TaskView(
            1, kind, "cmp_1" if of_compute else None, status, moment() or NOW, moment(), chance.choice(answers)
        )

    state = chance.choice(list(State))
    due = {State.BOOTING: TaskKind.COMPUTE_START, State.STOPPING: TaskKind.COMPUTE_STOP}.get(state)
    kinds = [kind for kind in TaskKind if kind is due or chance.random() < 0.5]
    compute = ComputeView("cmp_1", chance.choice(["starting", "running", "stopping", "ended"]), moment(), moment())
    return DatabaseView(
        state=state,
        timeline=TimelineView(
            "tl_1", chance.choice(["creating", "present", "deleting"]), "node_1", chance.choice([None, KEPT])
        ),
        hears_since=moment(),
        is_unreachable=chance.random() < 0.5,
        idle_timeout_seconds=chance.choice([0, 5, 300]),
        target_scale=chance.choice([0, 1]),
        wanted_until=moment(),
        idle_since=moment(),
        last_used_at=moment(),
        attempt_count=chance.choice([0, 1, 2, 9, 10]),
        retry_at=moment(),
        compute=compute if state in HAS_COMPUTE or chance.random() < 0.5 else None,
        leases_end_at=moment(),
        tasks=tuple(task(kind) for kind in kinds),
        node=node(),
        candidates=tuple(node() for _ in range(chance.randrange(3))),
        leaves=chance.choice([None, *get_args(Leaves)]) if state is State.DELETING else None,
        is_to_be_restored=chance.random() < 0.1,
    )


def test_what_is_decided_can_happen_and_no_row_of_the_table_is_dead() -> None:
    chance = random.Random(1)
    decided = set()
    for _ in range(5_000):
        view = random_view(chance)
        action = decide(view, NOW).action
        event = getattr(action, "event", None)
        if event is None or (view.state is State.DELETING and isinstance(action, a.Fail)):
            continue  # nothing moves: an order goes out, or a failure of a removal is written down
        assert (view.state, event) in MOVES, f"{view.state} {event}"
        decided.add((view.state, event))
    asked_by_the_api = {(state, Event.DELETED) for state in State if state is not State.DELETING}
    asked_by_the_api.add((State.DELETED, Event.UNDELETED))
    assert MOVES.keys() - asked_by_the_api - decided == set(), "nothing decides these"


def writers_of_state(text: str) -> list[int]:
    """Lines on which the state of a row is written: `replace(..., state=...)`, `row.state = ...`, an effect of that name."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.endswith(("replace", "apply", "after")) and any(k.arg == "state" for k in node.keywords):
                found.append(node.lineno)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(
                isinstance(t, ast.Attribute) and t.attr == "state" and ast.unparse(t.value) == "row" for t in targets
            ):
                found.append(node.lineno)
        elif isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            if "state" in keys and "state_reason" in keys and "idle_since" in keys:
                found.append(node.lineno)
    return found


def test_only_apply_writes_the_state_of_a_database() -> None:
    found = {path.name for path in SOURCES if path.parent.name == "databases" and writers_of_state(path.read_text())}
    assert found == {"apply.py"}
    sql = Path(databases.__file__).with_name("queries.sql").read_text()
    changes = re.findall(r"update databases\b.*?\bset\b(.*?)(?:\bwhere\b|\bfrom\b)", sql, re.S)
    # `state = %(...)` that is set, and not the `state = '...'` of a condition inside a case.
    setting = [text for text in changes if re.search(r"(?:^|,)\s*state = ", text)]
    assert len(changes) > 5 and len(setting) == 1 and "state_reason = %(state_reason)s" in setting[0]


@pytest.mark.parametrize(
    "text", ["dataclasses.replace(row, state=State.READY)", "row.state = 'ready'", "replace(row, x=1, state=s)"]
)
def test_the_reader_of_the_source_finds_a_writer(text: str) -> None:
    assert writers_of_state(text)
