"""A reserve of disk: a file that is given up when there is no other room, so that PostgreSQL and whoever makes room can go on.

Here: how large it is, when it goes and comes back, the file. Not here: who else stops growing by then (node/storage_rules.py).
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spg99 import log

MB: Final = 1 << 20

_log = log.get("reserve")


@dataclass(frozen=True)
class Disk:
    """A file system, as an ordinary user may fill it."""

    total_bytes: int
    free_bytes: int


def disk_of(folder: Path) -> Disk:
    """The file system below a folder."""
    seen = shutil.disk_usage(folder)
    return Disk(seen.total, seen.free)


def reserve_bytes(total_bytes: int) -> int:
    """How large the reserve of a file system is."""
    return min(total_bytes // 16, 64 * MB)


def is_needed(disk: Disk, *, is_there: bool) -> bool:
    """Whether the reserve should be given up now. It comes back when there is room for it and as much again, twice."""
    own = reserve_bytes(disk.total_bytes)
    return disk.free_bytes < own if is_there else disk.free_bytes < 3 * own


class Reserve:
    """The reserve in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_given_up = False

    def keep(self, disk: Disk) -> bool:
        """Makes it or gives it up, as there is room; answers whether that has changed what is free. Raises nothing."""
        there = self._path.exists()
        needed = is_needed(disk, is_there=there)
        if there == (not needed):
            self.is_given_up = needed
            return False
        if there:
            self._path.unlink(missing_ok=True)
            _log.error("disk nearly full: the reserve is given up", path=str(self._path), free_bytes=disk.free_bytes)
        else:
            self._make(reserve_bytes(disk.total_bytes))
        self.is_given_up = not self._path.exists()
        return True

    def is_missed(self, disk: Disk) -> bool:
        """Whether it is not there for want of room. For who does not keep it."""
        return not self._path.exists() and is_needed(disk, is_there=False)

    def _make(self, size: int) -> None:
        try:
            _allocate(self._path, size)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            _log.warning("cannot keep a reserve", path=str(self._path), reason=str(error))


def _allocate(path: Path, size: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            try:
                return os.posix_fallocate(fd, 0, size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
        for _ in range(0, size, MB):
            os.write(fd, b"\1" * MB)
    finally:
        os.close(fd)
