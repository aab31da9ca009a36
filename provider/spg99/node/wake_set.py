"""Which chunks the last wakes of a timeline used, so that the next one has them before it asks. Here: the record and its rules. Not here: fetching
(page_fetcher.py), where it lies (keeping.py).

By file and number: numbers of a map change with each image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from spg99.images.manifest import ChunkedFile

_FORMAT: Final = 1
CHUNKS_MAX: Final = 1024
"""256 MiB. A wake that uses more is a scan, and scans are fetched ahead as they go."""
_MISSES_MAX: Final = 3
"""One that this many wakes in a row did not use is forgotten."""
_FIRST_NORMAL_FILE: Final = 16384
"""FirstNormalObjectId: below are catalogues."""

Place = tuple[str, int]


@dataclass(frozen=True)
class WakeSet:
    """Chunks, those that are wanted first before the others, and how many wakes in a row have not used each."""

    misses: Mapping[Place, int]

    def chunks_of(self, numbers: Mapping[Place, int]) -> list[int]:
        """Their numbers in a map, in the order in which they are fetched: catalogues, the beginnings of files (where the roots of most indexes are), the
        rest as it was wanted."""
        order = sorted(self.misses, key=lambda place: (not _is_catalogue(place[0]), place[1] != 0))
        return [numbers[place] for place in order if place in numbers]

    @property
    def for_start(self) -> WakeSet:
        """Those of the catalogues: without them no server starts."""
        return WakeSet({place: misses for place, misses in self.misses.items() if _is_catalogue(place[0])})

    def to_bytes(self) -> bytes:
        """As it is kept."""
        rows = [[path, number, misses] for (path, number), misses in self.misses.items()]
        return json.dumps({"format": _FORMAT, "chunks": rows}, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> WakeSet:
        """What cannot be read is an empty one: it is a guess."""
        try:
            plain = json.loads(content)
            if plain["format"] != _FORMAT:
                return NOTHING
            return cls({(str(path), int(number)): int(misses) for path, number, misses in plain["chunks"]})
        except (ValueError, KeyError, TypeError):
            return NOTHING


NOTHING: Final = WakeSet({})


def catalogues(files: Iterable[ChunkedFile]) -> WakeSet:
    """For a timeline of which nothing is noted: every server reads most of its catalogues first."""
    return WakeSet({(file.path, n): 0 for file in files if _is_catalogue(file.path) for n in range(len(file.chunks))})


def used(numbers: Mapping[Place, int], used_bytes: bytes, demanded: Iterable[int], past: WakeSet) -> WakeSet:
    """The record after a wake. `numbers`: of the map's chunks; `used_bytes`: a byte each, 1 when it was used; `demanded`: those that were waited for,
    in this order; `past`: the record before."""
    places = {number: place for place, number in numbers.items()}
    now = {places[number] for number, is_used in enumerate(used_bytes) if is_used}
    found: dict[Place, int] = {}
    for place, misses in past.misses.items():
        missed = 0 if place in now else misses + 1
        if missed < _MISSES_MAX:
            found[place] = missed
    for number in demanded:
        if (place := places[number]) in now:
            found.setdefault(place, 0)
    for place in sorted(now):
        found.setdefault(place, 0)
    kept = set(sorted(found, key=lambda place: found[place])[:CHUNKS_MAX])
    return WakeSet({place: missed for place, missed in found.items() if place in kept})


def _is_catalogue(path: str) -> bool:
    number = path.rpartition("/")[2].partition("_")[0].partition(".")[0]
    return path.startswith("global/") or (number.isdigit() and int(number) < _FIRST_NORMAL_FILE)
