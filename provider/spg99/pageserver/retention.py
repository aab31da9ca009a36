"""What of a timeline's images and archived WAL is needed: by its window, by pins, by who works with it now. The one rule that everything which is
removed was asked of. Pure; not here: finding out, marking, removing (garbage.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from spg99.wal.archived import Piece, holds, left_at
from spg99.wal.fence import TermHistory
from spg99.wal.lsn import segment_begin


@dataclass(frozen=True)
class StoredImage:
    """An image as a decision sees it."""

    key: str
    term: int
    lsn: int
    wal_lsn: int
    """A start on it needs WAL from here on."""
    as_of: datetime
    """What was committed after this moment is not in it."""


@dataclass(frozen=True)
class PinnedMoment:
    """Somebody may go back to it. Without an LSN: nothing of `at` and later may go."""

    lsn: int | None
    at: datetime | None


@dataclass(frozen=True)
class Past:
    """All that the store has of a timeline, and its history as it is now."""

    history: TermHistory
    segment_bytes: int
    images: Sequence[StoredImage]
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class Needed:
    """What stays."""

    images: frozenset[str]
    """Their keys."""
    pieces: frozenset[Piece]


def needed(past: Past, pins: Iterable[PinnedMoment], *, window_begin: datetime | None) -> Needed:
    """What must stay, so that every moment from `window_begin` on and every pinned one can come back, and whoever works on files that began with an
    image finds that. `window_begin` None: of a timeline that is gone, which only pins hold.

    Of a history that is older than what is in the store (another life has begun meanwhile) all that is newer stays.
    """
    last_term = past.history[-1].term
    newer = [image for image in past.images if image.term > last_term]
    fit = sorted(
        (image for image in past.images if holds(past.history, image.term, image.lsn)),
        key=lambda image: (image.lsn, image.as_of, image.key),
    )
    keep = {image.key for image in newer}
    ranges: list[tuple[int, int | None]] = []
    if window_begin is not None:
        _keep_since(fit, window_begin, keep, ranges)
        if fit:
            keep.add(fit[-1].key)
        # Files on a node are of the image that its PostgreSQL timeline began with, and may read parts of it only when they are touched.
        began = next(entry.begin_lsn for entry in past.history if entry.tli == past.history[-1].tli)
        if (image := _before(fit, began)) is not None or (image := fit[0] if fit else None) is not None:
            keep.add(image.key)
    for pin in pins:
        if pin.lsn is None:
            if pin.at is not None:
                _keep_since(fit, pin.at, keep, ranges)
        elif (image := _before(fit, pin.lsn)) is not None:
            keep.add(image.key)
            ranges.append((image.wal_lsn, pin.lsn))
    return Needed(frozenset(keep), frozenset(_pieces(past, ranges, is_gone=window_begin is None)))


def _keep_since(
    fit: Sequence[StoredImage], moment: datetime, keep: set[str], ranges: list[tuple[int, int | None]]
) -> None:
    """All from the newest image at or before a moment on; where there is none, all."""
    before = [image for image in fit if image.as_of <= moment]
    since = [before[-1], *(image for image in fit if image.as_of > moment)] if before else list(fit)
    keep.update(image.key for image in since)
    if since:
        ranges.append((min(image.wal_lsn for image in since), None))
    else:
        ranges.append((0, None))


def _before(fit: Sequence[StoredImage], lsn: int) -> StoredImage | None:
    return max((image for image in fit if image.lsn <= lsn), key=lambda image: image.lsn, default=None)


def _pieces(past: Past, ranges: Sequence[tuple[int, int | None]], *, is_gone: bool) -> Iterable[Piece]:
    best: dict[int, tuple[tuple[int, int, int], Piece]] = {}
    for piece in past.pieces:
        if piece.entry.term > past.history[-1].term and not is_gone:
            yield piece
            continue
        left = left_at(past.history, piece.entry)
        if left is None:
            continue
        begin = segment_begin(piece.number, past.segment_bytes)
        end = segment_begin(piece.number + 1, past.segment_bytes)
        if not any(first < end and (last is None or begin < last) for first, last in ranges):
            continue
        rank = (min(piece.end_lsn, left), piece.entry.term, piece.end_lsn)
        if piece.number not in best or rank > best[piece.number][0]:
            best[piece.number] = (rank, piece)
    yield from (piece for _, piece in best.values())
