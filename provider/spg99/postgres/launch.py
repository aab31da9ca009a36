"""How a server's process is made: as which user, with which bounds. Here: what stands before its command line. Not here: which
bounds (node/confinement.py), which user (accounts.py), the program itself (provider/server_launch)."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from spg99.postgres.accounts import Account

PROGRAM: Final = Path(__file__).with_name("spg99_launch")
"""Built at set-up by provider/server_launch/build where there is a C compiler."""
_TRY_SECONDS: Final = 30
_SETPRIV_OPTIONS: Final = "--reuid {uid} --regid {gid} --clear-groups"


def launched(
    command: Sequence[str | Path], account: Account | None, *, data_bytes_max: int | None = None
) -> tuple[list[str | Path], dict[str, Any]]:
    """A command and options that make subprocess.Popen run it as this account (None: ourselves), with at most this much memory
    of its own a process (RLIMIT_DATA; None: as much as we may have), in the way that takes the least time.

    To change the user itself, Popen must fork: the copy of an agent's memory map takes 2 to 10 ms of a wake, in which nothing
    else moves. A program that changes the user needs no copy (vfork). Ours is a tenth of a bare start faster than util-linux's
    setpriv and a shell. (Bounding another user's process from outside takes a capability that root in a container seldom has.)
    """
    if sys.platform != "linux":
        data_bytes_max = None
    if account is None and data_bytes_max is None:
        return [*command], {}
    user = "-" if account is None else f"{account.uid}:{account.gid}"
    kilobytes = "-" if data_bytes_max is None else str(data_bytes_max >> 10)
    if _runs(PROGRAM, user):
        return [PROGRAM, user, kilobytes, *command], {}
    if data_bytes_max is not None:
        # No core files: that of one session is as large as its memory.
        command = ["/bin/sh", "-c", f'ulimit -c 0; ulimit -d {kilobytes}; exec "$@"', "postgres", *command]
    if account is None:
        return [*command], {}
    if (setpriv := _setpriv(account.uid, account.gid)) is None:
        return [*command], account.popen_options()
    return [setpriv, *_SETPRIV_OPTIONS.format(uid=account.uid, gid=account.gid).split(), "--", *command], {}


@functools.cache
def _runs(program: Path, user: str) -> bool:
    """Whether the program was built, for this machine, and may do here what is wanted of it."""
    return program.is_file() and _does([str(program), user, "-", shutil.which("true") or "true"])


@functools.cache
def _setpriv(uid: int, gid: int) -> str | None:
    """The program, where it does what is wanted of it: busybox has one of that name which knows fewer options."""
    program = shutil.which("setpriv")
    if program is None or os.geteuid() != 0:
        return None
    return program if _does([program, *_SETPRIV_OPTIONS.format(uid=uid, gid=gid).split(), "--", "true"]) else None


def _does(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=_TRY_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
