"""When a moment that is open for reading ends (pure). It is a row beside the databases, with a compute like theirs, and all that holds for theirs holds for it; but there
is nothing to keep: where a database would sleep, fail or wait for its node, it goes.

Here: these rules, asked before those of databases (decide.py). Not here: opening one (time_travel.py), the steps of its removal (deletion.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from spg99.control_plane.databases.actions import Decision, Discard, MarkStopped, act, wait
from spg99.control_plane.databases.states import Event
from spg99.control_plane.databases.view import UNREACHABLE_AFTER, DatabaseView
from spg99.resources import DatabaseState as State

FAILURE_KEPT_FOR = timedelta(seconds=10)
"""A failed start stays for so long that whoever waits hears why."""


def ending(view: DatabaseView, now: datetime) -> Decision | None:
    """What becomes of a moment that nobody needs or that cannot go on; None: what would become of a database."""
    if view.state is State.DELETING:
        return None
    if view.is_source_gone:
        return act(Discard(), "The database of which it is a moment is gone.")
    is_needed = view.in_use(now) or view.wanted(now)
    match view.state:
        case State.STOPPED if not view.wanted(now):
            return act(Discard(), "Nobody reads it.")
        case State.ERROR if not view.wanted(now):
            until = (view.failed_at or now) + FAILURE_KEPT_FOR
            return (
                act(Discard(), "It could not be opened.") if until <= now else wait("Who asked hears why.", until=until)
            )
        case State.READY | State.IDLE if view.compute is not None and view.compute.ended:
            # Its files are made anew, perhaps on another node: nothing in them counts.
            return act(MarkStopped(Event.LOST), "Its compute ended by itself.")
        case State.READY | State.IDLE if _is_cut_off(view, now, is_needed=is_needed):
            return act(Discard(), "Its node is away.")
        case State.READY | State.IDLE if (
            view.node is not None and view.node.status == "draining" and view.node.ends_sessions
        ):
            return act(Discard(), "Its node is to be emptied.")
        case State.BOOTING | State.STOPPING if view.is_node_away(now):
            return act(Discard(), "Its node is away.")
        case _:
            return None


def _is_cut_off(view: DatabaseView, now: datetime, *, is_needed: bool) -> bool:
    """Whether it may as well be opened anew. An agent that is away for a while is no reason to end who reads."""
    if view.node is not None and view.node.status == "gone":
        return True
    if view.is_unreachable:
        return view.is_node_away(now, UNREACHABLE_AFTER)
    return not is_needed and view.is_node_away(now)
