"""Waits until an object is settled or gone, and says why a wait ended before. Not here: what was asked before (operations.py), when to look (waiting.py)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from spg99.bridges.shared.endings import Unfinished
from spg99.bridges.shared.objects import Values, is_same, is_settled, keep_secrets, reason_of, words_of
from spg99.bridges.shared.waiting import StillWaiting, Waiter
from spg99.bridges.shared.words import Words
from spg99.errors import NotFound, Spg99Error
from spg99.shapes import Noun

FAILED_SECONDS_MAX = 15.0
"""The system tries again by itself when something failed; so long do we wait for that before we say so."""

Progress = Callable[[str], None]
Read = Callable[[Noun, str], Awaitable[Values | None]]


def no_progress(_sentence: str) -> None:
    """Reports nothing."""


class Settling:
    """The waits of one process. `read` reads an object by its human id; None: it is not there."""

    def __init__(self, read: Read, waiter: Waiter, words: Words) -> None:
        self._read, self._waiter, self._words = read, waiter, words

    async def settled(self, noun: Noun, values: Values, done: str, deadline: float, progress: Progress) -> Values:
        """The values once the object is settled. Raises Unfinished."""
        human_id = noun.id_of(values)
        if is_settled(noun, values):
            return values
        failed_since: float | None = None

        def is_over(now: Values | None) -> bool:
            nonlocal failed_since
            if now is None or not is_same(noun, values, now) or now["state"] in noun.settled_states:
                return True
            if now["state"] not in noun.failed_states:
                failed_since = None
                return False
            failed_since = failed_since or time.monotonic()
            return time.monotonic() - failed_since >= FAILED_SECONDS_MAX

        try:
            now = await self._waiter.until(
                lambda: self._read(noun, human_id),
                is_over,
                uid=str(values[noun.uid_field]),
                seconds_max=deadline - time.monotonic(),
                progress=lambda seen, waited: progress(
                    f"{words_of(noun)} {human_id} is {(seen or values)['state']}, waiting until it is settled, {waited} s"
                ),
            )
        except StillWaiting as wait:
            seen: Values = keep_secrets(noun, wait.seen or values, values)
            why = self._why(wait)
            raise Unfinished(
                f"The {words_of(noun)} '{human_id}' was {done}, but is still {seen['state']}{reason_of(seen)} and the wait {why}. "
                f"Nothing is lost: {self._words.apply} goes on from here.",
                human_id=human_id,
                values=seen,
            ) from None
        if now is None or not is_same(noun, values, now):
            raise NotFound(f"The {words_of(noun)} '{human_id}' was {done} and then deleted by somebody else.")
        result = keep_secrets(noun, now, values)
        if now["state"] in noun.failed_states:
            raise Unfinished(
                f"The {words_of(noun)} '{human_id}' was {done}, but is in state {now['state']}{reason_of(now)}. The Control Plane "
                f"keeps trying; {self._words.apply} looks again.",
                human_id=human_id,
                values=result,
            )
        return result

    async def gone(self, noun: Noun, human_id: str, old: Values, deadline: float, progress: Progress) -> None:
        """Returns when the object is gone. Raises Spg99Error when the wait ends before."""
        if not noun.gone_states or old.get(noun.uid_field) is None:
            return  # what has no uid any more (credentials that nobody manages) is gone already
        try:
            await self._waiter.until(
                lambda: self._read(noun, human_id),
                lambda now: now is None or not is_same(noun, old, now),
                uid=str(old[noun.uid_field]),
                seconds_max=deadline - time.monotonic(),
                progress=lambda _seen, waited: progress(
                    f"{words_of(noun)} {human_id} is being deleted, waiting until it is gone, {waited} s"
                ),
            )
        except StillWaiting as wait:
            why = self._why(wait)
            raise Spg99Error(
                f"The {words_of(noun)} '{human_id}' is being deleted; the wait for its end {why}. Run the command again to see "
                "it through."
            ) from None

    def _why(self, wait: StillWaiting[Any]) -> str:
        return "was interrupted" if wait.interrupted else f"took longer than {self._words.time_limit}"
