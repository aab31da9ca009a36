"""Chunks of images that this node has fetched, for the next database that wants them. Here: files under the names of chunks, as they are in the store
(compressed and encrypted), and which go when there are too many. Not here: opening and checking them (images/keys.py), the store (objects/).

    <node>/chunks/<tenant_id>/<ab>/<name>

Names are keyed with the tenant's key, so databases of one tenant share what is equal, and those of two share nothing. Nothing here is the only
copy of anything: any file may be removed at any time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spg99.atomic_write import write_file
from spg99.images.manifest import checked_part

_KEEP_SHARE: Final = 0.9
"""What is left of the bound after a sweep, so that not each new chunk sweeps."""
_AGE_STEP_SECONDS: Final = 60
"""How exactly is remembered when a chunk was used last."""


@dataclass(frozen=True)
class _Kept:
    used_at: float
    size_bytes: int
    path: str


class ChunkCache:
    """At most about `bytes_max` of chunks; 0: none. For threads: all of it waits for the disk."""

    def __init__(self, root: Path, bytes_max: int) -> None:
        self._root = root
        self._bytes_max = bytes_max
        self._bytes: int | None = None
        """What is there, about; None: nobody has counted yet."""

    def get(self, tenant_id: str, name: str) -> bytes | None:
        """The chunk as it was put; None when it is not here. It may be damaged: whoever opens it sees that."""
        if not self._bytes_max:
            return None
        path = self._path(tenant_id, name)
        try:
            content = path.read_bytes()
            if time.time() - path.stat().st_mtime > _AGE_STEP_SECONDS:
                os.utime(path)
        except OSError:
            return None
        return content

    def put(self, tenant_id: str, name: str, sealed: bytes) -> None:
        """Keeps a chunk. A disk that is full is no error: then it is not kept."""
        if not self._bytes_max:
            return
        path = self._path(tenant_id, name)
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(path, sealed, mode=0o600, durable=False)
            if self._bytes is None:
                self._bytes = sum(kept.size_bytes for kept in self._kept())
            else:
                self._bytes += len(sealed)
            if self._bytes > self._bytes_max:
                self._sweep()

    def drop(self, tenant_id: str, name: str) -> None:
        """Removes a chunk that is not what it should be."""
        self._path(tenant_id, name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes all."""
        shutil.rmtree(self._root, ignore_errors=True)
        self._bytes = None

    def _sweep(self) -> None:
        """Removes those that were used longest ago."""
        kept = sorted(self._kept(), key=lambda one: one.used_at)
        total = sum(one.size_bytes for one in kept)
        for one in kept:
            if total <= self._bytes_max * _KEEP_SHARE:
                break
            with contextlib.suppress(OSError):
                os.unlink(one.path)
            total -= one.size_bytes
        self._bytes = total

    def _kept(self) -> list[_Kept]:
        found = []
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    status = os.stat(path, follow_symlinks=False)
                    found.append(_Kept(status.st_mtime, status.st_size, path))
        return found

    def _path(self, tenant_id: str, name: str) -> Path:
        return self._root / checked_part(tenant_id) / checked_part(name)[:2] / name
