"""Which databases are in use through this gateway, reported to the Control Plane before the leases end.

Here: counting, what a report says, when it is sent. Not here: what a checkout may be used for (checkouts.py).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from spg99 import faults
from spg99.errors import Unreachable
from spg99.gateway.checkouts import Checkouts
from spg99.ids import new_id
from spg99.processes import Wakeup
from spg99.protocol.gateway import Egress, LeaseAnswer, LeaseReport, LeaseUse

LINGER_SECONDS: Final = 1.0
"""A lease is kept this long after the last client left, so that one who comes right back costs no question."""
RENEW_SECONDS: Final = 5.0
"""Until the Control Plane names another time."""
REPORT_SECONDS_MAX: Final = 5.0
SIGN_OF_LIFE_SECONDS: Final = 30.0
"""A gateway that nobody uses reports all the same, though not more often than this."""
_GATHER_SECONDS: Final = 0.02
"""A burst of first and last clients becomes one report."""


class LeasesApi(Protocol):
    """The part of InternalClient that is used here."""

    async def report_leases(self, report: LeaseReport) -> LeaseAnswer:
        """Renews and releases."""
        ...


@dataclass(slots=True)
class Use:
    """Use of one database."""

    sessions: int = 0
    idle_since: float = 0.0
    """When the last session left."""


@dataclass(slots=True)
class Leases:
    """Counts sessions and reports them. `collect` is called before each report so that bytes can be added.

    All moments are monotonic seconds: a report says how long ago something was, never when, so that no step of a wall
    clock, ours or the Control Plane's, makes use look old.
    """

    api: LeasesApi
    checkouts: Checkouts
    monotonic: Callable[[], float]
    collect: Callable[[], Awaitable[None]]
    uses: dict[str, Use] = field(default_factory=dict)
    run_id: str = field(default_factory=lambda: new_id("run"))
    renew_seconds: float = RENEW_SECONDS
    due: Wakeup = field(default_factory=Wakeup)
    """Woken when a report should not wait: a database got its first client, or has lost its last."""
    _acknowledged_at: float = -math.inf
    """When the Control Plane last answered a report."""
    _sent_bytes: Counter[str] = field(default_factory=Counter)
    """By database, in no batch yet."""
    _unacknowledged_egress: Egress | None = None
    """A batch that was reported and not answered. It may have been counted, so it is reported again as it is."""
    _batches: int = 0

    def opened(self, db_id: str) -> None:
        """A session on this database begins."""
        if (use := self.uses.get(db_id)) is None:
            use = self.uses[db_id] = Use()
            # Only the first is worth a report of its own: who comes back while the lease lingers changes nothing.
            self.due.wake()
        use.sessions += 1

    def closed(self, db_id: str) -> None:
        """A session on this database has ended."""
        use = self.uses[db_id]
        use.sessions -= 1
        if use.sessions == 0:
            use.idle_since = self.monotonic()
            asyncio.get_running_loop().call_later(LINGER_SECONDS + _GATHER_SECONDS, self._lingered, db_id)

    def _lingered(self, db_id: str) -> None:
        use = self.uses.get(db_id)
        if use is not None and self._is_over(use):
            self.due.wake()

    def _is_over(self, use: Use) -> bool:
        return use.sessions == 0 and self.monotonic() - use.idle_since >= LINGER_SECONDS

    def sent_to_clients(self, db_id: str, sent_bytes: int) -> None:
        """Bytes went out to clients of this database."""
        if sent_bytes:
            self._sent_bytes[db_id] += sent_bytes

    async def turn(self) -> float:
        """One report; answers when the next is due. Raises why it was not answered."""
        await asyncio.sleep(_GATHER_SECONDS)
        self.due.clear()
        await self.report()
        return self.renew_seconds

    async def report(self, *, release_all: bool = False) -> None:
        """Sends one report and takes in its answer. Raises Unreachable when none comes, and what the Control Plane says."""
        await self.collect()
        asked_at = self.monotonic()
        released = {
            db_id for db_id, use in self.uses.items() if self._is_over(use) or (release_all and use.sessions == 0)
        }
        # A lease that lingers is left as it is: reporting it with no client would release it.
        reported = {
            db_id: self._lease_use(db_id, use) for db_id, use in self.uses.items() if use.sessions or db_id in released
        }
        egress = self._egress()
        if not reported and egress is None and (release_all or asked_at < self._acknowledged_at + SIGN_OF_LIFE_SECONDS):
            return
        for db_id in released:
            self.checkouts.begin_release(db_id)
        answered = False
        try:
            async with asyncio.timeout(REPORT_SECONDS_MAX):
                answer = await self.api.report_leases(LeaseReport(leases=list(reported.values()), egress=egress))
            answered = True
        except TimeoutError:
            raise Unreachable(
                f"The Control Plane has not answered a lease report within {REPORT_SECONDS_MAX:.0f} s."
            ) from None
        finally:
            for db_id in released:
                self.checkouts.end_release(db_id, answered=answered)
        faults.point("gateway.after_report")
        self._acknowledged_at = asked_at
        self._unacknowledged_egress = None
        self._apply(answer, reported, released, asked_at=asked_at)

    def _egress(self) -> Egress | None:
        """The bytes to report: the batch whose answer was lost, else a new one of what went out since."""
        if self._unacknowledged_egress is None and self._sent_bytes:
            self._batches += 1
            self._unacknowledged_egress = Egress(
                run_id=self.run_id, batch=self._batches, sent_bytes=dict(self._sent_bytes)
            )
            self._sent_bytes.clear()
        return self._unacknowledged_egress

    def _lease_use(self, db_id: str, use: Use) -> LeaseUse:
        idle_seconds = 0.0 if use.sessions else max(0.0, self.monotonic() - use.idle_since)
        return LeaseUse(db_id=db_id, active_connections=use.sessions, idle_seconds=idle_seconds)

    def _apply(
        self, answer: LeaseAnswer, reported: dict[str, LeaseUse], released: set[str], *, asked_at: float
    ) -> None:
        self.renew_seconds = max(0.1, answer.renew_seconds)
        for db_id in reported:
            if db_id in released and self.uses[db_id].sessions == 0:
                del self.uses[db_id]
        self.checkouts.renewed(set(answer.renewed) - released, asked_at=asked_at)
        for db_id in answer.lost:
            if db_id not in released:
                self.checkouts.lost(db_id)
