"""Filling up a safekeeper that is behind, and what a safekeeper may delete. Not here: who may write (fence.py), moving bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from spg99.wal.fence import Keeper, Log, TermHistory, common_lsn


@dataclass(frozen=True)
class Range:
    """WAL from `begin_lsn` up to, and without, `end_lsn`, and who has it."""

    source: str
    begin_lsn: int
    end_lsn: int


@dataclass(frozen=True)
class Missing:
    """Nobody has the WAL from here on: ask again, others may come back."""

    begin_lsn: int


def serves(log: Log, history: TermHistory, begin_lsn: int, end_lsn: int) -> bool:
    """Whether this log has that WAL of that life. Asked by who serves it, at the moment it reads: an answer from before may have been cut since."""
    common = common_lsn(log, history, max(end_lsn, log.flush_lsn))
    return common is not None and log.first_lsn <= begin_lsn and end_lsn <= common


def ranges(
    history: TermHistory, begin_lsn: int, end_lsn: int, sources: Mapping[str, Log]
) -> tuple[Range, ...] | Missing:
    """Which WAL from whom, so that all from `begin_lsn` to `end_lsn` of this life is there: peers, and the store as one of them.

    A laggard's `begin_lsn` is its flush LSN once it has accepted, `end_lsn` the oldest that the compute still has. From each source as far as it goes.
    """
    found: list[Range] = []
    while begin_lsn < end_lsn:
        reach = {
            name: min(end_lsn, common_lsn(log, history, max(end_lsn, log.flush_lsn)) or 0)
            for name, log in sources.items()
            if log.first_lsn <= begin_lsn
        }
        best = max(reach, key=lambda name: (reach[name], name), default=None)
        if best is None or reach[best] <= begin_lsn:
            return Missing(begin_lsn)
        found.append(Range(best, begin_lsn, reach[best]))
        begin_lsn = reach[best]
    return tuple(found)


def reach(history: TermHistory, sources: Mapping[str, Log]) -> int:
    """Up to where any of these has WAL of this life; 0: nobody has any."""
    return max((common_lsn(log, history, log.flush_lsn) or 0 for log in sources.values()), default=0)


def skip(keeper: Keeper, source: Log) -> Keeper:
    """One that has less than its peers still have begins where `source` does: what is before is in the object store, of the same life, or that would not
    have trimmed it. `keeper` has accepted the life that is written. Unchanged where this does not help; the caller deletes all WAL that is here.
    """
    common = common_lsn(source, keeper.history, source.flush_lsn)
    if common is None or common < source.first_lsn or source.first_lsn <= keeper.flush_lsn:
        return keeper
    return replace(keeper, first_lsn=source.first_lsn, flush_lsn=source.first_lsn)


def trim(keeper: Keeper, stored: Log) -> Keeper:
    """Without the WAL that the object store has: of the same life, not only of the same LSN. The caller deletes whole segments below `first_lsn`."""
    common = common_lsn(keeper, stored.history, stored.flush_lsn)
    if common is None or stored.first_lsn > keeper.first_lsn:
        return keeper
    return replace(keeper, first_lsn=max(keeper.first_lsn, common))
