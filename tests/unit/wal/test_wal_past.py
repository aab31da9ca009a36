"""Moments that are told by who wrote."""

from __future__ import annotations

from spg99.wal.fence import Log, TermBegin
from spg99.wal.past import end_of_term

HISTORY = (TermBegin(0, 1, 100), TermBegin(1, 1, 100), TermBegin(2, 1, 200), TermBegin(4, 2, 300))


def test_a_term_ends_where_the_next_one_begins() -> None:
    its = Log(history=HISTORY, first_lsn=100, flush_lsn=400)
    assert [end_of_term(its, term) for term in (0, 1, 2, 3, 4, 9)] == [100, 200, 300, 300, 400, 400]


def test_a_term_that_is_only_announced_has_ended_nothing() -> None:
    """Its history names a term that begins behind what is there."""
    assert end_of_term(Log(history=HISTORY, first_lsn=100, flush_lsn=250), 2) == 250
