"""Guesses of what a sequential scan will want next. Pure: numbers in, numbers out. Not here: fetching (page_fetcher.py)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

FIRST_CHUNKS: Final = 4
CHUNKS_MAX: Final = 64
"""16 MiB: what a reader takes from memory in the time that a store answers in."""
_REMEMBERED: Final = 32


@dataclass
class _Run:
    begin: int
    end: int
    """Behind its last chunk."""
    has_next: bool = False


@dataclass
class Runs:
    """The scans of one folder that are under way, as far as they ask: chunks that came ahead in time are not asked for."""

    _runs: deque[_Run] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _last: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def after(self, chunk: int, end_of_file: int) -> range:
        """Somebody waits for this chunk: which are to be fetched ahead. `end_of_file`: behind the last chunk of its file.

        Two neighbours one after the other begin a run; a run that is caught up with, from its middle on, is followed by one twice as long.
        """
        for run in self._runs:
            if run.begin <= chunk <= run.end:
                if run.has_next or 2 * chunk < run.begin + run.end:
                    return range(0)
                run.has_next = True
                return self._begin(max(run.end, chunk + 1), 2 * (run.end - run.begin), end_of_file)
        is_next = chunk - 1 in self._last
        self._last.append(chunk)
        return self._begin(chunk + 1, FIRST_CHUNKS, end_of_file) if is_next else range(0)

    def _begin(self, begin: int, length: int, end_of_file: int) -> range:
        end = min(begin + min(length, CHUNKS_MAX), end_of_file)
        if end <= begin:
            return range(0)
        self._runs.append(_Run(begin, end))
        return range(begin, end)
