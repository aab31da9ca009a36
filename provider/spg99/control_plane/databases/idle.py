"""When a running database may sleep (pure). Here: the idle clock. Not here: what counts as use (view.py)."""

from __future__ import annotations

from datetime import datetime, timedelta


def clock_starts_at(now: datetime, *, last_used_at: datetime | None, started_at: datetime | None) -> datetime:
    """The moment from which a database counts as unused: its last known use, but not before its compute was there."""
    known = [moment for moment in (last_used_at, started_at) if moment is not None]
    return min(now, max(known, default=now))


def sleeps_at(idle_since: datetime, idle_timeout_seconds: int) -> datetime | None:
    """When the idle clock runs out. None: never (a timeout of 0)."""
    if idle_timeout_seconds == 0:
        return None
    return idle_since + timedelta(seconds=idle_timeout_seconds)
