"""The life of a database as a table: which state an event leads to. What is not in the table cannot happen.

Here: states, events, moves, and the diagram printed from them (docs/states.md). Not here: when an event happens (decide.py).
"""

from __future__ import annotations

from enum import StrEnum

from spg99.errors import WrongState
from spg99.resources import DatabaseState as State


class Event(StrEnum):
    """What happens to a database."""

    CREATED = "created"
    """Its timeline lies on a node."""
    CREATED_AGAIN = "created_again"
    """Another attempt to make its timeline begins."""
    WANTED = "wanted"
    """A client or the API wants it running, and a compute is being started."""
    STARTED = "started"
    """Its compute takes connections."""
    RELEASED = "released"
    """Nothing uses it any more; the idle clock runs."""
    USED = "used"
    """Something uses it again."""
    QUIET = "quiet"
    """The idle clock ran out, or the API wants it stopped."""
    STOPPED = "stopped"
    """Its compute has ended as ordered."""
    STOPPED_AGAIN = "stopped_again"
    """Another attempt to stop its compute begins."""
    LOST = "lost"
    """Its compute ended by itself and nobody needs it."""
    REPLACED = "replaced"
    """Its compute ended by itself, and another is being started for the same timeline."""
    FAILED = "failed"
    """An order failed; `state_reason` says why."""
    GIVEN_UP = "given_up"
    """Nobody wants it running any more after a failed start."""
    DELETED = "deleted"
    """The API wants it removed for good."""


MOVES: dict[tuple[State, Event], State] = {
    (State.CREATING, Event.CREATED): State.STOPPED,
    (State.CREATING, Event.FAILED): State.ERROR,
    (State.STOPPED, Event.WANTED): State.BOOTING,
    (State.BOOTING, Event.STARTED): State.READY,
    (State.BOOTING, Event.FAILED): State.ERROR,
    (State.READY, Event.RELEASED): State.IDLE,
    (State.IDLE, Event.USED): State.READY,
    (State.READY, Event.QUIET): State.STOPPING,
    (State.IDLE, Event.QUIET): State.STOPPING,
    (State.STOPPING, Event.STOPPED): State.STOPPED,
    (State.STOPPING, Event.FAILED): State.ERROR,
    (State.READY, Event.REPLACED): State.BOOTING,
    (State.IDLE, Event.REPLACED): State.BOOTING,
    (State.READY, Event.LOST): State.STOPPED,
    (State.IDLE, Event.LOST): State.STOPPED,
    (State.READY, Event.FAILED): State.ERROR,
    (State.IDLE, Event.FAILED): State.ERROR,
    (State.ERROR, Event.WANTED): State.BOOTING,
    (State.ERROR, Event.CREATED_AGAIN): State.CREATING,
    (State.ERROR, Event.STOPPED_AGAIN): State.STOPPING,
    (State.ERROR, Event.GIVEN_UP): State.STOPPED,
    (State.CREATING, Event.DELETED): State.DELETING,
    (State.STOPPED, Event.DELETED): State.DELETING,
    (State.BOOTING, Event.DELETED): State.DELETING,
    (State.READY, Event.DELETED): State.DELETING,
    (State.IDLE, Event.DELETED): State.DELETING,
    (State.STOPPING, Event.DELETED): State.DELETING,
    (State.ERROR, Event.DELETED): State.DELETING,
}


def move(state: State, event: Event) -> State:
    """The state that follows. Raises WrongState when the event cannot happen in this state."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise WrongState(f"A database in state '{state}' cannot be {event.replace('_', ' ')}.") from None


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> creating: create"]
    lines += [f"    {state} --> {after}: {event}" for (state, event), after in MOVES.items()]
    lines.append("    deleting --> [*]: removed")
    return "\n".join(lines)
