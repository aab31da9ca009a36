"""Long polls: look, and while it is not there yet, wait for a notification and look again. Nothing is asked meanwhile.

Here: waiting. Not here: what is looked at, who rings (the transactions that change it, through `Wakeups`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from spg99.control_plane.serving.call import Call
from spg99.control_plane.store.wakeups import Topic

WAIT_SECONDS_MAX = 60
T = TypeVar("T")


async def until(
    call: Call,
    look: Callable[[], Awaitable[T]],
    is_there: Callable[[T], bool],
    *topics: Topic,
    seconds: float,
) -> T:
    """What `look` finds once `is_there` holds, or when the time is over; an error of `look` ends the wait."""
    deadline = time.monotonic() + seconds
    call.request.scope["state"]["waits"] = seconds > 0
    wakeups = call.plane.wakeups
    with wakeups.waiter(*topics) as bell:
        while True:
            bell.clear()
            found = await look()
            left = deadline - time.monotonic()
            if is_there(found) or left <= 0 or wakeups.closing:
                return found
            await bell.wait_for(left)
