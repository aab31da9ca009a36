"""A lock between processes on this machine, held by an open file. Here: taking it. Not here: what it protects.
The system frees it when its holder dies, so there is no stale lock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from spg99.errors import Conflict


@contextlib.asynccontextmanager
async def locked(path: Path, *, timeout_seconds: float = 120.0, busy: str | None = None) -> AsyncIterator[None]:
    """Holds the lock on `path` (made if missing). Raises Conflict saying `busy` when another one keeps it that long."""
    import fcntl  # not on Windows, where this module must still import

    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Conflict(busy or f"Another process holds the lock {path}.") from None
            await asyncio.sleep(0.005)
        yield
    finally:
        os.close(fd)
