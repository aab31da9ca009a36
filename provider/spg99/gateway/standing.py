"""Whether the Control Plane still knows this gateway, and what follows when it does not. Here: that rule. Not here: the report
by which it is found out (leases.py), becoming known (processes/identity.py).

A gateway whose identity was revoked must not go on: nobody renews its leases, nobody tells it of passwords that have
changed. But one refusal may be an accident on the way (a balancer that points elsewhere, a Control Plane begun with another
catalogue), and every session would pay for it. So it says that it is not well at once, and after half a minute of nothing
but refusals it ends in order: no new clients, `drain_seconds` for those who are here. Their databases are not stopped under
them by anything but this: a compute that is in use runs on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from spg99.errors import Unauthorized
from spg99.processes.identity import Applicant

REFUSED_SECONDS_MAX: Final = 30.0


class NotKnownAnyMore(Exception):
    """The Control Plane has refused this gateway for so long that it is no accident. `sentence` is for its operator."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Standing:
    """Goes along with the lease reports. `monotonic` answers seconds."""

    def __init__(
        self, applicant: Applicant, report: Callable[[], Awaitable[float]], monotonic: Callable[[], float]
    ) -> None:
        self._applicant = applicant
        self._report = report
        self._monotonic = monotonic
        self._refused_since: float | None = None

    async def turn(self) -> float:
        """One report. Raises Unauthorized when it is refused, NotKnownAnyMore when it has been for `REFUSED_SECONDS_MAX`."""
        try:
            seconds = await self._report()
        except Unauthorized as error:
            now = self._monotonic()
            if self._refused_since is None:
                self._refused_since = now
            if now - self._refused_since < REFUSED_SECONDS_MAX:
                raise
            raise NotKnownAnyMore(
                f"The Control Plane no longer knows this gateway ('{self._applicant.name}', {self._applicant.file}): it has been "
                f"removed, or the Control Plane has another catalogue. {self._applicant.how_to_enrol()}"
            ) from error
        self._refused_since = None
        return seconds
