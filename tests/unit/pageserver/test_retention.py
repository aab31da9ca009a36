"""What is needed of a timeline's past, compared with going back to every moment that was promised, one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spg99.pageserver.retention import Past, PinnedMoment, StoredImage, needed
from spg99.wal.archived import Missing, Piece, holds, parts, unstored
from spg99.wal.fence import Log, TermBegin, TermHistory
from spg99.wal.lsn import MIB

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = TermBegin(0, 1, 0)


def at(hours: int) -> datetime:
    return T0 + timedelta(hours=hours)


def image(lsn: int, hours: int, term: int = 1, wal_lsn: int | None = None) -> StoredImage:
    return StoredImage(f"image-{term}-{lsn}-{hours}", term, lsn, lsn if wal_lsn is None else wal_lsn, at(hours))


ONE_LIFE: TermHistory = (ROOT, TermBegin(1, 1, 0))
WAL = [Piece(n, TermBegin(1, 1, 0), (n + 1) * MIB) for n in range(10)]


def keys(*images: StoredImage) -> frozenset[str]:
    return frozenset(one.key for one in images)


def test_the_window_keeps_the_image_before_it_and_all_behind() -> None:
    images = [image(0, 0), image(2 * MIB, 2), image(4 * MIB, 4), image(8 * MIB, 8)]
    stays = needed(Past(ONE_LIFE, MIB, images, WAL), (), window_begin=at(5))
    assert stays.images == keys(images[0], images[2], images[3])  # the first: files on a node began with it
    assert sorted(piece.number for piece in stays.pieces) == list(range(4, 10))


def test_a_window_of_nothing_keeps_what_a_rebuild_wants() -> None:
    images = [image(0, 0), image(4 * MIB, 4)]
    stays = needed(Past(ONE_LIFE, MIB, images, WAL), (), window_begin=at(100))
    assert stays.images == keys(*images) and min(piece.number for piece in stays.pieces) == 4


def test_a_window_older_than_everything_keeps_everything() -> None:
    images = [image(2 * MIB, 2), image(4 * MIB, 4)]
    stays = needed(Past(ONE_LIFE, MIB, images, WAL), (), window_begin=at(1))
    assert stays.images == keys(*images) and min(piece.number for piece in stays.pieces) == 2


def test_pins_outlive_window_and_database() -> None:
    images = [image(0, 0), image(2 * MIB, 2), image(4 * MIB, 4), image(8 * MIB, 8)]
    pin = PinnedMoment(3 * MIB + 5, None)
    gone = needed(Past(ONE_LIFE, MIB, images, WAL), [pin], window_begin=None)
    assert gone.images == keys(images[1]) and sorted(piece.number for piece in gone.pieces) == [2, 3]
    alive = needed(Past(ONE_LIFE, MIB, images, WAL), [pin], window_begin=at(9))
    assert sorted(piece.number for piece in alive.pieces) == [2, 3, 8, 9]
    of_time = needed(Past(ONE_LIFE, MIB, images, WAL), [PinnedMoment(None, at(3))], window_begin=None)
    assert of_time.images == keys(*images[1:]) and sorted(piece.number for piece in of_time.pieces) == list(
        range(2, 10)
    )
    assert needed(Past(ONE_LIFE, MIB, images, WAL), (), window_begin=None) == needed(
        Past(ONE_LIFE, MIB, [], []), (), window_begin=None
    )


def test_lives_that_came_to_nothing_go_and_newer_ones_than_are_known_stay() -> None:
    history: TermHistory = (ROOT, TermBegin(1, 1, 0), TermBegin(3, 2, 4 * MIB))
    dead, newer = Piece(4, TermBegin(2, 2, 4 * MIB), 5 * MIB), Piece(5, TermBegin(4, 3, 5 * MIB), 6 * MIB)
    mine = Piece(4, TermBegin(3, 2, 4 * MIB), 5 * MIB)
    images = [image(0, 0), image(4 * MIB + 100, 5, term=2), image(5 * MIB, 6, term=4)]
    stays = needed(Past(history, MIB, images, [*WAL[:4], dead, newer, mine]), (), window_begin=at(1))
    assert stays.images == keys(images[0], images[2])
    assert dead not in stays.pieces and {mine, newer} <= stays.pieces


@st.composite
def pasts(draw: st.DrawFn) -> tuple[Past, int]:
    """A timeline with some lives, of which the last counts; images and pieces of all of them, some pieces twice."""
    lives: list[tuple[TermHistory, int]] = [((ROOT, TermBegin(1, 1, 0)), draw(st.integers(0, 3 * MIB)))]
    for term in range(2, draw(st.integers(2, 5))):
        before, end = draw(st.sampled_from(lives))
        begin = draw(st.integers(before[-1].begin_lsn, max(end, before[-1].begin_lsn)))
        taken = tuple(entry for entry in before if entry.begin_lsn <= begin)
        tli = taken[-1].tli + draw(st.integers(0, 1))
        lives.append(((*taken, TermBegin(term, tli, begin)), begin + draw(st.integers(0, 3 * MIB))))
    pieces: dict[Piece, None] = {}
    images: list[StoredImage] = [image(0, 0)]
    for life, end in lives:
        for flush in sorted({draw(st.integers(0, end)), end}):
            log = Log(history=life, first_lsn=0, flush_lsn=flush)
            pieces |= dict.fromkeys(unstored(log, 0, MIB, with_last=True))
        for _ in range(draw(st.integers(0, 2))):
            lsn = draw(st.integers(life[-1].begin_lsn, end))
            images.append(image(lsn, draw(st.integers(1, 20)), life[-1].term, draw(st.integers(0, lsn))))
    history, end = lives[-1]
    return Past(history, MIB, images, list(pieces)), end


@given(pasts(), st.integers(-1, 22), st.lists(st.integers(0, 12 * MIB), max_size=3))
def test_every_promised_moment_comes_back_from_what_stays(
    past: tuple[Past, int], hours: int, pinned: list[int]
) -> None:
    found, end = past
    fit = [one for one in found.images if holds(found.history, one.term, one.lsn) and one.lsn <= end]
    pins = [PinnedMoment(lsn, None) for lsn in pinned if lsn <= end]
    stays = needed(found, pins, window_begin=at(hours))
    before = [one for one in fit if one.as_of <= at(hours)]
    # By the order of the WAL: of what was committed at the window's begin, nothing is behind the newest image that is no newer than it.
    base = max((one.lsn for one in before), default=0)
    borders = {0, end, *(one.lsn for one in fit), *(n * MIB for n in range(end // MIB + 1))}
    promised = {lsn for lsn in borders if base <= lsn <= end} | {pin.lsn for pin in pins if pin.lsn is not None}
    used: set[str] = set()
    for lsn in promised:
        candidates = [one for one in fit if one.lsn <= lsn and one.key in stays.images]
        newest = max((one for one in fit if one.lsn <= lsn), key=lambda one: (one.lsn, one.as_of, one.key))
        assert candidates and max(one.lsn for one in candidates) == newest.lsn, (lsn, newest)
        start = max(candidates, key=lambda one: (one.lsn, one.as_of, one.key))
        used.add(start.key)
        whole = parts(found.pieces, found.history, start.wal_lsn, lsn, MIB)
        rest = parts(stays.pieces, found.history, start.wal_lsn, lsn, MIB)
        assert isinstance(whole, Missing) or not isinstance(rest, Missing), (lsn, start, rest)
    # And nothing stays for nothing: of other lives, or older than the window, unless a pin or a node's files want it.
    for one in found.images:
        if one.key in stays.images and one.key not in used:
            began = next(entry.begin_lsn for entry in found.history if entry.tli == found.history[-1].tli)
            assert one.as_of > at(hours) or one.lsn <= began or one.lsn == base or not before
            assert one.term > found.history[-1].term or holds(found.history, one.term, one.lsn)
