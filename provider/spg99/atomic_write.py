"""Files and folders that are there whole or not at all, also after a power cut. Here: every such write, each with a draft,
a sync of it, a rename, and a sync of the folder that holds the name. Not here: what stands in them.

"It is there" may mean "it is complete" only for what was written by this file: a rename may reach the disk before the
content does, and the name may reach it not at all (PostgreSQL's `durable_rename` keeps the same order).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

DRAFT_SUFFIX = ".tmp"
_NO_SYNC = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF, errno.EINVAL, errno.ENOTSUP}
"""What systems answer that cannot sync a folder (Windows, some network file systems). PostgreSQL goes on then, too."""


def write_file(
    path: Path,
    content: str | bytes,
    *,
    mode: int | None = None,
    durable: bool = True,
    draft_folder: Path | None = None,
    before_rename: Callable[[], None] | None = None,
) -> None:
    """Puts a whole new file in the place of what was there: a reader sees the one or the other.

    `mode` holds from the first moment; None = as the umask leaves it. `durable`: the same holds through a power cut, and
    the new one lasts once this has returned. `draft_folder` (same file system): for folders in which each file counts.
    Raises OSError, and then the old file is as it was.
    """
    draft = _draft(path, content, mode, durable=durable, folder=draft_folder)
    try:
        if before_rename is not None:
            before_rename()
        os.replace(draft, path)
    except BaseException:
        _discard(draft)
        raise
    if durable:
        sync_folder(path.parent)


def write_if_changed(
    path: Path, content: bytes, *, mode: int, durable: bool = True, draft_folder: Path | None = None
) -> bool:
    """As `write_file`, unless just this content stands there; answers whether it wrote.

    For copies of what we were installed with: one that a power cut has damaged is mended by the next start.
    """
    try:
        if path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
            return False
    except FileNotFoundError:
        pass
    write_file(path, content, mode=mode, durable=durable, draft_folder=draft_folder)
    return True


def create_file(path: Path, content: str | bytes, *, mode: int, draft_folder: Path | None = None) -> bool:
    """Writes a file that is not there yet, durably; answers False, changing nothing, where another process was first."""
    draft = _draft(path, content, mode, durable=True, folder=draft_folder)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        _discard(draft)
        sync_folder(path.parent)  # also for the one who came second: the first may not have come so far
    return True


def make_folders(folder: Path, *, mode: int = 0o777) -> None:
    """Makes a folder, and those above it that are missing, so that their names last: a file is no safer than its folder."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=mode, exist_ok=True)
        sync_folder(each.parent)


def install_folder(draft: Path, home: Path) -> None:
    """Gives a finished folder its name. Whoever sees the name sees all that is in it. Raises OSError when it is taken."""
    sync_file_system(draft)
    draft.rename(home)
    sync_folder(home.parent)


def sync_folder(folder: Path) -> None:
    """Makes names in this folder last through a power cut."""
    try:
        fd = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        if error.errno in _NO_SYNC:
            return
        raise
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(fd)


def sync_file_system(folder: Path) -> None:
    """Makes everything written on this file system last: one call instead of an fsync for each of 700 files."""
    if sys.platform == "linux":
        import ctypes

        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), str(folder))
        finally:
            os.close(fd)
    else:
        os.sync()


def _draft(path: Path, content: str | bytes, mode: int | None, *, durable: bool, folder: Path | None) -> Path:
    # A name of its own for each: two who write one file at once must not write into one draft.
    draft = (folder or path.parent) / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{DRAFT_SUFFIX}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(draft, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.chmod(draft, mode)  # before there is anything to read; whatever the umask says
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        _discard(draft)
        raise
    return draft


def _discard(draft: Path) -> None:
    with contextlib.suppress(OSError):
        draft.unlink()
