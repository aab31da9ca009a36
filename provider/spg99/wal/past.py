"""Moments of a timeline's past that are told by who wrote, and not by a place: where they are. Rules only; not here: what is kept (archived.py)."""

from __future__ import annotations

from spg99.wal.fence import Log


def end_of_term(log: Log, term: int) -> int:
    """The end of all that this term and lower ones have written: where the next one begins, which takes over all that was acknowledged before."""
    later = (entry.begin_lsn for entry in log.held if entry.term > term)
    return min(later, default=log.flush_lsn)
