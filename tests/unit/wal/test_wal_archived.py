"""Which pieces of WAL make up a history: names, ties, holes, compared with a store that remembers who wrote every byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.wal.archived import (
    Missing,
    Part,
    Piece,
    holds,
    left_at,
    life_name,
    parse_life_name,
    parse_piece_name,
    parts,
    piece_name,
    stored_until,
    unstored,
    up_to,
    writer_before,
)
from spg99.wal.fence import Log, TermBegin, TermHistory
from spg99.wal.lsn import LSN_MAX, MIB

ROOT = TermBegin(0, 1, 0)
SEG = MIB


def history(*entries: tuple[int, int, int]) -> TermHistory:
    return (ROOT, *(TermBegin(term, tli, lsn) for term, tli, lsn in entries))


def test_names_survive_and_stand_in_the_order_of_the_wal() -> None:
    piece = Piece(7, TermBegin(3, 2, 5 * SEG + 8), 7 * SEG + 100)
    assert parse_piece_name(piece_name(piece)) == piece
    assert parse_life_name(life_name(piece.entry)) == piece.entry
    assert piece_name(Piece(9, ROOT, 10 * SEG)) < piece_name(Piece(16, ROOT, 17 * SEG))
    for bad in ("", "x", piece_name(piece) + "0", "G" + piece_name(piece)[1:]):
        with pytest.raises(ValueError, match="not a"):
            parse_piece_name(bad)
    with pytest.raises(ValueError, match="not a"):
        parse_life_name("1-2-3")


def test_a_piece_of_another_life_with_the_same_timeline_number_is_not_taken() -> None:
    ours, theirs = history((1, 1, 0), (3, 2, SEG + 500)), history((1, 1, 0), (2, 2, SEG + 300))
    foreign = Piece(1, theirs[-1], 2 * SEG)
    assert parts([foreign], ours, SEG, 2 * SEG, SEG) == Missing(SEG)
    mine = Piece(1, ours[-1], 2 * SEG)
    assert parts([foreign, mine], ours, SEG, 2 * SEG, SEG) == (Part(mine, 2, 2 * SEG),)
    assert stored_until([foreign], ours, SEG, SEG) == SEG


def test_a_piece_counts_up_to_where_the_history_leaves_its_writer() -> None:
    old = Piece(1, TermBegin(1, 1, 0), 2 * SEG)
    ours = history((1, 1, 0), (2, 2, SEG + 500))
    assert parts([old], ours, SEG, SEG + 500, SEG) == (Part(old, 1, SEG + 500),)
    assert parts([old], ours, SEG, SEG + 501, SEG) == Missing(SEG + 500)
    assert stored_until([old], ours, SEG, SEG) == SEG + 500


def test_an_image_counts_by_its_term() -> None:
    ours = history((1, 1, 0), (3, 2, 500))
    assert holds(ours, 1, 500) and not holds(ours, 1, 501)
    assert not holds(ours, 2, 100)
    assert holds(ours, 3, 10_000)


def test_the_unfinished_segment_waits() -> None:
    log = Log(history=history((1, 1, 0)), first_lsn=SEG, flush_lsn=3 * SEG + 10)
    assert [piece.number for piece in unstored(log, 0, SEG, with_last=False)] == [1, 2]
    assert unstored(log, 3 * SEG, SEG, with_last=True) == [Piece(3, TermBegin(1, 1, 0), 3 * SEG + 10)]
    assert unstored(log, 3 * SEG + 10, SEG, with_last=True) == []
    # What was stored of a segment before it was finished is stored again once it is.
    more = Log(history=log.history, first_lsn=SEG, flush_lsn=4 * SEG)
    assert unstored(more, 3 * SEG + 10, SEG, with_last=False) == [Piece(3, TermBegin(1, 1, 0), 4 * SEG)]


@st.composite
def worlds(draw: st.DrawFn) -> list[tuple[TermHistory, int]]:
    """Lives: each goes on from a place in an earlier one's WAL, with a higher term, on its timeline or on a number that may be another's, too."""
    lives: list[tuple[TermHistory, int]] = [((ROOT,), 0)]
    for term in range(1, draw(st.integers(2, 7))):
        before, end = draw(st.sampled_from(lives))
        begin = draw(st.integers(max(before[-1].begin_lsn, 0), max(end, before[-1].begin_lsn)))
        tli = before[-1].tli + draw(st.integers(0, 1))
        taken = (*(entry for entry in before if entry.begin_lsn <= begin), TermBegin(term, tli, begin))
        lives.append((taken, begin + draw(st.integers(0, 4 * SEG))))
    return lives


def writer_of(life: TermHistory, lsn: int) -> TermBegin:
    """Whose the byte at `lsn` is."""
    return [entry for entry in life if entry.begin_lsn <= lsn][-1]


def content(life: TermHistory, begin: int, end: int) -> list[tuple[int, TermBegin]]:
    """Who wrote what between two places: where it changes."""
    borders = sorted({begin, *(entry.begin_lsn for entry in life if begin < entry.begin_lsn < end)})
    return [(at, writer_of(life, at)) for at in borders if at < end]


@given(worlds(), st.data())
def test_what_is_put_together_is_what_the_history_wrote(
    lives: list[tuple[TermHistory, int]], data: st.DataObject
) -> None:
    store: dict[Piece, TermHistory] = {}
    for life, end in lives:
        log = Log(history=life, first_lsn=0, flush_lsn=data.draw(st.integers(0, end)))
        for piece in unstored(log, 0, SEG, with_last=data.draw(st.booleans())):
            if data.draw(st.integers(0, 9)):  # some puts were lost
                begin = piece.number * SEG
                if piece in store:
                    assert content(store[piece], begin, piece.end_lsn) == content(log.held, begin, piece.end_lsn)
                store[piece] = log.held
    life, end = data.draw(st.sampled_from(lives))
    begin, target = sorted((data.draw(st.integers(0, end)), data.draw(st.integers(0, end))))
    found = parts(store, life, begin, target, SEG)
    reached = stored_until(store, life, begin // SEG * SEG, SEG)
    if isinstance(found, Missing):
        assert reached < target
        assert begin <= found.begin_lsn <= target
        return
    assert reached >= target or begin == target
    assert [part.piece.number for part in found] == (
        list(range(begin // SEG, (target - 1) // SEG + 1)) if begin < target else []
    )
    for part in found:
        at, stop = part.piece.number * SEG, min((part.piece.number + 1) * SEG, target)
        assert part.end_lsn == stop <= part.piece.end_lsn
        assert content(store[part.piece], at, stop) == content(life, at, stop)
        assert part.tli == writer_of(life, stop - 1).tli


@given(worlds())
def test_a_history_up_to_a_place_is_of_those_who_wrote_before_it(lives: list[tuple[TermHistory, int]]) -> None:
    for life, end in lives:
        cut = up_to(life, end)
        assert writer_before(life, end) == cut[-1] or not end
        for entry in life:
            assert left_at(life, entry) == (LSN_MAX if entry == life[-1] else life[life.index(entry) + 1].begin_lsn)
