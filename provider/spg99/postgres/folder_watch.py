"""Waits until something in a folder is written. Here: inotify, and a short pause where there is none. Not here: what is read then."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Final

_PAUSE_SECONDS: Final = 0.001  # where the system does not tell
_IN_MODIFY: Final = 0x2
_EVENTS_BYTES_MAX: Final = 64 * 1024


class FolderWatch:
    """Wakes one who waits when a file of the folder (not of folders in it) is written. It says "look again", never what is there.

    A context manager, on one event loop; what was written since it was entered is never missed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1
        self._written = asyncio.Event()

    def __enter__(self) -> FolderWatch:
        with contextlib.suppress(OSError):  # none for this user any more, or not this system: then it looks often
            self._fd = _watching(self._folder)
            asyncio.get_running_loop().add_reader(self._fd, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._fd)
            # In a thread: the kernel waits 10 to 20 ms for all who might still look at the watch, longer than a start of PostgreSQL.
            loop.run_in_executor(None, os.close, self._fd)
            self._fd = -1

    async def wait(self, seconds_max: float) -> None:
        """Returns once something was written since the last return, or after this time."""
        if self._fd < 0:
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        timer = asyncio.get_running_loop().call_later(seconds_max, self._written.set)
        try:
            await self._written.wait()
        finally:
            timer.cancel()
        self._written.clear()

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, _EVENTS_BYTES_MAX)
        self._written.set()


def _watching(folder: Path) -> int:
    """A file that can be read when the folder was written to. Raises OSError."""
    if sys.platform != "linux":
        raise OSError("no inotify")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if libc.inotify_add_watch(fd, os.fsencode(folder), _IN_MODIFY) < 0:
        code = ctypes.get_errno()
        os.close(fd)
        raise OSError(code, os.strerror(code), str(folder))
    return fd
