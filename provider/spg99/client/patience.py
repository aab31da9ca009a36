"""How long a caller has time for a request that gets no answer, and whom to tell meanwhile. Not here: what may be sent again (retry.py).

Without patience a request is given up after a few attempts. A bridge has a time limit for each resource and would rather wait
for a Control Plane that is being restarted than fail a hundred of them: inside `patient(...)` what was not sent, or may be
repeated, is tried until then. It holds for all requests of the same asyncio task. Until the Control Plane has answered this
process something, patience is short: a first contact that fails is as likely a wrong URL as a restart (which takes some 2 s),
and a tool may be several processes (Terraform's apply has not heard what its plan heard).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from spg99.client import loopless

FIRST_CONTACT_SECONDS = 10.0
"""For all first requests of a process together: longer than a restart on a busy machine, short enough to find a wrong URL by."""
REPORT_SECONDS = 5.0
"""Between two lines of progress of one caller."""
SLICE_SECONDS = 0.25
"""So soon is an interruption heard."""


class Patience:
    """The time that one caller has left."""

    def __init__(self, until: float, report: Callable[[str], None], interrupted: Callable[[], bool]) -> None:
        """`until` on `time.monotonic()`'s clock."""
        self._until, self._report, self._interrupted = until, report, interrupted
        self._began: float | None = None
        self._report_at = 0.0

    def seconds_left(self) -> float:
        """Until it must be given up; 0 when the user wants to stop."""
        return 0.0 if self._interrupted() else max(0.0, self._until - time.monotonic())

    async def sleep(self, seconds: float, why: str) -> bool:
        """Waits before the next attempt; False when the user wants to stop."""
        now = time.monotonic()
        self._began = self._began or now
        if now >= self._report_at:
            self._report_at = now + REPORT_SECONDS
            waited, all_ = now - self._began, self._until - self._began
            self._report(f"{why}; trying again, {waited:.0f} s of {all_:.0f} s")
        ends = now + seconds
        while (left := ends - time.monotonic()) > 0:
            if self._interrupted():
                return False
            await loopless.sleep(min(left, SLICE_SECONDS))
        return not self._interrupted()

    def answered(self) -> None:
        """The next silence is another one."""
        self._began, self._report_at = None, 0.0


_current: ContextVar[Patience | None] = ContextVar("spg99_patience", default=None)


def current() -> Patience | None:
    """The patience of this task; None: a few attempts."""
    return _current.get()


@contextmanager
def patient(
    until: float, report: Callable[[str], None] = lambda _: None, interrupted: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Requests of this task inside are tried until `until` (`time.monotonic()`), with a line to `report` now and then."""
    token = _current.set(Patience(until, report, interrupted))
    try:
        yield
    finally:
        _current.reset(token)
