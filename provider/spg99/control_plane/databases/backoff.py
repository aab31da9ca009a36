"""When to try again after a failure (pure). Here: the two waits. Not here: what failed (decide.py)."""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST_SECONDS = 1
CAP_SECONDS = 300
WANTED_AFTER = timedelta(seconds=1)
"""Somebody who waits makes us try again this soon after a failure, however long the back-off has become."""


def delay(attempt_count: int) -> timedelta:
    """1, 2, 4 ... seconds, at most five minutes. `attempt_count` counts from 1."""
    # The exponent is bounded first: 2**5000 is a number, but not a wait.
    return timedelta(seconds=min(CAP_SECONDS, FIRST_SECONDS * 2 ** min(attempt_count - 1, 16)))


def retry_at(
    now: datetime, attempt_count: int, *, attempts_max: int | None = None, retryable: bool = True
) -> datetime | None:
    """When to try again by ourselves after failure number `attempt_count`; None: not by ourselves."""
    if not retryable or (attempts_max is not None and attempt_count >= attempts_max):
        return None
    return now + delay(attempt_count)


def due_at(planned: datetime | None, failed_at: datetime | None, *, wanted: bool) -> datetime | None:
    """When the next attempt is due: as planned, or soon after the failure when somebody waits."""
    if not wanted or failed_at is None:
        return planned
    soon = failed_at + WANTED_AFTER
    return soon if planned is None else min(planned, soon)
