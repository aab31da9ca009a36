"""The map of a data folder that was laid out lazily: which chunks of its large files are here, and which were written since.

Here: its layout, one byte at a time, and who is the file that an entry was made for. Not here: fetching (page_fetcher.py), the library inside the server
(provider/lazy_pages, with the same layout and the rules), images (images/).

The agent and all processes of the server have it mapped together. A chunk's state is one byte, which only grows: ABSENT, CLEAN (as in the
image), DIRTY. The agent turns ABSENT into CLEAN under the chunk's lock; all else is the server's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from spg99.images.chunking import ABSENT, CLEAN, DIRTY
from spg99.images.manifest import CHUNK_BYTES, ChunkedFile
from spg99.postgres import Account

__all__ = ["ABSENT", "CLEAN", "DIRTY", "Counters", "Entry", "FileId", "LazyMap", "file_id"]

MAGIC: Final = b"SPG99LP1"
_HEAD: Final = struct.Struct("<8s4Q4IQqII4I")
_COUNTERS_AT: Final = _HEAD.size - 16
_ENTRY: Final = struct.Struct("<QqIIQIII84s")
_DEAD_AT: Final = 40
_F_OFD_SETLKW: Final = 38
_LOCK: Final = struct.Struct("hhqqi4x")
_STATX_BTIME: Final = 0x800
_STATX_WANTED: Final = 0x7FF | _STATX_BTIME
_AT_EMPTY_PATH: Final = 0x1000


class FileId(NamedTuple):
    """By which a file is the very one, and not another of its name: a number may be given again, a time of birth not."""

    inode: int
    born_seconds: int
    born_nanoseconds: int


def file_id(fd: int) -> FileId | None:
    """Of an open file; None where the file system does not keep times of birth."""
    if (statx := _statx()) is None:
        return None
    buffer = ctypes.create_string_buffer(256)
    if statx(fd, b"", _AT_EMPTY_PATH, _STATX_WANTED, buffer) != 0:
        return None
    (mask,) = struct.unpack_from("<I", buffer, 0)
    if not mask & _STATX_BTIME:
        return None
    (inode,) = struct.unpack_from("<Q", buffer, 32)
    return FileId(inode, *struct.unpack_from("<qI", buffer, 80))


def _file_id_of(path: Path) -> FileId:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if (found := file_id(fd)) is None:
            raise OSError(errno.ENOTSUP, "The file system keeps no times of birth", str(path))
        return found
    finally:
        os.close(fd)


def has_birth_times(folder: Path) -> bool:
    """Whether the file system of this folder keeps times of birth."""
    with contextlib.suppress(OSError):
        _file_id_of(folder)
        return True
    return False


@functools.cache
def _statx() -> ctypes._NamedFuncPointer | None:
    try:
        return ctypes.CDLL(None).statx
    except AttributeError:  # no Linux, or an old libc
        return None


class Counters(NamedTuple):
    """What the servers on this folder have counted."""

    loaded: int
    """1 once a server runs with the library."""
    asked: int
    """Chunks that somebody had to wait for."""
    waited: int
    """Tries that were not answered with a chunk."""
    failed: int
    """Waits that ended with an error of a statement."""


@dataclass(frozen=True)
class Entry:
    """One file of the map."""

    path: str
    file_id: FileId
    size_bytes: int
    first: int
    """The number of its first chunk."""
    count: int


class LazyMap:
    """A map that is mapped here."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        """For locks of one chunk each: `locked`."""
        self._map = mmap.mmap(fd, 0)
        magic, size, self._entries_at, self._states_at, self._used_at, entries, self.chunks, _, _, *folder = (
            _HEAD.unpack_from(self._map)[:13]
        )
        if magic != MAGIC or size != len(self._map):
            raise ValueError(f"{path} is no map of a lazy folder")
        self.folder_id = FileId(*folder[:3])
        self.entries = [self._entry(number) for number in range(entries)]

    @classmethod
    def open(cls, path: Path) -> LazyMap | None:
        """That of a folder; None when it was laid out whole, or the map cannot be read."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            return cls(path, fd)
        except (ValueError, OSError, struct.error):
            os.close(fd)
            return None

    @classmethod
    def create(cls, path: Path, data_dir: Path, files: Sequence[ChunkedFile], account: Account | None) -> None:
        """A map for these files, of which no chunk is here. Raises OSError where files cannot be told apart."""
        rows, first = [], 0
        for file in sorted(files, key=lambda file: file.path.encode()):
            found = _file_id_of(data_dir / file.path)
            rows.append(_ENTRY.pack(*found, 0, file.size_bytes, first, len(file.chunks), 0, file.path.encode()))
            first += len(file.chunks)
        states_at = _HEAD.size + len(rows) * _ENTRY.size
        size = states_at + 2 * first
        places = (size, _HEAD.size, states_at, states_at + first)
        head = _HEAD.pack(MAGIC, *places, len(rows), first, CHUNK_BYTES, 0, *_file_id_of(data_dir), 0, *[0] * 4)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if account is not None:
                os.fchown(fd, account.uid, account.gid)
            os.ftruncate(fd, size)
            os.pwrite(fd, head + b"".join(rows), 0)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Lets go of it; servers keep their own view."""
        self._map.close()
        os.close(self.fd)

    def is_of(self, data_dir: Path) -> bool:
        """Whether this is the folder that was laid out: of a copy no file would be known."""
        with contextlib.suppress(OSError):
            return _file_id_of(data_dir) == self.folder_id
        return False

    @property
    def counters(self) -> Counters:
        """Of all servers that ran on this folder."""
        return Counters(*struct.unpack_from("<4I", self._map, _COUNTERS_AT))

    def state(self, chunk: int) -> int:
        """Of one chunk."""
        return int(self._map[self._states_at + chunk])

    @property
    def has_absent(self) -> bool:
        """Whether any chunk of a file that was not dropped is not here."""
        return any(
            bytes((ABSENT,)) in self._map[self._states_at + entry.first : self._states_at + entry.first + entry.count]
            for number, entry in enumerate(self.entries)
            if not self._is_dead(number)
        )

    def mark(self, chunk: int, state: int) -> None:
        """For whoever has the chunk's lock and has seen that it is absent."""
        self._map[self._states_at + chunk] = state

    def used(self) -> bytes:
        """A byte per chunk: 1 when a server has read or written it since `forget_use`."""
        return self._map[self._used_at : self._used_at + self.chunks]

    def forget_use(self) -> None:
        """Before a server's start."""
        self._map[self._used_at : self._used_at + self.chunks] = bytes(self.chunks)

    @contextlib.contextmanager
    def locked(self, chunk: int) -> Iterator[None]:
        """Holds the lock of one chunk. A kill lets go of it. Of this process only one may want the same chunk at a time."""
        fcntl.fcntl(self.fd, _F_OFD_SETLKW, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, chunk, 1, 0))
        try:
            yield
        finally:
            fcntl.fcntl(self.fd, _F_OFD_SETLKW, _LOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, chunk, 1, 0))

    def states_by_path(self, data_dir: Path) -> dict[str, bytes]:
        """A byte per chunk of each file that is still the one its entry was made for."""
        found = {}
        for number, entry in enumerate(self.entries):
            if self._is_dead(number):
                continue
            with contextlib.suppress(FileNotFoundError):
                if _file_id_of(data_dir / entry.path) == entry.file_id:
                    begin = self._states_at + entry.first
                    found[entry.path] = self._map[begin : begin + entry.count]
        return found

    def _is_dead(self, number: int) -> bool:
        (dead,) = struct.unpack_from("<I", self._map, self._entries_at + number * _ENTRY.size + _DEAD_AT)
        return bool(dead)

    def _entry(self, number: int) -> Entry:
        inode, seconds, nanoseconds, _, size, first, count, _, name = _ENTRY.unpack_from(
            self._map, self._entries_at + number * _ENTRY.size
        )
        path = name.rstrip(b"\0").decode()
        return Entry(path, FileId(inode, seconds, nanoseconds), size, first, count)
