"""Which request is sent again, and after how long. Here: the rule, pure. Not here: sending (transport.py).

    what happened                    | repeatable | not repeatable
    ---------------------------------+------------+---------------
    never left (refused, no route)   | again      | again
    429                              | again      | again
    502, 503, 504                    | again      | give up
    answer lost (reset, cut, late)   | again      | give up
    anything else                    | give up    | give up

Repeatable is what has the effect of sending it once when it is sent twice. GET, PATCH and DELETE are, and POST with an
Idempotency-Key, which the public client (api.py) gives every POST; no request with If-Match is. Calls between our own
processes (internal.py) are POST without a key: each says there by itself whether it is repeatable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
LONGEST_RETRY_AFTER_SECONDS = 60.0
"""A server that wants us away for longer gets its way: the error says when to come back."""

PASSING_STATUSES = frozenset({502, 503, 504})


class NotSent:
    """The request never left: no connection."""


class Lost:
    """The request may have been carried out; its answer did not come, or not whole."""


class Answered(NamedTuple):
    """A whole answer came."""

    status: int
    retry_after: str | None = None
    """The header as it came: seconds or an HTTP date."""


Outcome = NotSent | Lost | Answered


def in_words(outcome: Outcome) -> str:
    """What happened, to go before "the Control Plane at ..."."""
    match outcome:
        case NotSent():
            return "no connection to"
        case Lost():
            return "no whole answer from"
        case Answered(status=status):
            return f"HTTP {status} from"


def repeatable(method: str, headers: Mapping[str, str]) -> bool:
    """Whether sending the request twice has the effect of sending it once.

    If-Match ends that: the second time the object is no longer the one that was read.
    """
    names = {name.lower() for name in headers}
    if "if-match" in names:
        return False
    return method != "POST" or "idempotency-key" in names


def decide(
    outcome: Outcome,
    *,
    is_repeatable: bool,
    attempt: int,
    attempts_max: int,
    chance: float,
    now: datetime | None = None,
    seconds_left: float | None = None,
) -> float | None:
    """Seconds to wait before the next attempt, or None to give up.

    `attempt` counts from 1; `chance` in [0, 1) spreads clients that failed at the same moment. `seconds_left`, where a caller
    has a time limit of its own (patience.py), stands in for the number of attempts.
    """
    if not _worth_it(outcome, is_repeatable) or (seconds_left is None and attempt >= attempts_max):
        return None
    pause = _pause(outcome, attempt, now, chance)
    return None if pause is None or (seconds_left is not None and pause >= seconds_left) else pause


def _pause(outcome: Outcome, attempt: int, now: datetime | None, chance: float) -> float | None:
    backoff = min(FIRST_WAIT_SECONDS * 2.0 ** min(attempt - 1, 30), LONGEST_WAIT_SECONDS) * (0.5 + chance / 2)
    if isinstance(outcome, Answered) and outcome.retry_after is not None:
        asked = retry_after_seconds(outcome.retry_after, now)
        if asked is not None:
            # Everybody was told the same number: without the spread all come back at once and are refused again.
            return None if asked > LONGEST_RETRY_AFTER_SECONDS else asked + backoff * chance
    return backoff


def _worth_it(outcome: Outcome, is_repeatable: bool) -> bool:
    match outcome:
        case NotSent() | Answered(status=429):
            return True
        case Lost():
            return is_repeatable
        case Answered(status=status):
            return is_repeatable and status in PASSING_STATUSES


def retry_after_seconds(header: str, now: datetime | None = None) -> float | None:
    """The header Retry-After (RFC 9110: seconds or a date) as seconds from now; None when it is neither."""
    text = header.strip()
    if text.isdigit():
        return float(text)
    if not text:
        return None
    from datetime import UTC, datetime, timedelta  # start time: our Control Plane says seconds
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, (parsedate_to_datetime(text) - (now or datetime.now(UTC))) / timedelta(seconds=1))
    except (ValueError, TypeError):
        return None
