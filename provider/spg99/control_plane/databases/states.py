"""The life of a database as a table: where an event leads, and what always goes with it. What is not here cannot happen.

Here: states, events, moves and their effects as data, the diagram printed from them (docs/states.md). Not here: when an event
happens (decide.py, requests.py), carrying effects out (apply.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from spg99.errors import WrongState
from spg99.resources import DatabaseState as State


class Event(StrEnum):
    """What happens to a database."""

    CREATED = "created"
    """It is written down, with its timeline. (Files are made with its first start.)"""
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
    IN_USE = "in_use"
    """Its compute was asked to stop and runs on: somebody uses it."""
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
    RESTORED = "restored"
    """It has gone back to a moment of its history: another timeline begins there, and its compute goes with the former one."""
    DELETED = "deleted"
    """It is to go: the API wants it, its time is over, or the time in which it could come back."""
    KEPT = "kept"
    """It was deleted and nothing of it runs. For a while it can come back."""
    RETAINED = "retained"
    """It was deleted and stays asleep under another name."""
    UNDELETED = "undeleted"
    """It has come back."""


@dataclass(frozen=True)
class Move:
    """Where an event leads, and what always goes with it (carried out by apply.py). Every move publishes `database.<state>`."""

    to: State
    voids_checkouts: bool = False
    """Gateways must ask again: the writer they knew is not the writer any more, or no longer takes new connections."""
    ends_compute: bool = False
    """The compute is written down as not running, and the time it ran is added to the account."""
    releases_compute: bool = False
    """The database has no compute from here on."""
    clears_retry: bool = False
    """What failed before is over: the count of attempts begins anew."""
    target_scale: int | None = None
    """How many writers shall run from here on; None: as before."""
    clears_wanted: bool = False
    """Nobody is waiting for it any more: who comes later asks anew."""
    releases_leases: bool = False
    """No Gateway uses it any more."""
    publishes: str | None = None
    """An event beside `database.<state>`."""
    finishes: tuple[str, ...] = ()
    """Operations that have succeeded by this."""
    fails: tuple[str, ...] = ()
    """Operations that have failed by this."""
    supersedes: tuple[str, ...] = ()
    """Operations that come to nothing by this, unless the API has asked for a writer again meanwhile."""


_CHANGED = "database.compute_changed"

_STARTS = Move(State.BOOTING, voids_checkouts=True, target_scale=1)
_REPLACES = replace(_STARTS, ends_compute=True, publishes=_CHANGED)
_STOPS = Move(State.STOPPING, voids_checkouts=True, target_scale=0, publishes=_CHANGED)
_IS_STOPPED = Move(
    State.STOPPED, ends_compute=True, releases_compute=True, clears_retry=True,
    finishes=("database.stop",), supersedes=("database.start",),
)  # fmt: skip
_IS_LOST = replace(_IS_STOPPED, voids_checkouts=True, target_scale=0, publishes=_CHANGED)
_START_FAILS = Move(
    State.ERROR, voids_checkouts=True, ends_compute=True, clears_wanted=True, fails=("database.start",)
)  # fmt: skip
_RUN_FAILS = replace(_START_FAILS, publishes=_CHANGED)
_DELETES = Move(
    State.DELETING, voids_checkouts=True, target_scale=0, clears_wanted=True, clears_retry=True, releases_leases=True,
    fails=("database.create", "database.start", "database.stop", "database.restore"),
)  # fmt: skip
_GOES_BACK = Move(
    State.STOPPED, voids_checkouts=True, releases_compute=True, clears_retry=True, target_scale=0, releases_leases=True,
    publishes=_CHANGED, finishes=("database.restore", "database.stop"), supersedes=("database.start",),
)  # fmt: skip

_CREATED = Move(State.STOPPED, clears_retry=True, finishes=("database.create",))

MOVES: dict[tuple[State, Event], Move] = {
    (State.CREATING, Event.CREATED): _CREATED,
    (State.STOPPED, Event.WANTED): _STARTS,
    (State.BOOTING, Event.STARTED): Move(State.READY, finishes=("database.start",)),
    (State.BOOTING, Event.FAILED): _START_FAILS,
    (State.BOOTING, Event.REPLACED): _REPLACES,
    (State.READY, Event.RELEASED): Move(State.IDLE),
    (State.IDLE, Event.USED): Move(State.READY),
    (State.READY, Event.QUIET): _STOPS,
    (State.IDLE, Event.QUIET): _STOPS,
    (State.STOPPING, Event.STOPPED): _IS_STOPPED,
    (State.STOPPING, Event.IN_USE): Move(State.READY, clears_retry=True, target_scale=1, fails=("database.stop",)),
    (State.STOPPING, Event.FAILED): Move(State.ERROR, fails=("database.stop",)),
    (State.READY, Event.REPLACED): _REPLACES,
    (State.IDLE, Event.REPLACED): _REPLACES,
    (State.READY, Event.LOST): _IS_LOST,
    (State.IDLE, Event.LOST): _IS_LOST,
    (State.READY, Event.FAILED): _RUN_FAILS,
    (State.IDLE, Event.FAILED): _RUN_FAILS,
    (State.ERROR, Event.WANTED): _STARTS,
    (State.ERROR, Event.CREATED): _CREATED,  # a create that failed when it still waited for a node (an older version's)
    (State.ERROR, Event.STOPPED_AGAIN): _STOPS,
    (State.ERROR, Event.GIVEN_UP): Move(
        State.STOPPED, releases_compute=True, clears_retry=True, finishes=("database.stop",)
    ),
    **{(state, Event.RESTORED): _GOES_BACK for state in (State.STOPPED, State.READY, State.IDLE, State.ERROR)},
    (State.DELETING, Event.KEPT): Move(
        State.DELETED, releases_compute=True, clears_retry=True, finishes=("database.delete",)
    ),
    (State.DELETING, Event.RETAINED): Move(
        State.STOPPED,
        releases_compute=True,
        clears_retry=True,
        publishes="database.updated",
        finishes=("database.delete",),
    ),
    (State.DELETED, Event.UNDELETED): Move(State.STOPPED, clears_retry=True),
    **{(state, Event.DELETED): _DELETES for state in State if state is not State.DELETING},
}


def move(state: State, event: Event) -> Move:
    """What follows. Raises WrongState when the event cannot happen in this state."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise WrongState(f"A database in state '{state}' cannot be {event.replace('_', ' ')}.") from None


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> creating: create"]
    lines += [f"    {state} --> {move.to}: {event}" for (state, event), move in MOVES.items()]
    lines.append("    deleting --> [*]: removed")
    return "\n".join(lines)
