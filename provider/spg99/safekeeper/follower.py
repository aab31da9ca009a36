"""Takes the WAL of computes for as long as they run: connects, connects again, ends with their turn. Here: when.
Not here: one connection (receiver.py), what is kept (kept_timeline.py)."""

from __future__ import annotations

import asyncio
from typing import Final

from prometheus_client import Counter

from spg99 import log
from spg99.errors import Conflict, Internal, ProtocolViolation, Unavailable
from spg99.processes import Jobs, retried
from spg99.processes.own_certificate import OwnCertificate
from spg99.protocol.safekeeper import Follow, Trouble, standby_name
from spg99.safekeeper.filling import FILLING, Outcome, Peers
from spg99.safekeeper.kept_timeline import KeptTimeline
from spg99.safekeeper.receiver import Closed, CutOff, Receiver, Source

PAUSE_SECONDS_MIN: Final = 0.004
"""A compute that is starting answers any moment, and its first commit waits for us."""
PAUSE_SECONDS_MAX: Final = 1.0

_log = log.get("safekeeper")


class Followers:
    """All connections of one safekeeper to computes."""

    def __init__(self, *, failures: Counter | None = None) -> None:
        self._failures = failures
        self._jobs = Jobs(failures=failures)
        self.certificate: OwnCertificate | None = None
        """By what computes and safekeepers of other machines are reached; None: only those of this one are."""
        self._at_once: dict[str, asyncio.Event] = {}
        self._peers = Peers()

    def __len__(self) -> int:
        return len(self._jobs)

    def begin(self, timeline: KeptTimeline) -> None:
        """Follows the compute that the timeline says, if nobody does yet."""
        follow = timeline.following
        if follow is None:
            return
        self._at_once.setdefault(timeline.timeline_id, asyncio.Event()).set()
        self._jobs.begin(
            f"follow {timeline.timeline_id} {follow.term}",
            retried("follow", lambda: self._follow(timeline, follow), failures=self._failures),
        )

    async def end(self) -> None:
        """Ends all connections."""
        await self._jobs.finish(within_seconds=0.0)
        await self._peers.aclose()

    async def _follow(self, timeline: KeptTimeline, follow: Follow) -> None:
        source = Source(
            follow,
            application_name=standby_name(timeline.keeper.id),
            slot=standby_name(timeline.keeper.id),
            certificate=self.certificate,
        )
        pause = PAUSE_SECONDS_MIN
        at_once = self._at_once[timeline.timeline_id]
        while _is_turn(timeline, follow):
            self._peers.clients.certificate = self.certificate
            sink = _Sink(timeline, follow.term, self._jobs)
            timeline.reopen()
            try:
                await Receiver(source, sink).run()
            except Conflict:
                return  # a higher term was promised
            except (Closed, OSError, ProtocolViolation, Internal) as error:
                if not _is_turn(timeline, follow):
                    return
                trouble = _trouble(error, is_connected=sink.is_connected)
                if isinstance(error, CutOff) and error.may_be_filled:
                    timeline.lacks(Trouble.FILLING, FILLING)
                    try:
                        outcome = await self._fill(timeline, follow)
                    except Conflict:
                        return
                    if outcome is Outcome.FILLED:
                        pause = PAUSE_SECONDS_MIN
                        continue
                    trouble = Trouble.CUT_OFF if outcome is Outcome.HOPELESS else Trouble.FILLING
                reason = str(error)
                if sink.has_taken:
                    pause = PAUSE_SECONDS_MIN
                    _log.info("a compute has gone", timeline_id=timeline.timeline_id, reason=reason)
                if trouble is Trouble.DISK and timeline.trouble is not trouble:
                    _log.error("the disk refuses WAL", timeline_id=timeline.timeline_id, reason=reason)
                timeline.lacks(trouble, reason)
            at_once.clear()
            try:
                await asyncio.wait_for(at_once.wait(), pause)
                pause = PAUSE_SECONDS_MIN
            except TimeoutError:
                pause = min(pause * 1.5, PAUSE_SECONDS_MAX)

    async def _fill(self, timeline: KeptTimeline, follow: Follow) -> Outcome:
        timeline.reopen()
        try:
            return await self._peers.fill(timeline, follow.term)
        except (OSError, Internal, Unavailable) as error:  # our own disk
            _log.warning("cannot be filled up", timeline_id=timeline.timeline_id, reason=str(error))
            return Outcome.WAITS


def _trouble(error: Exception, *, is_connected: bool) -> Trouble:
    if isinstance(error, CutOff):
        return Trouble.CUT_OFF
    is_of_disk = isinstance(error, OSError) and not isinstance(error, ConnectionError)
    return Trouble.DISK if is_of_disk and is_connected else Trouble.AWAY


def _is_turn(timeline: KeptTimeline, follow: Follow) -> bool:
    return (
        timeline.following is not None
        and timeline.following.term == follow.term == timeline.keeper.promised_term
        and timeline.following.backend_addr == follow.backend_addr
    )


class _Sink:
    """A timeline as the receiver of one term sees it."""

    def __init__(self, timeline: KeptTimeline, term: int, jobs: Jobs) -> None:
        self._timeline = timeline
        self._jobs = jobs
        self._term = term
        self.system_identifier = timeline.system_identifier
        self.has_taken = False
        self.is_connected = False
        self._written_bytes = 0

    @property
    def flushed_lsn(self) -> int:
        self._timeline.require_turn(self._term)
        return self._timeline.keeper.flush_lsn

    def tli_at(self, lsn: int) -> int:
        self._timeline.require_turn(self._term)
        return self._timeline.tli_at(lsn)

    def write(self, lsn: int, data: memoryview) -> None:
        self._timeline.write(self._term, lsn, data)
        self.has_taken = True
        self._written_bytes += len(data)
        if self._written_bytes > self._timeline.segment_bytes // 2:
            self._written_bytes = 0
            timeline = self._timeline
            self._jobs.begin(f"prepare {timeline.timeline_id}", asyncio.to_thread(timeline.prepare))

    def flush(self) -> int:
        end = self._timeline.flush(self._term)
        self._timeline.is_well()
        return end

    def connected(self, server_lsn: int) -> None:
        self.is_connected = True
        self._timeline.require_turn(self._term)
        if server_lsn >= self._timeline.keeper.flush_lsn:  # else it has less than was kept
            self._timeline.caught_up_lsn = server_lsn
