"""When a schedule makes its next snapshot, what it is called, and which of its snapshots go (pure). Here: these decisions. Not here: carrying them out
(scheduled_snapshots.py), what a cron expression says (spg99/cron.py).

Times that nobody was there for are made up for by one snapshot: from whatever was missed the next time is after now. What cannot be made at all says so
and waits for the next time; what cannot be made right now is tried again. Snapshots go only when another one was made, so a schedule that makes none any more
keeps what it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from spg99 import cron
from spg99.control_plane.databases.branch_points import Beginning
from spg99.control_plane.databases.dated_names import NAME_LENGTH_MAX
from spg99.errors import Conflict, Spg99Error, Unavailable

ATTEMPT: Final = timedelta(seconds=60)
"""So long an attempt is its Control Plane's, which may have been killed; a node has some seconds to answer."""
AGAIN: Final = timedelta(seconds=60)
RESTORED_WITHIN: Final = timedelta(seconds=10)


@dataclass(frozen=True)
class Times:
    """When a schedule is due, and when somebody takes it up."""

    next_snapshot_at: datetime
    attempt_at: datetime


@dataclass(frozen=True)
class BeingRestored:
    """The database is going back to another moment: its snapshot is of what it is then."""


@dataclass(frozen=True)
class Outcome:
    """What becomes of an attempt."""

    times: Times
    makes_one: bool
    last_error: str | None


@dataclass(frozen=True)
class Made:
    """A snapshot that the schedule has made."""

    snapshot_id: str
    is_needed: bool
    """Something is about to begin in it."""
    is_damaged: bool = False
    """It was verified, and would not come back whole."""


def first_times(expression: str, now: datetime) -> Times:
    """Of a schedule that is new, or has another expression."""
    at = cron.next_after(expression, now)
    return Times(at, at)


def outcome(
    expression: str, times: Times, last_error: str | None, found: Beginning | BeingRestored | Spg99Error, now: datetime
) -> Outcome:
    """What follows from the moment that was found, or from why there is none. `times`, `last_error`: as they were."""
    match found:
        case Beginning():
            return Outcome(first_times(expression, now), makes_one=True, last_error=None)
        case BeingRestored():
            return Outcome(Times(times.next_snapshot_at, now + RESTORED_WITHIN), makes_one=False, last_error=last_error)
        case Unavailable() | Conflict():
            return Outcome(Times(times.next_snapshot_at, now + AGAIN), makes_one=False, last_error=sentence(found))
        case _:
            return Outcome(first_times(expression, now), makes_one=False, last_error=sentence(found))


def corrected(expression: str, times: Times, now: datetime) -> Times | None:
    """Other times, where a clock that was wrong has written ones that are too late; None: they are right."""
    next_at = min(times.next_snapshot_at, cron.next_after(expression, now))
    attempt_at = min(times.attempt_at, max(next_at, now + max(ATTEMPT, AGAIN)))
    right = Times(next_at, attempt_at)
    return None if right == times else right


def superfluous(made: Sequence[Made], keep: int) -> list[str]:
    """Ids of those that go, of all that a schedule has made, the latest first. Damaged ones take no place of whole ones: as many of these stay."""
    whole = [one for one in made if not one.is_damaged]
    damaged = [one for one in made if one.is_damaged]
    return [one.snapshot_id for one in (*whole[keep:], *damaged[keep:]) if not one.is_needed]


def name_of_snapshot(schedule: str, at: datetime) -> str:
    """What a snapshot of this time is called: a name of at most 63 characters."""
    suffix = f"_{at:%Y%m%d_%H%M%S}"
    return schedule[: NAME_LENGTH_MAX - len(suffix)] + suffix


def sentence(error: Spg99Error) -> str:
    """What is wrong, as a user reads it who has not made a request."""
    return "; ".join(error.fields.values()) or error.message
