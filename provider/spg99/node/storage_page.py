"""The page that an agent and the storage library inside a server share: limits in, counts out.

Here: its layout and one aligned word at a time. Not here: which limit (storage_rules.py), who looks (storage.py), the
library itself (provider/storage_limit, with the same layout).
"""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from spg99.postgres import Account

MAGIC = b"SPG99SL1"
SENTENCE_BYTES_MAX = 199
UNLIMITED = (1 << 63) - 1


class _Layout(ctypes.Structure):
    _fields_ = [
        ("magic", ctypes.c_char * 8),
        *(
            (name, ctypes.c_int64)
            for name in (
                *("configured", "loaded", "limit", "reserve", "files_limit", "shm_limit", "log_limit"),
                *("data_measured", "other_measured", "files_measured"),
                *("data_grown", "other_grown", "files_grown", "shm", "refusals", "sentence_now"),
            )
        ),
        ("sentence", (ctypes.c_char * (SENTENCE_BYTES_MAX + 1)) * 2),
    ]


@dataclass(frozen=True)
class Footprint:
    """What the files of one data folder take, by length."""

    data_bytes: int
    """Relations and temporary files."""
    other_bytes: int
    """All else: WAL above all."""
    files: int
    """Relations and temporary files, counted."""

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.data_bytes + self.other_bytes


class StoragePage:
    """A page that is mapped here. Its words are read and written whole; nobody else writes the agent's words."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._map = mmap.mmap(fd, ctypes.sizeof(_Layout))
        self._page = _Layout.from_buffer(self._map)

    @classmethod
    def create(cls, path: Path, account: Account | None) -> StoragePage:
        """A new page in place of an old one (a server that still maps the old one keeps it). It limits nothing yet."""
        draft = path.with_name(path.name + ".draft")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(fd, ctypes.sizeof(_Layout))
            if account is not None:
                os.fchown(fd, account.uid, account.gid)
            page = cls(path, fd)
            page._page.magic = MAGIC
            page._page.limit = page._page.files_limit = UNLIMITED
            draft.rename(path)
            return page
        finally:
            os.close(fd)

    @classmethod
    def open(cls, path: Path) -> StoragePage | None:
        """The page of a server that was started by a former agent; None when there is none (an older agent's server)."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            if os.fstat(fd).st_size < ctypes.sizeof(_Layout):
                return None
            page = cls(path, fd)
            return page if page._page.magic == MAGIC else None
        finally:
            os.close(fd)

    @property
    def is_loaded(self) -> bool:
        """Whether a server runs with the library: the limit holds exactly."""
        return bool(self._page.loaded)

    @property
    def configured_bytes(self) -> int:
        """The database's own limit, whatever the node allows now. 0 = none."""
        return int(self._page.configured)

    @property
    def limit_bytes(self) -> int:
        """The limit that holds now."""
        return int(self._page.limit)

    @property
    def refusals(self) -> int:
        """How many calls the library has refused since the server's start."""
        return int(self._page.refusals)

    def footprint(self) -> Footprint:
        """What the files take now: the last measurement and what the library has counted since."""
        page = self._page
        return Footprint(
            max(0, page.data_measured + page.data_grown),
            max(0, page.other_measured + page.other_grown),
            max(0, page.files_measured + page.files_grown),
        )

    def measured(self, seen: Footprint, *, grown: tuple[int, int, int]) -> None:
        """Takes over a measurement. `grown`: what `grown()` answered before it."""
        page = self._page
        page.data_measured = seen.data_bytes - grown[0]
        page.other_measured = seen.other_bytes - grown[1]
        page.files_measured = seen.files - grown[2]

    def grown(self) -> tuple[int, int, int]:
        """What the library has counted since the server's start: bytes of data, other bytes, files."""
        return self._page.data_grown, self._page.other_grown, self._page.files_grown

    def configure(
        self, configured_bytes: int, *, reserve_bytes: int, files: int, shared_memory_bytes: int, log_bytes: int
    ) -> None:
        """What does not change while the node fills. 0 = no limit of that kind."""
        page = self._page
        page.configured = configured_bytes
        page.reserve = reserve_bytes
        page.files_limit = files or UNLIMITED
        page.shm_limit = shared_memory_bytes
        page.log_limit = log_bytes

    def change(self, configured_bytes: int, *, reserve_bytes: int, files: int) -> None:
        """Another limit of the database's own."""
        self._page.configured = configured_bytes
        self._page.reserve = reserve_bytes
        self._page.files_limit = files or UNLIMITED

    def close(self) -> None:
        """Lets go of the page; the server keeps its own view."""
        del self._page
        self._map.close()

    def limit(self, limit_bytes: int, sentence: str) -> None:
        """Sets the limit that holds from now on, and what a client reads who meets it."""
        page = self._page
        text = sentence.encode()[:SENTENCE_BYTES_MAX]
        if page.sentence[page.sentence_now].value != text:
            other = 1 - page.sentence_now
            page.sentence[other].value = text
            page.sentence_now = other
        page.limit = limit_bytes


def measure(data_dir: Path) -> Footprint:
    """Walks through a data folder. Files come and go meanwhile."""
    data = other = files = 0
    pending = [(str(data_dir), False)]
    while pending:
        folder, is_data = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        at_top = folder == str(data_dir)
                        pending.append((entry.path, entry.name in _DATA_FOLDERS if at_top else is_data))
                    elif entry.is_file(follow_symlinks=False):
                        size = _length(entry)
                        data, other, files = (data + size, other, files + 1) if is_data else (data, other + size, files)
        except FileNotFoundError:
            continue
    return Footprint(data, other, files)


_DATA_FOLDERS = ("base", "global", "pg_tblspc")


def _length(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
