"""Where the unix sockets of a data folder are. Here: a short folder when the data folder's own path is too long for them.
Not here: the sockets (cluster.py), who may enter a compute's own folder (accounts.py).

A socket's path has at most 107 bytes (103 on macOS). Where that fits, sockets are in `<data>/run`. Where it does not,
`<data>/run` is a symbolic link to a private folder of the runtime, `spg99-<hash of the data folder>`, so that every process of
the data folder finds the same one, whatever its environment: in /run for root, in $XDG_RUNTIME_DIR or else the system's
folder for temporary files for anybody else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

from spg99.errors import Internal
from spg99.postgres.accounts import make_folder

SOCKET_PATH_BYTES_MAX: Final = 107 if sys.platform == "linux" else 103
_LONGEST_BELOW: Final = len("/123456789012/.s.PGSQL.65535")
"""The folder of one cluster (12 signs at most) and its socket."""


def is_short_enough(folder: Path) -> bool:
    """Whether sockets can be in folders below this one. A comma parts hosts in a connection string."""
    return len(os.fsencode(folder)) + _LONGEST_BELOW <= SOCKET_PATH_BYTES_MAX and "," not in str(folder)


def socket_folder(data_dir: Path) -> Path:
    """The folder for the sockets of everything that runs in this data folder, made if need be; with no link in its path.

    Raises Internal when a folder of that name is there and is not ours alone.
    """
    link = data_dir.expanduser().resolve() / "run"
    if link.is_symlink():
        target = Path(os.readlink(link))
        with contextlib.suppress(OSError, Internal):  # not for us: another machine, another user, no session
            _make_private(target)
            return target.resolve()
    elif is_short_enough(link):
        make_folder(link, mode=0o755, durable=False)
        return link
    target = runtime_folder(data_dir)
    _make_private(target)
    _point(link, target)
    return target.resolve()


def release(data_dir: Path) -> None:
    """Removes the short folder when nothing is in it any more; the link stays, and it is made again when it is needed."""
    link = data_dir.expanduser().resolve() / "run"
    if link.is_symlink():
        with contextlib.suppress(OSError):
            Path(os.readlink(link)).rmdir()


def runtime_folder(data_dir: Path) -> Path:
    """Where the short folder of this data folder belongs; nothing is made."""
    resolved = data_dir.expanduser().resolve()
    name = "spg99-" + hashlib.sha256(os.fsencode(resolved)).hexdigest()[:12]
    candidates = [place / name for place in _runtime_places() if place.is_dir()]
    return next((folder for folder in candidates if is_short_enough(folder.resolve())), Path("/tmp") / name)  # noqa: S108


def _runtime_places() -> list[Path]:
    if os.geteuid() == 0:
        return [Path("/run"), Path("/var/run"), Path(tempfile.gettempdir())]
    session = os.environ.get("XDG_RUNTIME_DIR")
    return [*([Path(session)] if session else []), Path(tempfile.gettempdir())]


def _make_private(folder: Path) -> None:
    """Makes the folder, or sees that the one that is there is ours: in a folder for temporary files anybody may have been
    faster. Root's is open for walking, because another account runs PostgreSQL in there."""
    make_folder(folder, mode=0o711 if os.geteuid() == 0 else 0o700, durable=False)
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
        raise Internal(
            f"{folder} should hold sockets of SPG99, but it belongs to somebody else or others may write there. "
            "Remove it, or give a --data-dir with a shorter path."
        )


def _point(link: Path, target: Path) -> None:
    """Lets `<data>/run` lead to the short folder. A folder there is one of sockets, from before the data folder moved."""
    make_folder(link.parent, mode=0o755, durable=False)
    if link.is_dir() and not link.is_symlink():
        before = link.with_name(f".run-{secrets.token_hex(4)}")
        link.rename(before)
        shutil.rmtree(before, ignore_errors=True)
    draft = link.with_name(f".run-{secrets.token_hex(4)}")
    draft.symlink_to(target)
    draft.replace(link)
