"""What of a data folder belongs into an image, and which of its files have changed since they were last seen. Here: names and
times of files. Not here: what is in them.

A file counts as unchanged by size, times and inode, as git's index has it: the kernel sets the time of change at every write, and
nobody can set that one back. PostgreSQL changes files by write calls only. A file that had changed just before it was seen might
change once more within the same tick of the clock: it counts as changed (git's "racy" entries).
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from spg99.errors import BadRequest
from spg99.postgres.control_file import LAZY_NAME, NAME

_RACY_NS: Final = 50_000_000
"""Longer than the longest tick of a kernel's clock (10 ms)."""

# What PostgreSQL's own base backup leaves out (backup/basebackup.c), and why: the next start makes it anew, or it is about
# processes that are gone. pg_stat stays: without it autovacuum and the planner begin blind.
_EMPTY_DIRS: Final = frozenset(
    {"pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"}
    | {"pg_wal/archive_status", "pg_wal/summaries"}
)
_LEFT_OUT: Final = frozenset(
    {"postmaster.pid", "postmaster.opts", "postgresql.auto.conf.tmp", "current_logfiles", "current_logfiles.tmp"}
    | {"backup_label", "tablespace_map", "backup_manifest"}
)
_LEFT_OUT_ANYWHERE: Final = re.compile(r"pg_internal\.init.*|pgsql_tmp.*|t\d+_\d+(_\w+)?(\.\d+)?")
_HISTORY: Final = re.compile(r"[0-9A-F]{8}\.history")
_WAL: Final = "pg_wal/"


class Signature(NamedTuple):
    """By which a file is known to be the same."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True)
class Seen:
    """All files of a folder that belong into an image (and all of pg_wal), as they were at one moment."""

    at_ns: int
    files: dict[str, Signature]

    def is_unchanged(self, path: str, now: Signature, *, is_copy: bool) -> bool:
        """Whether the file is what it was. `is_copy`: seen was another folder, which was copied with its times of change of content."""
        before = self.files.get(path)
        if before is None or before.size_bytes != now.size_bytes or before.mtime_ns != now.mtime_ns:
            return False
        newest = before.mtime_ns if is_copy else max(before.mtime_ns, before.ctime_ns)
        return newest < self.at_ns - _RACY_NS and (is_copy or before == now)


@dataclass(frozen=True)
class FolderState:
    """A data folder's names: modes of folders and files, and what was seen of the files."""

    dirs: dict[str, int]
    modes: dict[str, int]
    seen: Seen


def see(data_dir: Path) -> Seen:
    """The signatures of a stopped folder's files, for `capture`."""
    return read_state(data_dir).seen


def read_state(data_dir: Path) -> FolderState:
    """What is in the folder and belongs into an image; of pg_wal all segments. Raises BadRequest for links and other things that no
    image can hold."""
    at_ns = time.time_ns()  # before the first look: what changes from here on counts as changed
    dirs: dict[str, int] = {}
    modes: dict[str, int] = {}
    files: dict[str, Signature] = {}
    for path, status in _walk(str(data_dir), ""):
        if stat.S_ISDIR(status.st_mode):
            dirs[path] = stat.S_IMODE(status.st_mode)
        elif stat.S_ISREG(status.st_mode):
            modes[path] = stat.S_IMODE(status.st_mode)
            files[path] = Signature(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        elif path.startswith("pg_tblspc/"):
            raise BadRequest(
                "The database has a tablespace, whose files lie outside of its folder: no image can be made of it. "
                "Move its tables back (ALTER TABLE ... SET TABLESPACE pg_default) and drop the tablespace."
            )
        else:
            raise BadRequest(f"{data_dir / path} is no file and no folder: no image can be made of it.")
    return FolderState(dirs, modes, Seen(at_ns, files))


def _walk(root: str, above: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(f"{root}/{above}") as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = above + entry.name
        if path == LAZY_NAME:
            path = NAME
        if _LEFT_OUT_ANYWHERE.fullmatch(entry.name) or path in _LEFT_OUT:
            continue
        status = entry.stat(follow_symlinks=False)
        yield path, status
        if stat.S_ISDIR(status.st_mode) and path not in _EMPTY_DIRS:
            yield from _walk(root, path + "/")


def is_wal_left_out(path: str, segments: frozenset[str]) -> bool:
    """Whether a file of pg_wal stays out of the image: all but these segments and the histories of timelines."""
    name = path.removeprefix(_WAL)
    return path.startswith(_WAL) and name not in segments and not _HISTORY.fullmatch(name)
