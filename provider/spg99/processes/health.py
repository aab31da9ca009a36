"""Whether a background loop is well, and how long it pauses after a failure. Pure: time and chance are handed in.

Here: the rules. Not here: running loops (loops.py), answering `/readyz` (each process).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import Final

PAUSE_SECONDS_FIRST: Final = 0.1
PAUSE_SECONDS_MAX: Final = 5.0
UNHEALTHY_AFTER_SECONDS: Final = 5.0
"""A loop may fail for this long before anybody is told to worry: a catalogue's or Control Plane's restart is shorter."""
SETTLED_SECONDS: Final = 5.0
"""A loop that never ends a turn (it listens, it keeps a child) counts as well again after running this long."""
SAY_AGAIN_SECONDS: Final = 30.0
"""A failure that goes on is logged when it begins, when its cause changes, and then this often."""


@dataclass(frozen=True)
class Unhealthy:
    """A loop that is not well, as `/readyz` tells it."""

    loop: str
    since: datetime
    reason: str
    """A sentence; no secret and nothing of a user in it."""

    def sentence(self) -> str:
        """For an operator: `reconciler, since 12:00:03Z: failed 4 times in a row (Internal)`."""
        return f"{self.loop}, since {self.since:%Y-%m-%dT%H:%M:%SZ}: {self.reason}"


@dataclass(frozen=True)
class Course:
    """How a loop has fared. All moments are of one monotonic clock, in seconds."""

    failures: int = 0
    """In a row."""
    failing_since: float | None = None
    reason: str = ""
    """Why it failed last."""
    turn_began_at: float | None = None
    """None between two turns."""
    ended_at: float | None = None
    """The loop itself is gone: nothing will start it again."""
    said_at: float | None = None
    """When the failure was last logged."""

    def began(self, now: float) -> Course:
        """A turn begins."""
        return dataclasses.replace(self, turn_began_at=now)

    def succeeded(self) -> Course:
        """A turn has ended well: what was before is over."""
        return Course()

    def is_well_now(self) -> Course:
        """A turn that goes on has said that all is well: what was before is over."""
        return Course(turn_began_at=self.turn_began_at)

    def failed(self, reason: str, now: float, *, settles: bool) -> Course:
        """A turn has failed. `settles`: a turn that ran for `SETTLED_SECONDS` was well until it failed."""
        ran_well = settles and self.turn_began_at is not None and now - self.turn_began_at >= SETTLED_SECONDS
        before = Course() if ran_well else self
        return Course(
            failures=before.failures + 1,
            failing_since=now if before.failing_since is None else before.failing_since,
            reason=reason,
            said_at=before.said_at if before.reason == reason else None,
        )

    def ended(self, reason: str, now: float) -> Course:
        """The loop has ended for good."""
        return dataclasses.replace(self, reason=reason, turn_began_at=None, ended_at=now)

    def is_worth_saying(self, now: float) -> bool:
        """Whether the failure should be logged (again)."""
        return self.said_at is None or now - self.said_at >= SAY_AGAIN_SECONDS

    def said(self, now: float) -> Course:
        """The failure was logged."""
        return dataclasses.replace(self, said_at=now)


def pause_seconds(failures: int, *, chance: float, asked_seconds: float = 0.0) -> float:
    """How long to pause after the `failures`-th failure in a row: doubling up to a bound, spread by `chance` (0..1) so that
    a hundred processes do not come back in the same moment, and never shorter than the other side asked for."""
    grown = PAUSE_SECONDS_FIRST * 2.0 ** min(max(failures - 1, 0), 16)
    return asked_seconds + min(PAUSE_SECONDS_MAX, grown) * (0.5 + chance / 2)


def complaint(
    course: Course, now: float, *, turn_seconds_max: float | None, settles: bool = True
) -> tuple[float, str] | None:
    """Since when a loop is not well, and why; None when it is.

    `turn_seconds_max` bounds a turn of a loop that should end one; None: it runs for ever, and where it `settles`, it is
    well when it has done so for `SETTLED_SECONDS`.
    """
    if course.ended_at is not None:
        return course.ended_at, f"it has ended ({course.reason})"
    running_seconds = None if course.turn_began_at is None else now - course.turn_began_at
    if running_seconds is not None and turn_seconds_max is not None and running_seconds > turn_seconds_max:
        return now - running_seconds, f"its turn has not come to an end for {running_seconds:.0f} s"
    if course.failing_since is None or now - course.failing_since < UNHEALTHY_AFTER_SECONDS:
        return None
    if turn_seconds_max is None and settles and running_seconds is not None and running_seconds >= SETTLED_SECONDS:
        return None
    times = "once" if course.failures == 1 else f"{course.failures} times in a row"
    return course.failing_since, f"failed {times} ({course.reason})"
