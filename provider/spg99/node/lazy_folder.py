"""A data folder whose large files are not all here: which chunk is which part of which file, and putting one there. Here: the agent's part of the rules
(provider/lazy_pages/lazy_pages.c has them all). Not here: fetching (page_fetcher.py), the map's bytes (lazy_map.py).
"""

from __future__ import annotations

import bisect
import os
import re
from pathlib import Path
from typing import Final

from spg99.errors import Damaged
from spg99.images import Known, Manifest
from spg99.images.manifest import CHUNK_BYTES, ChunkedFile
from spg99.node import kept_files
from spg99.node.folder import TimelineFolder
from spg99.node.lazy_map import ABSENT, CLEAN, DIRTY, Entry, LazyMap, file_id
from spg99.postgres.control_file import LAZY_NAME, NAME

_RELATION: Final = re.compile(r"(base/\d+|global)/\d+(_fsm|_vm|_init)?(\.\d+)?")


def lazy_files(manifest: Manifest) -> list[ChunkedFile]:
    """Those of an image's large files that can be left out: relations. All else is read past the library, or at once."""
    return [
        file for file in manifest.chunked if _RELATION.fullmatch(file.path) and file.stored_bytes == file.size_bytes
    ]


def opened(timeline: TimelineFolder, *, has_server: bool = False) -> LazyFolder | None:
    """That of a timeline; None when all of its files are here. One that no server runs on, and of which by now nothing is absent, becomes so. Raises Damaged when
    it cannot be told what is here: the files are a cache, and of no use."""
    is_lazy = (timeline.data_dir / LAZY_NAME).exists()
    if not is_lazy and not timeline.map_file.exists():
        return None
    found = LazyMap.open(timeline.map_file)
    known = Known.load(kept_files.known_file(timeline))
    if found is None or known is None or not is_lazy or not found.is_of(timeline.data_dir):
        raise Damaged(f"Nobody can tell which of the files of {timeline.timeline_id} are here.")
    if has_server or found.has_absent:
        return LazyFolder(timeline.data_dir, found, known.manifest)
    found.close()
    timeline.map_file.unlink()
    (timeline.data_dir / LAZY_NAME).rename(timeline.data_dir / NAME)
    return None


def states_of(timeline: TimelineFolder) -> dict[str, bytes] | None:
    """For an image of a stopped timeline: a byte per chunk of its large files; None when all of them are here. Raises Damaged."""
    if not timeline.map_file.exists() and not (timeline.data_dir / LAZY_NAME).exists():
        return None
    found = LazyMap.open(timeline.map_file)
    if found is None or not found.is_of(timeline.data_dir):
        raise Damaged(f"Nobody can tell which of the files of {timeline.timeline_id} are here.")
    try:
        return found.states_by_path(timeline.data_dir)
    finally:
        found.close()


class LazyFolder:
    """One such folder. Several threads may put chunks, never the same one twice at a time."""

    def __init__(self, data_dir: Path, found: LazyMap, manifest: Manifest) -> None:
        self.data_dir = data_dir
        self.map = found
        self._fd = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # it may be renamed
        self._names = {file.path: file.chunks for file in manifest.chunked}
        self._firsts = [entry.first for entry in found.entries]
        self._is_open = True
        self.chunk_numbers = {
            (entry.path, number): entry.first + number for entry in found.entries for number in range(entry.count)
        }

    def name_of(self, chunk: int) -> str | None:
        """Of a chunk of the map; None when the image does not have it."""
        entry = self._entry(chunk)
        names = self._names.get(entry.path, ())
        return names[chunk - entry.first] if chunk - entry.first < len(names) else None

    def end_of_file(self, chunk: int) -> int:
        """The number behind the last chunk of this chunk's file."""
        entry = self._entry(chunk)
        return entry.first + entry.count

    def put(self, chunk: int, raw: bytes) -> bool:
        """Puts the content of a chunk, which was checked, into its file, unless it is there; False when the file is not any more. Raises Damaged, OSError."""
        entry = self._entry(chunk)
        at = (chunk - entry.first) * CHUNK_BYTES
        if len(raw) != min(CHUNK_BYTES, entry.size_bytes - at):
            raise Damaged(f"The chunk of {entry.path} at {at} has {len(raw)} bytes.")
        with self.map.locked(chunk):
            if self.map.state(chunk) != ABSENT:
                return True
            try:
                fd = os.open(entry.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._fd)
            except FileNotFoundError:
                return False  # dropped meanwhile
            try:
                if file_id(fd) != entry.file_id:
                    return False  # another file of that name
                room = os.fstat(fd).st_size - at
                if room <= 0:  # cut meanwhile: what comes there is the server's own
                    self.map.mark(chunk, DIRTY)
                    return True
                _write(fd, memoryview(raw)[:room], at)
            finally:
                os.close(fd)
            self.map.mark(chunk, CLEAN)
            return True

    def close(self) -> None:
        """Nobody puts anything any more."""
        if self._is_open:
            self._is_open = False
            os.close(self._fd)
            self.map.close()

    def _entry(self, chunk: int) -> Entry:
        return self.map.entries[bisect.bisect_right(self._firsts, chunk) - 1]


def _write(fd: int, part: memoryview, at: int) -> None:
    while part:
        written = os.pwrite(fd, part, at)
        part, at = part[written:], at + written
