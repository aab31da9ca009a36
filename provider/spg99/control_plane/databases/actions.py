"""What may be done to a database, as values. Here: the vocabulary of decisions. Not here: doing it (carry_out.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from spg99.control_plane.databases.states import Event
from spg99.control_plane.databases.view import NodeView
from spg99.protocol.safekeeper import Configuration


@dataclass(frozen=True)
class MarkCreated:
    """It waits for nothing any more: its files are made with its first start."""

    event: ClassVar[Event] = Event.CREATED


@dataclass(frozen=True)
class StartCompute:
    """A new writer generation: next term, new compute, order to start it."""

    event: Event
    attempt_count: int
    first_on: NodeView | None = None
    """The node on which the files are laid down first; None: they are where the timeline says."""
    moves_to: NodeView | None = None
    """Another node than that of the last compute, which makes the files there of what safekeepers and object store have; None: the same."""
    configuration: Configuration | None = None
    """Of a first start: who keeps its WAL; None: nobody but its node."""


@dataclass(frozen=True)
class MarkReady:
    """The compute takes connections."""

    event: ClassVar[Event] = Event.STARTED

    task_id: int


@dataclass(frozen=True)
class MarkIdle:
    """Nothing uses it; the idle clock runs since `since`."""

    event: ClassVar[Event] = Event.RELEASED

    since: datetime


@dataclass(frozen=True)
class MarkUsed:
    """It is in use again."""

    event: ClassVar[Event] = Event.USED


@dataclass(frozen=True)
class StopCompute:
    """Order the compute to stop; unless it goes with the database, only if it finds itself unused."""

    mode: str = "fast"
    event: Event | None = Event.QUIET
    """None: it is stopped because the database is being deleted, whoever uses it."""
    ends_sessions: bool = False
    """It is stopped whoever uses it: the node is to be emptied, and who comes again finds it elsewhere."""


@dataclass(frozen=True)
class MarkInUse:
    """The compute was asked and runs on: somebody uses it, so it counts as used from this moment."""

    event: ClassVar[Event] = Event.IN_USE
    task_id: int
    reason: str


@dataclass(frozen=True)
class MarkStopped:
    """The compute is gone: as ordered, or by itself while nobody needed it."""

    event: Event


@dataclass(frozen=True)
class EndCompute:
    """Write down that the compute does not run, nothing else."""

    reason: str


@dataclass(frozen=True)
class CancelTask:
    """Close an order no agent has taken or will take."""

    task_id: int
    reason: str


@dataclass(frozen=True)
class Fail:
    """An order failed. `retry_at` None: only somebody who wants the database makes us try again."""

    event: ClassVar[Event] = Event.FAILED

    reason: str
    attempt_count: int
    retry_at: datetime | None


@dataclass(frozen=True)
class GiveUp:
    """Stop trying: nobody wants it running."""

    event: ClassVar[Event] = Event.GIVEN_UP


@dataclass(frozen=True)
class Restore:
    """Another timeline, which begins at a moment of this one; this one, with whoever runs on it, becomes another database."""

    event: ClassVar[Event] = Event.RESTORED


@dataclass(frozen=True)
class Discard:
    """It is no database but a moment of one, and nobody needs it any more: it goes."""


@dataclass(frozen=True)
class Keep:
    """It is deleted, and its history stays: it can come back for a while."""

    event: ClassVar[Event] = Event.KEPT


@dataclass(frozen=True)
class Retain:
    """It is deleted, and stays asleep under another name."""

    event: ClassVar[Event] = Event.RETAINED


@dataclass(frozen=True)
class DeleteTimeline:
    """Order the files of the timeline removed."""

    on: NodeView | None = None
    """By this node instead of its own, which is away: what counts of it is with safekeepers and object store."""


@dataclass(frozen=True)
class Remove:
    """Nothing is left on any node: the record goes."""


Action = (
    MarkCreated
    | StartCompute
    | MarkReady
    | MarkIdle
    | MarkUsed
    | StopCompute
    | MarkInUse
    | MarkStopped
    | EndCompute
    | CancelTask
    | Fail
    | GiveUp
    | Restore
    | Discard
    | Keep
    | Retain
    | DeleteTimeline
    | Remove
)


@dataclass(frozen=True)
class Decision:
    """One action or none, when to look again (None: when told), and why in a sentence."""

    action: Action | None
    again_at: datetime | None
    why: str
    state_reason: str | None = None
    """What a user reads meanwhile as `state_reason`, when something outside holds it up."""


def act(action: Action, why: str) -> Decision:
    """Do this, then look again at once."""
    return Decision(action, None, why)


def wait(why: str, *, until: datetime | None = None, state_reason: str | None = None) -> Decision:
    """Do nothing now."""
    return Decision(None, until, why, state_reason)
