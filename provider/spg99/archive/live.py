"""What safekeepers have of one timeline, without promises: for reading. Here: asking them, and WAL that is surely of one history. Not
here: who may write (node/safekeepers.py), WAL in the store (stored.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from spg99.client.safekeeper import SafekeeperClient
from spg99.errors import NotFound, Spg99Error
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import configuration_of, history_of
from spg99.protocol.tasks import Kept
from spg99.wal import catch_up, fence
from spg99.wal.fence import Log, TermHistory
from spg99.wal.lsn import Segment, segment_begin, segment_name


class Live:
    """The safekeepers of a timeline. `ask` first."""

    def __init__(self, timeline_id: str, kept: Kept, clients: Mapping[str, SafekeeperClient]) -> None:
        """`clients`: those that can be reached, by safekeeper id; the caller keeps them open."""
        self.timeline_id, self._kept = timeline_id, kept
        self._clients = clients
        self.seen: dict[str, said.KeeperSeen] = {}
        """Who answered last, and what."""

    async def ask(self) -> None:
        """Asks all of them how they stand; who does not answer is left out of `seen`."""

        async def ask_one(name: str, client: SafekeeperClient) -> None:
            try:
                self.seen[name] = await client.seen(self.timeline_id)
            except Spg99Error:
                self.seen.pop(name, None)

        await asyncio.gather(*(ask_one(*one) for one in self._clients.items()))

    @property
    def are_enough(self) -> bool:
        """Whether so many answered that none of what was acknowledged can be missing in all of them."""
        sets = configuration_of(self._kept.configuration).sets
        return all(len(some.ids & self.seen.keys()) > len(some.ids) - some.quorum for some in sets)

    @property
    def kept_lsn(self) -> int | None:
        """Up to where so many of them have the WAL of `best`'s life that no later life is without it. None: too few of those who answered are of that life,
        and it may come to nothing."""
        if (best := self.best) is None:
            return None
        logs = {name: log_of(seen) for name, seen in self.seen.items()}
        return fence.kept_lsn(logs, log_of(best).last_term, configuration_of(self._kept.configuration))

    @property
    def best(self) -> said.KeeperSeen | None:
        """The most advanced of those who answered, as a start chooses (wal/fence.py)."""
        return max(self.seen.values(), key=lambda one: (log_of(one).last_term, one.flush_lsn), default=None)

    async def segment(
        self, history: TermHistory, tli: int, number: int, end_lsn: int, segment_bytes: int
    ) -> bytes | None:
        """A segment that holds the WAL of this history up to `end_lsn`; None: nobody has it (any more). `tli` is the timeline under which the
        history reads it."""
        begin = segment_begin(number, segment_bytes)
        name = segment_name(Segment(tli, number), segment_bytes)
        for keeper_id, seen in sorted(self.seen.items(), key=lambda one: -one[1].flush_lsn):
            if not catch_up.serves(log_of(seen), history, begin, end_lsn):
                continue
            client = self._clients[keeper_id]
            try:
                content = await client.segment(self.timeline_id, name)
                # It may have been cut for another life meanwhile.
                after = self.seen[keeper_id] = await client.seen(self.timeline_id)
            except NotFound:
                continue
            except Spg99Error:
                self.seen.pop(keeper_id, None)
                continue
            if len(content) == segment_bytes and catch_up.serves(log_of(after), history, begin, end_lsn):
                return content
        return None


def log_of(seen: said.KeeperSeen) -> Log:
    """What a safekeeper has, for the rules."""
    return Log(history=history_of(seen.history), first_lsn=seen.first_lsn, flush_lsn=seen.flush_lsn)
