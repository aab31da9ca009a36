"""When transactions ended, read from WAL: at which LSN to stop for a moment in time. Bytes only; not here: files, recovery.

Source of the layouts: PostgreSQL's xlogrecord.h, xlog_internal.h and xact.h (`xl_xact_commit` and `xl_xact_abort` begin with the time).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from spg99.wal.lsn import PAGE_BYTES, segment_begin, segment_number

_PAGE_HEADER: Final = struct.Struct("<HHIQI")
"""Magic, flags, timeline, address, how much of a record goes on here."""
_SHORT_HEADER, _LONG_HEADER = 24, 40
_GOES_ON, _OVERWRITES = 0x0001, 0x0008
_RECORD: Final = struct.Struct("<IIQBBxxI")
_RECORD_BYTES: Final = _RECORD.size
_RECORD_BYTES_MAX: Final = 1020 << 20
_XLOG, _TRANSACTION = 0, 1
_SWITCH: Final = 0x40
_ENDS: Final = frozenset({0x00, 0x20, 0x30, 0x40})
"""Commit, abort, and both of a prepared transaction."""
_DATA_SHORT, _DATA_LONG, _ORIGIN, _TOP_XID = 255, 254, 253, 252
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_HEAD_BYTES: Final = 64
"""Of a record, enough for its time."""


@dataclass(frozen=True)
class End:
    """A transaction that ended: where its record begins, and when that was."""

    lsn: int
    at: datetime


def stop_before(
    segment_at: Callable[[int], bytes | None], begin_lsn: int, end_lsn: int, moment: datetime, segment_bytes: int
) -> int | None:
    """Where the first record begins by which a transaction ended after `moment`: up to there the WAL is what there was then. None: all up to
    `end_lsn` is. `begin_lsn` is where a record begins."""
    return next((end.lsn for end in ends(segment_at, begin_lsn, end_lsn, segment_bytes) if end.at > moment), None)


def ends(segment_at: Callable[[int], bytes | None], begin_lsn: int, end_lsn: int, segment_bytes: int) -> Iterator[End]:
    """All transactions that ended in this WAL, in order. `segment_at`: a segment by its number; it ends where there is none, or no record follows."""
    reader = _Reader(segment_at, end_lsn, segment_bytes)
    lsn = begin_lsn
    while (found := reader.record(lsn)) is not None:
        begin, lsn, head = found
        _, _, _, info, manager, _ = _RECORD.unpack_from(head)
        if (manager, info & 0xF0) == (_XLOG, _SWITCH):
            lsn = segment_begin(segment_number(lsn - 1, segment_bytes) + 1, segment_bytes)
        elif manager == _TRANSACTION and info & 0x70 in _ENDS and (at := _time_of(head[_RECORD_BYTES:])) is not None:
            yield End(begin, at)


def is_torn(segment_at: Callable[[int], bytes | None], lsn: int, end_lsn: int, segment_bytes: int) -> bool:
    """Whether the record at `lsn` is one whose end had not been written by `end_lsn`: so WAL ends. Else recovery that stopped here has met damage: a whole
    record that it does not believe, or nothing that could be one."""
    reader = _Reader(segment_at, end_lsn, segment_bytes)
    return reader.is_torn(lsn)


def _time_of(body: bytes) -> datetime | None:
    at = 0
    while at < len(body):
        kind = body[at]
        if kind in (_ORIGIN, _TOP_XID):
            at += 3 if kind == _ORIGIN else 5
            continue
        if kind not in (_DATA_SHORT, _DATA_LONG):
            return None
        at += 2 if kind == _DATA_SHORT else 5
        if len(body) < at + 8:
            return None
        (microseconds,) = struct.unpack_from("<q", body, at)
        try:
            return _EPOCH + timedelta(microseconds=microseconds)
        except OverflowError:
            return None
    return None


class _Reader:
    """Records by their LSN; pages' headers are stepped over."""

    def __init__(self, segment_at: Callable[[int], bytes | None], end_lsn: int, segment_bytes: int) -> None:
        self._segment_at, self._end_lsn, self._segment_bytes = segment_at, end_lsn, segment_bytes
        self._number = -1
        self._segment: bytes | None = None

    def record(self, lsn: int) -> tuple[int, int, bytes] | None:
        """The record at `lsn` (8 bytes aligned): where it begins, where the next one does, its first bytes. None: none whole is there."""
        while True:
            lsn = (lsn + 7) // 8 * 8
            if lsn % PAGE_BYTES == 0:
                lsn += self._header_bytes(lsn)
            first = self._bytes(lsn, 4)
            if len(first) < 4 or (total := int.from_bytes(first, "little")) < _RECORD_BYTES:
                return None
            head, after, restart = self._whole(lsn, total)
            if restart is not None:
                lsn = restart  # this one was never finished: after a crash its place was written anew
                continue
            return None if head is None else (lsn, after, head)

    def is_torn(self, lsn: int) -> bool:
        """Whether a record begins here, as far as it is there, and goes on behind the end."""
        while True:
            before, lsn = lsn, (lsn + 7) // 8 * 8
            if lsn % PAGE_BYTES == 0:
                lsn += self._header_bytes(lsn)
            head = self._head(lsn)
            if len(head) < 4:
                return True
            total = int.from_bytes(head[:4], "little")
            if not _RECORD_BYTES <= total <= _RECORD_BYTES_MAX:
                return False
            if len(head) == _RECORD_BYTES and not self._follows(_RECORD.unpack(head)[2], before):
                return False
            if len(head) < _RECORD_BYTES:
                return True
            found, after, restart = self._whole(lsn, total)
            if restart is None:
                # It stopped at the end, or at a page that does not go on with this record.
                return found is None and after + min(PAGE_BYTES - after % PAGE_BYTES, total) > self._end_lsn
            lsn = restart

    def _head(self, lsn: int) -> bytes:
        """A record's header, less where WAL ends before."""
        head = b""
        while len(head) < _RECORD_BYTES and lsn < self._end_lsn:
            if lsn % PAGE_BYTES == 0:
                lsn += self._header_bytes(lsn)
            length = min(_RECORD_BYTES - len(head), PAGE_BYTES - lsn % PAGE_BYTES, self._end_lsn - lsn)
            if length <= 0:
                break
            piece = self._bytes(lsn, length)
            head += piece
            lsn += length
            if len(piece) < length:
                break
        return head

    def _follows(self, prev_lsn: int, lsn: int) -> bool:
        """Whether the record before, by what this one says of it, ends where this one begins; also where that is not at hand."""
        if prev_lsn >= lsn:
            return False
        if self._segment_at(segment_number(prev_lsn, self._segment_bytes)) is None:
            return True
        before = self.record(prev_lsn)
        return before is not None and before[0] == prev_lsn and (before[1] + 7) // 8 * 8 == (lsn + 7) // 8 * 8

    def _whole(self, lsn: int, total: int) -> tuple[bytes | None, int, int | None]:
        """First bytes and end of a record; or where reading goes on instead."""
        head, left = b"", total
        while True:
            room = PAGE_BYTES - lsn % PAGE_BYTES
            part = min(room, left)
            if lsn + part > self._end_lsn:
                return None, lsn, None
            if len(head) < _HEAD_BYTES:
                piece = self._bytes(lsn, min(part, _HEAD_BYTES - len(head)))
                head += piece
            left -= part
            lsn += part
            if left == 0:
                return head, lsn, None
            page = self._bytes(lsn, _PAGE_HEADER.size)
            if len(page) < _PAGE_HEADER.size:
                return None, lsn, None
            _, flags, _, address, _ = _PAGE_HEADER.unpack(page)
            if address != lsn:
                return None, lsn, None
            if flags & _OVERWRITES:
                return None, lsn, lsn
            if not flags & _GOES_ON:
                return None, lsn, None
            lsn += self._header_bytes(lsn)

    def _header_bytes(self, page_lsn: int) -> int:
        return _LONG_HEADER if page_lsn % self._segment_bytes == 0 else _SHORT_HEADER

    def _bytes(self, lsn: int, length: int) -> bytes:
        number = segment_number(lsn, self._segment_bytes)
        if number != self._number:
            self._number, self._segment = number, self._segment_at(number)
        if self._segment is None:
            return b""
        at = lsn % self._segment_bytes
        return self._segment[at : at + length]
