"""The table of states: what the contract draws is possible, the rest is not, and the docs show the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from spg99.control_plane.databases.states import MOVES, Event, State, diagram, move
from spg99.errors import WrongState

DOCS = Path(__file__).parents[4] / "docs" / "states.md"

CONTRACT = [
    (State.CREATING, State.STOPPED),
    (State.STOPPED, State.BOOTING),
    (State.BOOTING, State.READY),
    (State.READY, State.IDLE),
    (State.IDLE, State.READY),
    (State.IDLE, State.STOPPING),
    (State.STOPPING, State.STOPPED),
    (State.BOOTING, State.ERROR),
    (State.READY, State.ERROR),
    (State.STOPPING, State.ERROR),
    (State.STOPPING, State.READY),
    (State.ERROR, State.BOOTING),
    *((state, State.DELETING) for state in State if state is not State.DELETING),
]


@pytest.mark.parametrize(("before", "after"), CONTRACT)
def test_every_move_of_the_contract_is_in_the_table(before: State, after: State) -> None:
    assert (before, after) in {(state, found.to) for (state, _), found in MOVES.items()}


def test_what_is_being_deleted_is_kept_or_goes_and_what_is_kept_comes_back_or_goes() -> None:
    ways = {state: {event for event in Event if (state, event) in MOVES} for state in (State.DELETING, State.DELETED)}
    assert ways == {State.DELETING: {Event.KEPT, Event.RETAINED}, State.DELETED: {Event.UNDELETED, Event.DELETED}}


def test_a_sleeper_cannot_be_stopped() -> None:
    with pytest.raises(WrongState, match="state 'stopped' cannot be quiet"):
        move(State.STOPPED, Event.QUIET)


def test_every_event_leads_somewhere_and_every_state_is_reached() -> None:
    assert {event for _, event in MOVES} == set(Event)
    assert {found.to for found in MOVES.values()} | {State.CREATING} == set(State)


def test_the_docs_show_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in DOCS.read_text(), "print diagram() into docs/states.md"
