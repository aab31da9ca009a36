"""Long polls: read, and while it is not there yet, wait for a notification and read again. Nothing is asked meanwhile.

Here: waiting. Not here: what is read, who notifies (the transactions that change it, through `Wakeups`).
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
