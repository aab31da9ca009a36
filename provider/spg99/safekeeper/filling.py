"""Fills a timeline up from its other safekeepers: it was away for so long that the compute has no WAL for it any more. Here: asking peers, in order.
Not here: which of them has what of this life (wal/catch_up.py), what is kept (kept_timeline.py), when (follower.py)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from spg99 import log
from spg99.client.safekeeper import SafekeeperClient
from spg99.errors import Conflict, NotFound, Unavailable
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import Follow, history_of, history_said
from spg99.safekeeper.kept_timeline import KeptTimeline, parts
from spg99.wal import catch_up
from spg99.wal.catch_up import Missing
from spg99.wal.fence import Log
from spg99.wal.lsn import format_lsn

FILLING: Final = "It was away for too long for the compute, and is filled up by the other safekeepers."

_log = log.get("safekeeper")


class Outcome(StrEnum):
    """What became of it."""

    FILLED = "filled"
    """It has all that its peers have."""
    WAITS = "waits"
    """Nobody who answers has what comes next; one does not answer."""
    HOPELESS = "hopeless"
    """All have answered, and nobody has it."""


class Peers:
    """The other safekeepers, as one that asks. Connections are kept."""

    def __init__(self, clients: SafekeeperClients | None = None) -> None:
        self.clients = clients or SafekeeperClients()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self.clients.aclose()

    async def fill(self, timeline: KeptTimeline, term: int) -> Outcome:
        """Takes from them what this timeline lacks of the life that it takes. What has come stays, also when this ends in the middle.
        Raises Conflict when the turn of this term's compute is over."""
        timeline.require_turn(term)
        follow = timeline.following
        assert follow is not None, "it has its turn"
        sources, silent = await self._logs(timeline, follow)
        timeline.require_turn(term)
        history = timeline.keeper.history
        begin_lsn = timeline.keeper.flush_lsn
        end_lsn = catch_up.reach(history, sources)
        found = catch_up.ranges(history, begin_lsn, end_lsn, sources)
        if isinstance(found, Missing):
            skipped = [name for name in sorted(sources) if timeline.skip(term, sources[name])]
            if not skipped:
                return Outcome.WAITS if silent else Outcome.HOPELESS
            _log.info("begins where a peer does", timeline_id=timeline.timeline_id, peer=skipped[-1])
            begin_lsn = timeline.keeper.flush_lsn
            found = catch_up.ranges(history, begin_lsn, end_lsn, sources)
            if isinstance(found, Missing):
                return Outcome.WAITS
        if end_lsn <= begin_lsn:
            return Outcome.WAITS if silent else Outcome.HOPELESS
        for one in found:
            try:
                await self._take(timeline, term, self._client(follow, one.source), one)
            except (Unavailable, NotFound, _Changed) as error:
                _log.info("a peer does not serve", timeline_id=timeline.timeline_id, peer=one.source, reason=str(error))
                return Outcome.WAITS
        _log.info(
            "was filled up by peers",
            timeline_id=timeline.timeline_id,
            begin=format_lsn(begin_lsn),
            end=format_lsn(timeline.keeper.flush_lsn),
        )
        return Outcome.FILLED

    async def _logs(self, timeline: KeptTimeline, follow: Follow) -> tuple[dict[str, Log], bool]:
        """What the peers have, and whether one did not say."""
        sources: dict[str, Log] = {}
        is_one_silent = False
        for name in follow.peers:
            if name == timeline.keeper.id:
                continue
            try:
                seen = await self._client(follow, name).seen(timeline.timeline_id)
            except NotFound:
                continue  # it has lost its disk
            except Unavailable:
                is_one_silent = True
                continue
            sources[name] = Log(history=history_of(seen.history), first_lsn=seen.first_lsn, flush_lsn=seen.flush_lsn)
        return sources, is_one_silent

    async def _take(self, timeline: KeptTimeline, term: int, peer: SafekeeperClient, found: catch_up.Range) -> None:
        begin_lsn = found.begin_lsn
        while begin_lsn < found.end_lsn:
            history = timeline.keeper.history
            end_lsn = min(begin_lsn + said.WAL_BYTES_MAX, found.end_lsn)
            ask = said.WalAsk(history=history_said(history), begin_lsn=begin_lsn, end_lsn=end_lsn)
            try:
                content = memoryview(await peer.wal(timeline.timeline_id, ask))
            except Conflict as error:
                raise _Changed(error.message) from error
            timeline.require_turn(term)  # the answer may be late: another life may have begun meanwhile
            for at, end, _ in parts(history, begin_lsn, end_lsn):
                timeline.write(term, at, content[at - begin_lsn : end - begin_lsn])
            timeline.flush(term)
            begin_lsn = end_lsn

    def _client(self, follow: Follow, name: str) -> SafekeeperClient:
        return self.clients.of(name, follow.peers[name], follow.peer_network_addresses.get(name))


class _Changed(Exception):
    """A peer has not what it had a moment ago."""
