"""Long polls: read, and while it is not there yet, wait for a notification and read again. Nothing is asked meanwhile.

Here: waiting. Not here: what is read, who notifies (the transactions that change it, through `Wakeups`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.serving.call import Call
from spg99.control_plane.store import Transaction
from spg99.control_plane.store.wakeups import Topic
from spg99.errors import Conflict, Spg99Error

WAIT_SECONDS_MAX = 60
ASKING_SECONDS_MAX = 20.0
"""So long a call waits for others (a compute, on its node) to answer. The question stands: to ask again costs nothing."""
IN_THE_WAY_AGAIN = "Somebody connects again each time it has stopped; nothing was changed. Close those connections first, or use force=true."
T = TypeVar("T")


class Refusal(Protocol):
    """Waits for what was asked, until `until` of time.monotonic(); None: nothing is in the way."""

    async def __call__(self, asked: tuple[str, ...], /, *, until: float) -> Spg99Error | None: ...


async def until(
    call: Call,
    read: Callable[[], Awaitable[T]],
    is_there: Callable[[T], bool],
    *topics: Topic,
    seconds: float,
) -> T:
    """What `read` finds once `is_there` holds, or when the time is over; an error of `read` ends the wait."""
    deadline = time.monotonic() + seconds
    call.request.scope["state"]["waits"] = seconds > 0
    wakeups = call.plane.wakeups
    with wakeups.waiter(*topics) as wakeup:
        while True:
            wakeup.clear()
            found = await read()
            left = deadline - time.monotonic()
            if is_there(found) or left <= 0 or wakeups.closing:
                return found
            await wakeup.wait_for(left)


async def asking(
    call: Call,
    attempt: Callable[[Transaction, Spg99Error | None], Awaitable[Answer | tuple[str, ...]]],
    refusal: Refusal,
) -> Answer:
    """What an attempt answers once nothing is left to ask. An attempt is one transaction: it answers, or has asked something
    and says what to wait for; it is made again when the answers are there, with the refusal among them if there is one."""
    deadline = time.monotonic() + ASKING_SECONDS_MAX
    refused: Spg99Error | None = None
    while True:
        async with call.plane.store.transaction() as tx:
            outcome = await attempt(tx, refused)
        if isinstance(outcome, Answer):
            return outcome
        call.request.scope["state"]["waits"] = True
        refused = await refusal(outcome, until=deadline)
        if refused is None and time.monotonic() >= deadline:
            refused = Conflict(IN_THE_WAY_AGAIN)  # each answer was right, and out of date by the next attempt
