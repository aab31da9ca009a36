"""Positions in the WAL and the files that it is cut into. Not here: what the bytes mean, reading and writing them.

An LSN is an int: bytes since the beginning of the cluster's WAL. As text it is two hexadecimal halves of 32 bits (`16/B374D848`).
A segment is a file of WAL; its name is made as PostgreSQL's XLogFileName makes it: timeline, then the segment's number in two parts of
eight digits, the second of which counts the segments within 4 GiB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
SEGMENT_BYTES: Final = MIB
"""Ours: `initdb --wal-segsize 1`."""
PAGE_BYTES: Final = 8192
"""Of WAL; each has a header."""
SEGMENT_BYTES_MAX: Final = 1 << 30
LSN_MAX: Final = (1 << 64) - 1
TLI_MAX: Final = (1 << 32) - 1

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", re.ASCII)
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})", re.ASCII)


def parse_lsn(text: str) -> int:
    """`16/B374D848` as an int, as the type pg_lsn reads it. ValueError for anything else."""
    if not (found := _LSN.fullmatch(text)):
        raise ValueError(f"not an LSN: {text!r}")
    return int(found[1], 16) << 32 | int(found[2], 16)


def format_lsn(lsn: int) -> str:
    """As PostgreSQL prints it. ValueError for what is no LSN."""
    if not 0 <= lsn <= LSN_MAX:
        raise ValueError(f"not an LSN: {lsn}")
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True, order=True)
class Segment:
    """One file of WAL: a timeline's part number `number`."""

    tli: int
    number: int


def checked_segment_bytes(segment_bytes: int) -> int:
    """A size of segments that PostgreSQL knows: a power of two from 1 MiB to 1 GiB. ValueError for any other."""
    if not MIB <= segment_bytes <= SEGMENT_BYTES_MAX or segment_bytes & (segment_bytes - 1):
        raise ValueError(f"not a size of WAL segments: {segment_bytes}")
    return segment_bytes


def segment_number(lsn: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """The segment in which the byte at `lsn` lies. An end that falls on a border belongs to the next one."""
    return lsn // checked_segment_bytes(segment_bytes)


def segment_begin(number: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """The first LSN of a segment."""
    return number * checked_segment_bytes(segment_bytes)


def segment_numbers(begin_lsn: int, end_lsn: int, segment_bytes: int = SEGMENT_BYTES) -> range:
    """The segments that hold the bytes from `begin_lsn` up to, and without, `end_lsn`."""
    if end_lsn <= begin_lsn:
        return range(0)
    return range(segment_number(begin_lsn, segment_bytes), segment_number(end_lsn - 1, segment_bytes) + 1)


def segment_name(segment: Segment, segment_bytes: int = SEGMENT_BYTES) -> str:
    """The file's name: timeline 1, number 1 is `000000010000000000000001`. ValueError for what has no name of 24 digits."""
    high, low = divmod(segment.number, _segments_per_4_gib(segment_bytes))
    if not 1 <= segment.tli <= TLI_MAX or not 0 <= high <= 0xFFFFFFFF:
        raise ValueError(f"no file has this name: {segment}")
    return f"{segment.tli:08X}{high:08X}{low:08X}"


def parse_segment_name(name: str, segment_bytes: int = SEGMENT_BYTES) -> Segment:
    """The segment that a file is. ValueError for any other file (`.partial`, `.history`) and for a number that this size cannot have."""
    per_4_gib = _segments_per_4_gib(segment_bytes)
    if not (found := _SEGMENT.fullmatch(name)):
        raise ValueError(f"not a file of WAL: {name!r}")
    tli, high, low = (int(part, 16) for part in found.groups())
    if tli == 0 or low >= per_4_gib:
        raise ValueError(f"not a file of WAL in segments of {segment_bytes} bytes: {name!r}")
    return Segment(tli, high * per_4_gib + low)


def _segments_per_4_gib(segment_bytes: int) -> int:
    return (1 << 32) // checked_segment_bytes(segment_bytes)
