"""What happens next to an export (pure): from its row, its order, and the time. Here: the table of its states. Not here: carrying it out (exporting.py).

    waiting -> running -> ready -> deleting -> gone
                       -> failed -> deleting -> gone

One that is being deleted while a node still writes it waits for that: what came later, nobody would remove.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

WAITS_AT_MOST: Final = timedelta(hours=1)
"""For a node that is free to make it."""
RUNS_AT_MOST: Final = timedelta(hours=12)
"""Twice as long as a node lets pg_dump run: what is not heard of by then comes to nothing."""
NO_NODE: Final = "No node was free to make the export within an hour, or none has an agent that can."
NOT_HEARD_OF: Final = "The node that made the export was not heard of again."


class ExportState(StrEnum):
    """Where an export stands."""

    WAITING = "waiting"
    """For a node that is free: each makes one at a time."""
    RUNNING = "running"
    """A node lays its moment out and reads it."""
    READY = "ready"
    """It can be downloaded, until it expires."""
    FAILED = "failed"
    """`error` says why."""
    DELETING = "deleting"
    """What there is of it is being removed."""


@dataclass(frozen=True)
class TaskSeen:
    """Its order, as it stands."""

    status: str
    expires_at: datetime
    error: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether a node may still work on it."""
        return self.status in ("queued", "dispatched")


@dataclass(frozen=True)
class Begin:
    """Order a free node to make it."""


@dataclass(frozen=True)
class Wait:
    """Nothing."""


@dataclass(frozen=True)
class Withdraw:
    """No node has taken the order in time: take it back, and wait for another node."""


@dataclass(frozen=True)
class Finish:
    """It is there."""


@dataclass(frozen=True)
class Fail:
    """It came to nothing."""

    reason: str


@dataclass(frozen=True)
class Remove:
    """Remove its objects, then its row."""


Step = Begin | Wait | Withdraw | Finish | Fail | Remove


def next_step(
    state: ExportState, *, created_at: datetime, expires_at: datetime, task: TaskSeen | None, now: datetime
) -> Step:
    """What to do with one export now."""
    match state:
        case ExportState.WAITING:
            return Begin() if now < created_at + WAITS_AT_MOST else Fail(NO_NODE)
        case ExportState.RUNNING:
            return _of_running(created_at, task, now)
        case ExportState.DELETING:
            may_write = task is not None and task.status == "dispatched" and now < created_at + RUNS_AT_MOST
            return Wait() if may_write else Remove()
        case ExportState.READY | ExportState.FAILED:
            return Remove() if expires_at <= now else Wait()


def _of_running(created_at: datetime, task: TaskSeen | None, now: datetime) -> Step:
    if task is None:
        return Fail(NOT_HEARD_OF)
    if task.status == "completed":
        return Finish()
    if not task.is_open:
        return Fail(task.error or NOT_HEARD_OF)
    if task.status == "queued" and task.expires_at <= now:
        return Withdraw()
    return Wait() if now < created_at + RUNS_AT_MOST else Fail(NOT_HEARD_OF)
