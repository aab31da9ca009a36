"""The WAL of one timeline on this safekeeper's disk: segment files, and how far they are flushed. Here: bytes and syncs.
Not here: which bytes may be taken (wal/fence.py, keeper.py), where they come from (receiver.py).

A file is named as PostgreSQL names it and begins with the same bytes, filled up with zeros: `pg_waldump` reads it, and a rebuild
takes it as it is. Behind the segment stands a mark of how far it is flushed, so that one fdatasync makes both last:

    segment_bytes of WAL | two slots of _MARK, written in turn

A mark says `begin, end, crc32 of the WAL between them`. It is written together with that WAL, before anybody hears that it is
flushed, and may reach the disk before it: on opening, a mark whose CRC is wrong counts only up to its `begin`, which an earlier
sync has made sure of. So what was answered is always found again, and what is found was always written whole.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spg99 import faults
from spg99.atomic_write import sync_folder
from spg99.errors import Internal
from spg99.wal.lsn import Segment, format_lsn, parse_segment_name, segment_name

_MAGIC: Final = 0x53504757
_MARK: Final = struct.Struct("<IIQQQI")
"""Magic, CRC of the WAL, number, begin, end, CRC of the mark."""
_SLOT_BYTES: Final = 512
"""A sector: it is written whole or not at all."""
_TAIL_BYTES: Final = 2 * _SLOT_BYTES
_SPARE: Final = "spare"
_SEGMENTS_WITH_MARKS_MAX: Final = 64
"""A flush is of some megabytes at most (receiver.py), so of no more segments than this."""


@dataclass(frozen=True)
class _Mark:
    number: int
    begin: int
    end: int
    crc: int

    def pack(self) -> bytes:
        body = _MARK.pack(_MAGIC, self.crc, self.number, self.begin, self.end, 0)[:-4]
        return body + zlib.crc32(body).to_bytes(4, "little")

    @classmethod
    def unpack(cls, text: bytes) -> _Mark | None:
        magic, crc, number, begin, end, own = _MARK.unpack(text[: _MARK.size])
        if magic != _MAGIC or own != zlib.crc32(text[: _MARK.size - 4]) or begin > end:
            return None
        return cls(number, begin, end, crc)


class WalFiles:
    """The segments in one folder. One object, one caller at a time; all calls block (a flush takes as long as a sync).

    `write` in rising order without holes, then `flush`. OSError leaves everything as it was at the last flush: call `go_back`.
    """

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._at: tuple[int, int] | None = None
        """TLI and number of the open segment."""
        self._to_sync: list[int] = []
        """Open files of segments that were left behind since the last flush."""
        self._folder_is_dirty = False
        self._number = 0
        self._has_stray_mark = False
        """A flush has failed whose mark may be on the disk all the same."""
        self._crc = self._begin = self.written_lsn = self.flushed_lsn = 0

    def open(self, tli: int, lsn_at_least: int) -> int:
        """Begins to write on a timeline; answers how far it is flushed: `lsn_at_least`, or further where a mark says so."""
        self.close()
        for draft in self._folder.glob("*.draft"):  # of a process that was killed
            draft.unlink(missing_ok=True)
        found, number = lsn_at_least, 0
        # Of a flush that a power cut has torn, files may be there beyond the newest mark that counts; never more than a few.
        marks = [
            mark for segment in self.segments_of(tli)[-_SEGMENTS_WITH_MARKS_MAX:] for mark in self._marks(tli, segment)
        ]
        if marks:
            newest = max(marks, key=lambda mark: mark.number)
            number = newest.number
            end = newest.end if self._crc_of(tli, newest.begin, newest.end) == newest.crc else newest.begin
            if end > found:
                # Whoever wrote it may have been killed before its sync: it is claimed from here on, so it lasts from here on.
                self._sync(tli, found, end)
                found = end
        self._number = number
        self._is_at(found)
        self._has_stray_mark = False
        return found

    def go_back(self) -> None:
        """After an error: goes on behind the last flush that succeeded. The mark of the one that failed may be there."""
        self.close()
        self._number += 1  # the next mark counts for more than that one
        self._is_at(self.flushed_lsn)

    def ends_at(self, lsn: int) -> bool:
        """Whether all that counts here ends at this place, also for who opens it next."""
        return self.flushed_lsn == lsn and not self._has_stray_mark

    def write(self, tli: int, lsn: int, data: bytes | memoryview) -> None:
        """Puts WAL behind what is written. Raises Internal for a hole."""
        if lsn != self.written_lsn:
            raise Internal(f"WAL came for {format_lsn(lsn)} where {format_lsn(self.written_lsn)} was to come.")
        view = memoryview(data)
        self._crc = zlib.crc32(view, self._crc)
        while view:
            segment, offset = divmod(lsn, self._segment_bytes)
            if self._at != (tli, segment):
                self._turn_to(tli, segment)
            piece = view[: self._segment_bytes - offset]
            _write_all(self._fd, piece, offset)
            lsn += len(piece)
            view = view[len(piece) :]
        self.written_lsn = lsn

    def flush(self) -> int:
        """Makes all that was written last; answers up to where."""
        if self.written_lsn == self.flushed_lsn:
            return self.flushed_lsn
        mark = _Mark(self._number + 1, self._begin, self.written_lsn, self._crc)
        self._has_stray_mark = True
        _write_all(self._fd, mark.pack(), self._segment_bytes + mark.number % 2 * _SLOT_BYTES)
        faults.point("safekeeper.flush.before_sync")
        for fd in self._to_sync:
            os.fdatasync(fd)
            os.close(fd)
        self._to_sync.clear()
        os.fdatasync(self._fd)
        if self._folder_is_dirty:
            sync_folder(self._folder)
            self._folder_is_dirty = False
        faults.point("safekeeper.flush.after_sync")
        self._number = mark.number
        self._has_stray_mark = False
        self._is_at(self.written_lsn)
        return self.flushed_lsn

    def close(self) -> None:
        """Lets go of the files. What was not flushed may be lost."""
        for fd in (*self._to_sync, self._fd):
            if fd >= 0:
                os.close(fd)
        self._to_sync.clear()
        self._fd, self._at = -1, None

    def cut(self, tli: int, lsn: int) -> None:
        """Removes what lies behind `lsn` on a timeline and all timelines above it, durably: it belongs to a life that is over."""
        self.close()
        segment, offset = divmod(lsn, self._segment_bytes)
        # From the newest down: killed in between, what is left has no hole.
        for path, (its_tli, its_segment) in sorted(self._files(), key=lambda each: each[1], reverse=True):
            if its_tli > tli or (
                its_tli == tli and (its_segment > segment or (its_segment == segment and offset == 0))
            ):
                path.unlink()
        if offset and (path := self._path(tli, segment)).exists():
            head = path.read_bytes()[:offset]
            draft = path.with_suffix(".cut")
            fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                _write_all(fd, head, 0)
                _write_all(fd, bytes(self._segment_bytes - offset + _TAIL_BYTES), offset)
                _write_all(fd, _Mark(1, lsn, lsn, 0).pack(), self._segment_bytes + _SLOT_BYTES)
                os.fsync(fd)
            finally:
                os.close(fd)
            draft.rename(path)
        sync_folder(self._folder)

    def begin_timeline(self, old_tli: int, new_tli: int, lsn: int) -> None:
        """The segment in which a new timeline begins holds what the old one had up to there, as PostgreSQL has it."""
        segment, offset = divmod(lsn, self._segment_bytes)
        self.close()
        self._turn_to(new_tli, segment)
        if offset:
            _write_all(self._fd, self._path(old_tli, segment).read_bytes()[:offset], 0)
        _write_all(self._fd, _Mark(1, lsn, lsn, 0).pack(), self._segment_bytes + _SLOT_BYTES)
        os.fsync(self._fd)
        sync_folder(self._folder)
        self._folder_is_dirty = False
        self.close()

    def read_segment(self, tli: int, segment: int) -> bytes:
        """A whole segment as it stands, zeros behind what was written. Raises FileNotFoundError."""
        with self._path(tli, segment).open("rb") as file:
            return file.read(self._segment_bytes)

    def read(self, tli: int, lsn: int, length: int) -> bytes:
        """WAL of one timeline as it stands. Raises FileNotFoundError."""
        pieces = []
        while length > 0:
            segment, offset = divmod(lsn, self._segment_bytes)
            with self._path(tli, segment).open("rb") as file:
                file.seek(offset)
                piece = file.read(min(length, self._segment_bytes - offset))
            if not piece:
                raise FileNotFoundError(f"segment {segment} of timeline {tli} ends before {format_lsn(lsn)}")
            pieces.append(piece)
            lsn, length = lsn + len(piece), length - len(piece)
        return b"".join(pieces)

    def segments_of(self, tli: int) -> list[int]:
        """Numbers of the segments of a timeline that are here, rising."""
        return sorted(segment for _, (its_tli, segment) in self._files() if its_tli == tli)

    def remove_before(self, lsn: int) -> int:
        """Removes whole segments below `lsn`; answers how many."""
        count = 0
        for path, (_, segment) in self._files():
            if (segment + 1) * self._segment_bytes <= lsn:
                path.unlink()
                count += 1
        return count

    def prepare(self) -> None:
        """Makes the next segment's file ahead of its need, in a thread: real zeros, so that a sync has no new blocks to note."""
        spare = self._folder / _SPARE
        if spare.exists():
            return
        draft = spare.with_suffix(f".{secrets.token_hex(4)}.draft")
        fd = self._create(draft, zeros=True)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.rename(spare)

    # What follows is how.

    def _is_at(self, lsn: int) -> None:
        self.written_lsn = self.flushed_lsn = self._begin = lsn
        self._crc = 0

    def _path(self, tli: int, segment: int) -> Path:
        return self._folder / segment_name(Segment(tli, segment), self._segment_bytes)

    def _files(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for path in list(self._folder.iterdir()):
            with contextlib.suppress(ValueError):  # a spare, a draft
                named = parse_segment_name(path.name, self._segment_bytes)
                yield path, (named.tli, named.number)

    def _turn_to(self, tli: int, segment: int) -> None:
        if self._fd >= 0:
            self._to_sync.append(self._fd)
            self._fd = -1
        path = self._path(tli, segment)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            if (
                os.fstat(self._fd).st_size < self._segment_bytes + _TAIL_BYTES
            ):  # somebody has cut it: marks have their place
                os.ftruncate(self._fd, self._segment_bytes + _TAIL_BYTES)
        except FileNotFoundError:
            try:
                (self._folder / _SPARE).rename(path)
                self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                # A lot is coming, and will fill it. Whole under its name, or not there: a short one would hold no marks.
                draft = path.with_suffix(".draft")
                draft.unlink(missing_ok=True)
                self._fd = self._create(draft, zeros=False)
                draft.rename(path)
            self._folder_is_dirty = True
        self._at = (tli, segment)

    def _sync(self, tli: int, begin: int, end: int) -> None:
        for segment in range(begin // self._segment_bytes, (end - 1) // self._segment_bytes + 1):
            with contextlib.suppress(FileNotFoundError), self._path(tli, segment).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(self._folder)

    def _create(self, path: Path, *, zeros: bool) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if zeros:
            _write_all(fd, bytes(self._segment_bytes + _TAIL_BYTES), 0)
        else:
            os.ftruncate(fd, self._segment_bytes + _TAIL_BYTES)
        return fd

    def _marks(self, tli: int, segment: int) -> list[_Mark]:
        with self._path(tli, segment).open("rb") as file:
            file.seek(self._segment_bytes)
            tail = file.read(_TAIL_BYTES)
        if len(tail) < _TAIL_BYTES:
            return []
        found = (_Mark.unpack(tail[at : at + _SLOT_BYTES]) for at in range(0, _TAIL_BYTES, _SLOT_BYTES))
        return [mark for mark in found if mark is not None]

    def _crc_of(self, tli: int, begin: int, end: int) -> int | None:
        """CRC of the WAL between two places; None when a segment of it is not there."""
        crc = 0
        try:
            while begin < end:
                segment, offset = divmod(begin, self._segment_bytes)
                piece = self.read_segment(tli, segment)[offset : offset + end - begin]
                crc = zlib.crc32(piece, crc)
                begin += len(piece)
        except FileNotFoundError:
            return None
        return crc


def _write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
