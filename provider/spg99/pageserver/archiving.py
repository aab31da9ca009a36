"""Archives the WAL of one timeline: finished segments that a quorum holds go into the store, then safekeepers may let go of them. Here: one timeline's turn
and what is remembered between turns. Not here: when (rounds.py), objects (archive/), rules (wal/)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spg99 import faults
from spg99.archive import Archive, Life, Live
from spg99.archive.live import log_of
from spg99.client.safekeeper import SafekeeperClient
from spg99.errors import Spg99Error, Unavailable
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import history_said
from spg99.wal import archived
from spg99.wal.archived import Piece
from spg99.wal.fence import Log, TermHistory
from spg99.wal.lsn import segment_begin, segment_number

PUTS_AT_ONCE: Final = 8
IDLE_SECONDS: Final = 60.0
"""So long nothing was written: then the unfinished segment is archived, too."""


@dataclass
class Archived:
    """How far one timeline's WAL is in the store, as this process knows it. Of the store's own word only: a new process lists it."""

    history: TermHistory = ()
    stored_lsn: int = 0
    flush_lsn: int = 0
    """Of the most advanced safekeeper when it was asked last."""
    flush_changed_at: float = 0.0
    bytes_stored: int = 0
    first_lsn: dict[str, int] = field(default_factory=dict)
    """Where the WAL of each safekeeper begins."""

    @property
    def waiting_bytes(self) -> int:
        """Of WAL that only safekeepers have."""
        return max(0, self.flush_lsn - self.stored_lsn)


async def archive_turn(
    state: Archived, live: Live, archive: Archive, now: float, *, idle_seconds: float = IDLE_SECONDS
) -> None:
    """Stores what is finished, held by a quorum and not there yet, in order: whoever reads the store may take it for what was acknowledged. While it is
    not known which life counts, what is known of the one before stays. `live` has been asked. `now`: seconds of a clock that only rises.
    Raises what objects/ raises; what was stored until then counts."""
    best = live.best
    if best is None or not best.segment_bytes:
        return
    held, size = log_of(best).held, best.segment_bytes
    state.first_lsn = {name: seen.first_lsn for name, seen in live.seen.items()}
    if best.flush_lsn != state.flush_lsn:
        state.flush_lsn, state.flush_changed_at = best.flush_lsn, now
    if (kept_until := live.kept_lsn) is None:
        return
    first_lsn = min(state.first_lsn.values())
    log = Log(history=held, first_lsn=first_lsn, flush_lsn=kept_until)
    if held != state.history:
        pieces = await archive.pieces(segment_number(first_lsn, size))
        state.stored_lsn = archived.stored_until(pieces, held, first_lsn, size)
        state.history, state.flush_changed_at = held, now
    rests = best.following_term is None or now - state.flush_changed_at >= idle_seconds
    todo = archived.unstored(log, state.stored_lsn, size, with_last=rests)
    if not todo:
        return
    await archive.put_life(Life(held, best.system_identifier, size))
    for at in range(0, len(todo), PUTS_AT_ONCE):
        batch = todo[at : at + PUTS_AT_ONCE]
        results = await asyncio.gather(
            *(_store(piece, live, archive, held, size) for piece in batch), return_exceptions=True
        )
        for piece, result in zip(batch, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            state.stored_lsn = piece.end_lsn
            state.bytes_stored += result


async def _store(piece: Piece, live: Live, archive: Archive, history: TermHistory, size: int) -> int:
    content = await live.segment(history, piece.entry.tli, piece.number, piece.end_lsn, size)
    if content is None:
        raise Unavailable(f"No safekeeper has segment {piece.number:x} of timeline {archive.timeline_id} any more.")
    return await archive.put(piece, content, size)


def trim_lsn(state: Archived, image_wal_lsn: int, size: int) -> int:
    """Below which safekeepers may let go: it is archived, and the newest image's start does not need it."""
    return segment_begin(segment_number(min(state.stored_lsn, image_wal_lsn), size), size)


async def trim(
    state: Archived, timeline_id: str, clients: Mapping[str, SafekeeperClient], image_wal_lsn: int, size: int
) -> None:
    """Lets safekeepers go of WAL that is archived and behind the newest image. One that does not answer is asked again at the next turn."""
    below_lsn = trim_lsn(state, image_wal_lsn, size)
    ask = said.Trim(below_lsn=below_lsn, history=history_said(state.history))
    faults.point("pageserver.trim.before")
    for name, first_lsn in list(state.first_lsn.items()):
        if first_lsn < below_lsn and name in clients:
            try:
                await clients[name].trim(timeline_id, ask)
                state.first_lsn[name] = below_lsn
            except Spg99Error:
                continue
