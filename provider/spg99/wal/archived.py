"""Which WAL the object store has: pieces of it by their names, and which of them make up a history. Rules only; not here: objects (archive/).

A *piece* is what one segment held up to `end_lsn`, from the segment's beginning, when the log that it was taken from ended in the term of `entry`.
So it is known whole by its name: a term has one writer, and what is before its entry is what that writer began with (fence.py).

Two lives may both have called themselves timeline 2. So a piece counts for a history only if that has the very entry (term, timeline
and where it begins), and only up to where the history leaves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from spg99.wal.fence import Log, TermBegin, TermHistory
from spg99.wal.lsn import LSN_MAX, segment_begin, segment_number, segment_numbers

_PIECE = re.compile(r"([0-9a-f]{16})-([0-9a-f]{8})-([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{16})", re.ASCII)
_LIFE = re.compile(r"([0-9a-f]{16})-([0-9a-f]{8})-([0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True)
class Piece:
    """WAL of segment `number` from its beginning up to, and without, `end_lsn`."""

    number: int
    entry: TermBegin
    """Whose WAL its last byte is."""
    end_lsn: int


@dataclass(frozen=True)
class Part:
    """A piece, and how much of it counts: up to `end_lsn`. `tli` is the PostgreSQL timeline under which a history reads this segment."""

    piece: Piece
    tli: int
    end_lsn: int


@dataclass(frozen=True)
class Missing:
    """The store has no WAL of this history from here on."""

    begin_lsn: int


def piece_name(piece: Piece) -> str:
    """Segment, timeline, term, where the term began, end: in the order of keys that of the WAL."""
    entry = piece.entry
    return f"{piece.number:016x}-{entry.tli:08x}-{entry.term:016x}-{entry.begin_lsn:016x}-{piece.end_lsn:016x}"


def parse_piece_name(name: str) -> Piece:
    """ValueError for any other name."""
    if not (found := _PIECE.fullmatch(name)):
        raise ValueError(f"not a piece of WAL: {name!r}")
    number, tli, term, begin_lsn, end_lsn = (int(part, 16) for part in found.groups())
    return Piece(number, TermBegin(term, tli, begin_lsn), end_lsn)


def life_name(entry: TermBegin) -> str:
    """By which the history that ends with this entry is kept: the highest term comes last."""
    return f"{entry.term:016x}-{entry.tli:08x}-{entry.begin_lsn:016x}"


def parse_life_name(name: str) -> TermBegin:
    """ValueError for any other name."""
    if not (found := _LIFE.fullmatch(name)):
        raise ValueError(f"not a life: {name!r}")
    term, tli, begin_lsn = (int(part, 16) for part in found.groups())
    return TermBegin(term, tli, begin_lsn)


def writer_before(history: TermHistory, lsn: int) -> TermBegin:
    """The entry whose WAL the byte before `lsn` is (the first one's, where there is none)."""
    return [history[0], *(entry for entry in history if entry.begin_lsn < lsn)][-1]


def up_to(history: TermHistory, lsn: int) -> TermHistory:
    """The history of the WAL before `lsn`: without those who began right there or later."""
    return (history[0], *(entry for entry in history[1:] if entry.begin_lsn < lsn))


def left_at(history: TermHistory, entry: TermBegin) -> int | None:
    """Where a history leaves an entry's WAL for the next one's; LSN_MAX: it does not. None: it never was that life's."""
    if entry not in history:
        return None
    after = history.index(entry) + 1
    return history[after].begin_lsn if after < len(history) else LSN_MAX


def holds(history: TermHistory, term: int, lsn: int) -> bool:
    """Whether what the writer of `term` had at `lsn` is all of this history: an image by its key. Terms count, not timelines."""
    for entry, after in zip(history, (*history[1:], None), strict=True):
        if entry.term == term:
            return after is None or lsn <= after.begin_lsn
    return False


def unstored(log: Log, stored_lsn: int, segment_bytes: int, *, with_last: bool) -> list[Piece]:
    """What of a log is to be stored next, in order, where `stored_lsn` is the end of what is (`stored_until`): finished segments, and the unfinished
    last one, too, `with_last`. What the log does not hold from a segment's beginning is not."""
    begin_lsn = max(stored_lsn, log.first_lsn)
    found = []
    for number in segment_numbers(begin_lsn, log.flush_lsn, segment_bytes):
        begin, end = segment_begin(number, segment_bytes), segment_begin(number + 1, segment_bytes)
        if begin < log.first_lsn or (end > log.flush_lsn and not with_last):
            continue
        end = min(end, log.flush_lsn)
        found.append(Piece(number, writer_before(log.held, end), end))
    return found


def parts(
    pieces: Iterable[Piece], history: TermHistory, begin_lsn: int, end_lsn: int, segment_bytes: int
) -> tuple[Part, ...] | Missing:
    """Which pieces make up the WAL of a history from the segment of `begin_lsn` to `end_lsn`, one a segment; or from where on there is none."""
    by_number: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_number.setdefault(piece.number, []).append(piece)
    found = []
    for number in segment_numbers(begin_lsn, end_lsn, segment_bytes):
        wanted = min(segment_begin(number + 1, segment_bytes), end_lsn)
        reach = {piece: _reach(history, piece) for piece in by_number.get(number, ())}
        best = max(reach, key=lambda piece: (reach[piece], piece.entry.term, piece.end_lsn), default=None)
        if best is None or reach[best] < wanted:
            reached = 0 if best is None else reach[best]
            return Missing(max(begin_lsn, segment_begin(number, segment_bytes), reached))
        found.append(Part(best, writer_before(history, wanted).tli, wanted))
    return tuple(found)


def stored_until(pieces: Iterable[Piece], history: TermHistory, begin_lsn: int, segment_bytes: int) -> int:
    """The end of the WAL of a history that the store has without a hole from `begin_lsn` on; `begin_lsn` where it has none."""
    by_number: dict[int, int] = {}
    for piece in pieces:
        by_number[piece.number] = max(by_number.get(piece.number, 0), _reach(history, piece))
    number, reached = segment_number(begin_lsn, segment_bytes), begin_lsn
    while (reach := by_number.get(number, 0)) > reached:
        reached = reach
        if reached < segment_begin(number + 1, segment_bytes):
            break
        number += 1
    return reached


def _reach(history: TermHistory, piece: Piece) -> int:
    """Up to where a piece holds the WAL of a history; 0: it does not."""
    left = left_at(history, piece.entry)
    return 0 if left is None else min(piece.end_lsn, left)
