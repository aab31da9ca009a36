"""The safekeepers of this node's timelines, asked as a set: promises for a start, following a compute, WAL for a rebuild.

Here: asking several at once, and how many answers are enough (wal/quorum.py says). Not here: one call (client/safekeeper.py), what a start does with
it (keeping.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Final, TypeVar

from spg99 import log
from spg99.archive.moments import SEGMENTS_AT_ONCE
from spg99.atomic_write import write_file
from spg99.client.safekeeper import SafekeeperClient
from spg99.errors import CannotWake, Conflict, NotFound, Spg99Error
from spg99.node.following import Standing, standing
from spg99.processes import Jobs
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import configuration_of, history_said, vote_of
from spg99.protocol.tasks import Kept
from spg99.wal import fence, history
from spg99.wal.catch_up import serves
from spg99.wal.commits import is_torn
from spg99.wal.fence import Choice, NotEnough, TermHistory
from spg99.wal.lsn import Segment, format_lsn, segment_begin, segment_name, segment_number, segment_numbers
from spg99.wal.quorum import have_promised

ANSWER_SECONDS_MAX: Final = 20.0
"""For enough of them to answer: one that is being started again is back by then."""
CATCH_UP_SECONDS_MAX: Final = 60.0
_AGAIN_SECONDS: Final = 0.2
BEGUN_BEFORE: Final = "This start has begun before and did not come to its end. The next one has a new term."
_SEGMENTS_READ_MAX: Final = 8
"""Segments in which the end of a torn record is sought."""

T = TypeVar("T")
_log = log.get("node")


class StaleFiles(Exception):
    """The files on this node are not what the safekeepers' WAL goes on with: they are made anew."""


class DamagedWal(CannotWake):
    """Recovery has ended where WAL goes on: some of it was damaged."""


class WalIsGone(CannotWake):
    """The donor has no such WAL (any more)."""


class Safekeepers:
    """Those that the timelines of this node are kept by. Connections are kept."""

    def __init__(self) -> None:
        self.clients = SafekeeperClients()
        self.is_archived: Callable[[], Awaitable[bool]] = _not_archived
        """Whether there is a pageserver by now; True as well while nobody can tell."""
        self._jobs = Jobs()
        self._over: dict[str, int] = {}
        """The last term of a timeline that has ended."""
        self._damaged: dict[str, set[tuple[str, int]]] = {}
        """Segments of a timeline that were found damaged, each with the safekeeper that it came from."""
        self._turns: dict[str, int] = {}
        self._sources: dict[str, dict[int, str]] = {}
        """From whom each segment of a timeline's last rebuild came."""

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._jobs.finish(within_seconds=0.0)
        await self.clients.aclose()

    async def require_own(self, timeline_id: str, kept: Kept, attempts: Collection[str]) -> None:
        """Before a timeline is made: none of those who answer holds WAL of a compute that is none of these attempts. Raises Conflict."""
        found: list[said.KeeperSeen] = []

        async def ask_one(one: SafekeeperClient, _: str) -> None:
            found.append(await one.seen(timeline_id))

        await self._try_all(kept, ask_one)
        for seen in found:
            said.require_own(seen, attempts)

    async def begin(self, timeline_id: str, kept: Kept, begin: said.TimelineBegin) -> None:
        """A timeline begins: all of its safekeepers know it, before there is anything to lose. Raises CannotWake, Conflict."""
        answers = await self._ask(kept, lambda one, _: one.begin(timeline_id, begin), enough=_all_of(kept))
        _require_all(kept, answers)

    async def promise(self, timeline_id: str, kept: Kept, ask: said.PromiseAsk) -> tuple[Choice, dict[str, said.Vote]]:
        """Promises of enough of them, and what follows from these: where the new life begins. Raises Conflict when one of them has promised a
        higher term (this start is over), CannotWake when too few answer."""
        configuration = configuration_of(kept.configuration)
        votes = await self._ask(
            kept,
            lambda one, _: one.promise(timeline_id, ask),
            enough=lambda answered: have_promised(configuration, answered),
        )
        try:
            choice = fence.choose([vote_of(vote) for vote in votes.values()], configuration)
        except ValueError as error:  # the agent was killed in the middle of this very start
            raise CannotWake(BEGUN_BEFORE) from error
        if isinstance(choice, NotEnough):
            raise CannotWake(_too_few(kept, votes))
        return choice, votes

    async def follow(self, timeline_id: str, kept: Kept, follow: said.Follow) -> None:
        """Has all of them take the WAL of a compute; enough for its commits have answered when this returns, the others are asked on."""
        self._goes_on(timeline_id, follow.term)
        answers = await self._ask(kept, lambda one, _: one.follow(timeline_id, follow), enough=_quorum_of(kept))
        self.begin_follow(timeline_id, kept, follow, but=answers.keys())

    def begin_follow(
        self, timeline_id: str, kept: Kept, follow: said.Follow, *, but: Collection[str] = frozenset()
    ) -> None:
        """Asks all but these to take the WAL of a compute, beside everything else and for a while. Who does not answer meanwhile is found by `reconcile`."""
        self._goes_on(timeline_id, follow.term)
        for safekeeper_id in kept.addresses:
            if safekeeper_id not in but:
                name = f"follow {timeline_id} {safekeeper_id} {follow.term}"
                self._jobs.begin(name, self._follow_one(timeline_id, kept, safekeeper_id, follow))

    async def _follow_one(self, timeline_id: str, kept: Kept, safekeeper_id: str, follow: said.Follow) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while time.monotonic() < deadline and self._is_on(timeline_id, follow.term):
            try:
                await self.client(kept, safekeeper_id).follow(timeline_id, follow)
            except (Conflict, NotFound):
                return
            except Spg99Error:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def reconcile(self, timeline_id: str, kept: Kept, follow: said.Follow) -> str | None:
        """Has every one of them that should take the WAL of this compute and does not take it: it was away when it was asked, or we were.

        None while enough of them do, or may some time; else a sentence: the compute's commits would wait for ever.
        """
        hopeless: dict[str, str] = {}

        async def ask_one(one: SafekeeperClient, safekeeper_id: str) -> None:
            seen = await one.seen(timeline_id)
            match standing(seen, follow.term):
                case Standing.IS_TO_FOLLOW if self._is_on(timeline_id, follow.term):
                    await one.follow(timeline_id, follow)
                    _log.info("a safekeeper follows again", timeline_id=timeline_id, safekeeper_id=safekeeper_id)
                case Standing.CUT_OFF:
                    hopeless[safekeeper_id] = seen.problem or "It has no WAL for a safekeeper."

        await self._try_all(kept, ask_one)
        rest = dict.fromkeys(kept.addresses.keys() - hopeless.keys())
        return None if _quorum_of(kept)(rest) else next(iter(hopeless.values()))

    async def wait_caught_up(self, timeline_id: str, kept: Kept) -> None:
        """Waits until enough of them have all that the compute had flushed when they reached it. Raises StaleFiles when it has no WAL for so many of
        them that they are never enough (it has lost some), CannotWake."""

        hopeless: set[str] = set()

        async def caught_up(one: SafekeeperClient, safekeeper_id: str) -> said.KeeperSeen:
            seen = await one.seen(timeline_id, wait_seconds=ANSWER_SECONDS_MAX)
            if seen.is_cut_off:
                hopeless.add(safekeeper_id)
                if not _quorum_of(kept)(dict.fromkeys(kept.addresses.keys() - hopeless)):
                    raise StaleFiles(seen.problem)
            if not seen.caught_up:
                raise CannotWake(seen.problem or "It has not caught up yet.")
            return seen

        await self._ask(kept, caught_up, enough=_quorum_of(kept), seconds_max=CATCH_UP_SECONDS_MAX)

    async def rest(self, timeline_id: str, kept: Kept, term: int) -> None:
        """Says that the compute of a term has ended. Whoever does not hear it finds nobody where it was."""
        self._over[timeline_id] = max(term, self._over.get(timeline_id, 0))
        await self._try_all(kept, lambda one, _: one.rest(timeline_id, term))

    async def have(self, timeline_id: str, kept: Kept, terms: TermHistory, lsn: int) -> bool:
        """Whether enough of them hold the WAL of this life up to a place."""
        term, held = terms[-1].term, set[str]()

        async def ask_one(one: SafekeeperClient, safekeeper_id: str) -> None:
            seen = await one.seen(timeline_id)
            if seen.flush_lsn >= lsn and seen.history and seen.history[-1].term == term:
                held.add(safekeeper_id)

        await self._try_all(kept, ask_one)
        return _quorum_of(kept)(dict.fromkeys(held))

    async def trim(self, timeline_id: str, kept: Kept, terms: TermHistory, below_lsn: int) -> None:
        """Lets them remove what an image holds, unless a pageserver archives it: one may have joined since the compute's order said that there is none."""
        if await self.is_archived():
            return
        trim = said.Trim(below_lsn=below_lsn, history=history_said(terms))
        await self._try_all(kept, lambda one, _: one.trim(timeline_id, trim))

    async def remove(self, timeline_id: str, kept: Kept) -> None:
        """Removes a timeline from all that answer. One that does not is told by the Control Plane once it is heard of again: nothing waits for it."""
        self._over.pop(timeline_id, None)
        self._damaged.pop(timeline_id, None)
        self._turns.pop(timeline_id, None)
        self._sources.pop(timeline_id, None)
        await self._try_all(kept, lambda one, _: one.remove(timeline_id))

    async def require_torn(self, timeline_id: str, kept: Kept, choice: Choice, lsn: int, segment_bytes: int) -> None:
        """Recovery has ended at `lsn`, before the end of what the choice's donor has: right where a record is not all there. Raises CannotWake where one is, and
        not believed: that WAL was damaged on a disk, and commits behind it may have been acknowledged. Then the next start takes it from others.
        """
        laid_out = self._sources.get(timeline_id, {})
        last = min(
            segment_number(choice.flush_lsn - 1, segment_bytes), segment_number(lsn, segment_bytes) + _SEGMENTS_READ_MAX
        )
        segments: dict[int, bytes] = {}
        for number in range(segment_number(lsn, segment_bytes) - 1, last + 1):
            if (source := laid_out.get(number)) is not None:  # also the one before: the record there says where it ends
                name = _segment_of(choice, number, segment_bytes)
                segments[number] = await self.client(kept, source).segment(timeline_id, name)
        if is_torn(segments.get, lsn, choice.flush_lsn, segment_bytes):
            return
        number = segment_number(lsn, segment_bytes)
        source = laid_out.get(number, choice.donor_id)
        self._damaged.setdefault(timeline_id, set()).add((source, number))
        raise DamagedWal(
            f"The database's WAL at {format_lsn(lsn)} is damaged on safekeeper {source}. The next start takes it from another one; if none has it, "
            "nothing was changed, and that safekeeper's disk should be looked at."
        )

    def turn(self, timeline_id: str) -> None:
        """A server did not start on a rebuild: the next takes the WAL from another of those that have it, should it be that."""
        self._turns[timeline_id] = self._turns.get(timeline_id, 0) + 1

    async def fetch_wal(
        self,
        timeline_id: str,
        kept: Kept,
        choice: Choice,
        votes: Mapping[str, said.Vote],
        *,
        from_lsn: int,
        segment_bytes: int,
        into: Path,
    ) -> None:
        """Lays the WAL of a choice into a folder (`pg_wal`), with the history files of its timelines: from the segment of `from_lsn` to its end. Each from the
        donor, or from another that has it too when the donor's was found damaged.

        A segment in which a timeline begins is that timeline's, as PostgreSQL reads it. Raises WalIsGone, CannotWake.
        """
        damaged = self._damaged.get(timeline_id, set())
        sources: dict[int, str] = {}
        for number in segment_numbers(from_lsn, choice.flush_lsn, segment_bytes):
            begin = segment_begin(number, segment_bytes)
            end = min(segment_begin(number + 1, segment_bytes), choice.flush_lsn)
            having = having_of(choice, votes, begin, end, turns=self._turns.get(timeline_id, 0))
            sources[number] = next((one for one in having if (one, number) not in damaged), choice.donor_id)
        for tli, text in history.files_of(choice.history).items():
            write_file(into / history.history_name(tli), text, durable=False)
        places = asyncio.Semaphore(SEGMENTS_AT_ONCE)

        async def fetch(number: int, source: str) -> None:
            name = _segment_of(choice, number, segment_bytes)
            async with places:
                content = await self.client(kept, source).segment(timeline_id, name)
            await asyncio.to_thread((into / name).write_bytes, content)

        try:
            async with asyncio.TaskGroup() as group:
                for number, source in sources.items():
                    group.create_task(fetch(number, source))
        except ExceptionGroup as errors:
            gone = next((error for error in errors.exceptions if isinstance(error, NotFound)), None)
            kind = CannotWake if gone is None else WalIsGone
            raise kind(f"The WAL of the database cannot be fetched: {gone or errors.exceptions[0]}") from errors
        self._sources[timeline_id] = sources

    def client(self, kept: Kept, safekeeper_id: str) -> SafekeeperClient:
        """One of them."""
        return self.clients.of(safekeeper_id, kept.addresses[safekeeper_id], kept.network_addresses.get(safekeeper_id))

    # What follows is how.

    def _goes_on(self, timeline_id: str, term: int) -> None:
        """A start whose files were stale was over, and goes on under the same term on others."""
        if self._over.get(timeline_id) == term:
            del self._over[timeline_id]

    def _is_on(self, timeline_id: str, term: int) -> bool:
        return self._over.get(timeline_id, 0) < term

    async def _ask(
        self,
        kept: Kept,
        call: Callable[[SafekeeperClient, str], Awaitable[T]],
        *,
        enough: Callable[[Mapping[str, T]], bool],
        seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> dict[str, T]:
        """What those answered who did, once they are enough; who has not answered by then is asked no more. A Conflict of any ends it."""
        deadline = time.monotonic() + seconds_max
        answers: dict[str, T] = {}
        reasons: dict[str, str] = {}

        async def ask(safekeeper_id: str) -> None:
            while True:
                try:
                    answers[safekeeper_id] = await call(self.client(kept, safekeeper_id), safekeeper_id)
                    return
                except (Conflict, NotFound):
                    raise
                except Spg99Error as error:
                    reasons[safekeeper_id] = error.message
                await asyncio.sleep(_AGAIN_SECONDS)

        pending = {asyncio.create_task(ask(one)) for one in kept.addresses}
        refusal: Spg99Error | None = None
        try:
            while pending and not enough(answers):
                done, pending = await asyncio.wait(
                    pending, timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    error = task.exception()
                    if isinstance(error, NotFound):
                        refusal = error  # it has lost its disk: no vote, but the others may do
                    elif error is not None:
                        raise error
                if not done:
                    break
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        if not enough(answers):
            why = "; ".join([*reasons.values(), *([refusal.message] if refusal is not None else [])])
            raise CannotWake(f"{_too_few(kept, answers)} {why}".strip())
        return answers

    async def _try_all(self, kept: Kept, call: Callable[[SafekeeperClient, str], Awaitable[T]]) -> None:
        async def attempt(safekeeper_id: str) -> None:
            try:
                await call(self.client(kept, safekeeper_id), safekeeper_id)
            except Spg99Error as error:
                _log.info("a safekeeper was not told", safekeeper_id=safekeeper_id, reason=error.message)

        await asyncio.gather(*(attempt(one) for one in kept.addresses))


async def _not_archived() -> bool:
    return False


def _segment_of(choice: Choice, number: int, segment_bytes: int) -> str:
    end = min(segment_begin(number + 1, segment_bytes), choice.flush_lsn)
    return segment_name(
        Segment([entry.tli for entry in choice.history if entry.begin_lsn < end][-1], number), segment_bytes
    )


def having_of(choice: Choice, votes: Mapping[str, said.Vote], begin: int, end: int, *, turns: int = 0) -> list[str]:
    """Who of those who voted has this WAL of the choice's life, the donor first; after each turn the next one is."""
    others = [
        name
        for name, vote in sorted(votes.items())
        if name != choice.donor_id and serves(vote_of(vote), choice.history, max(begin, choice.first_lsn), end)
    ]
    having = [choice.donor_id, *others]
    at = turns % len(having)
    return having[at:] + having[:at]


def _quorum_of(kept: Kept) -> Callable[[Mapping[str, object]], bool]:
    configuration = configuration_of(kept.configuration)
    return lambda answered: all(len(members.ids & answered.keys()) >= members.quorum for members in configuration.sets)


def _all_of(kept: Kept) -> Callable[[Mapping[str, object]], bool]:
    return lambda answered: kept.addresses.keys() <= answered.keys()


def _require_all(kept: Kept, answers: Mapping[str, object]) -> None:
    if missing := kept.addresses.keys() - answers.keys():
        raise CannotWake(f"Safekeepers do not answer: {', '.join(sorted(missing))}.")


def _too_few(kept: Kept, answers: Mapping[str, object]) -> str:
    return f"Too few safekeepers answer: {len(answers)} of {len(kept.addresses)}, and the database's WAL is theirs."
