"""Which objects the program of this run declares, as far as any provider process of its engine has heard. Here: telling each other.
Not here: what follows from it (replacements.py).

An engine starts a process for each explicit provider, and when a provider itself is replaced, the deletion of what it made is asked
of the old one's process and the declaration told to the new one's. Both run at the same time, on one machine, for one engine. So each
writes what it hears into a file of its own, whose name begins with the engine's address. A file counts while its writer lives,
which a lock on it shows; so nobody else's run is ever meant. Without a folder (none can be made) a process knows its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LEFT_SECONDS = 60.0
"""So old is a file before its writer, who does not lock it, is taken to be gone: one that was just made is not locked yet."""


class Declared(NamedTuple):
    """What a program says of one object."""

    agreed: bool
    """It agrees to lose its data."""
    uid: str | None
    """The object that the state has for it; None: none, or the engine did not say."""


class Declarations:
    """What the processes of one engine have heard, by the declaration's URN."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where they meet; None: the user's own in the system's temporary folder."""
        self._folder = folder
        self._engine = ""
        self._own: dict[str, Declared] = {}
        self._file: IO[str] | None = None

    def meet(self, engine_address: str) -> None:
        """From now on with the other processes of this engine."""
        if engine_address and not self._engine and fcntl is not None:
            self._folder = self._folder or _private_folder()
            self._engine = re.sub(r"[^A-Za-z0-9]", "-", engine_address) if self._folder is not None else ""

    def note(self, urn: str, declared: Declared) -> None:
        """The program declares this."""
        if self._own.get(urn) == declared:
            return
        self._own[urn] = declared
        with contextlib.suppress(OSError):
            if self._folder is not None and self._engine:
                self._file = self._file or _locked(self._folder, f"{self._engine}-")
                self._file.write(json.dumps([urn, *declared]) + "\n")
                self._file.flush()

    def of(self, urn: str) -> Declared | None:
        """What the program says of a declaration; None where no process has heard of it."""
        if urn in self._own or self._folder is None or not self._engine:
            return self._own.get(urn)
        mine = None if self._file is None else Path(self._file.name)
        found: dict[str, Declared] = {}
        for path in sorted(self._folder.glob(f"{self._engine}-*")):
            if path != mine:
                found.update(_declared_in(path))
        return found.get(urn)


def _private_folder() -> Path | None:
    """A folder of this user alone; None when there is none to be had."""
    user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"spg99-engines-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        seen = folder.lstat()
    except OSError:
        return None
    return folder if stat.S_ISDIR(seen.st_mode) and seen.st_uid == user and not seen.st_mode & 0o077 else None


def _locked(folder: Path, prefix: str) -> IO[str]:
    """A file of this process, which goes with it. What processes that were killed have left goes now."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_SECONDS and not _is_locked(path):
                path.unlink()
    file = tempfile.NamedTemporaryFile("w", dir=folder, prefix=prefix)  # noqa: SIM115 - open as long as the process
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _declared_in(path: Path) -> dict[str, Declared]:
    """What another process has written; nothing when it lives no more."""
    with contextlib.suppress(OSError, ValueError):
        if _is_locked(path):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            return {urn: Declared(agreed, uid) for urn, agreed, uid in lines}
    return {}
