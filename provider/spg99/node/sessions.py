"""The sessions of a running server as the system shows them: who writes, who takes memory, and ending what one does.

Here: looking at processes and signalling them as pg_cancel_backend and pg_terminate_backend do. Not here: when (storage.py,
memory.py). No connection is needed: nobody can log in as superuser (access.py), and a server in need may admit nobody.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil

from spg99.protocol.safekeeper import ROLE as SAFEKEEPER_ROLE

WRITTEN_BYTES_MIN: Final = 1 << 16
"""A session that wrote less than this between two looks is no writer."""


def sessions(postmaster_pid: int) -> Iterator[psutil.Process]:
    """Processes that serve clients: only their titles hold where the client is, and parallel workers work for one."""
    for child in _children(postmaster_pid):
        with contextlib.suppress(psutil.Error):
            title = " ".join(child.cmdline())
            if ("[local]" in title and SAFEKEEPER_ROLE not in title) or "parallel worker" in title:
                yield child


def _children(pid: int) -> list[psutil.Process]:
    try:
        # One small file; psutil's way reads the parent of every process of the machine.
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(pid).children()
        return []
    found = []
    for child in pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(int(child)))
    return found


def cancel_writers(postmaster_pid: int, written: Mapping[int, int]) -> dict[int, int]:
    """Cancels the statement of every session that has written since the last look; answers what each has written by now.

    `written`: the last answer; a session that was not in it is only counted.
    """
    now: dict[int, int] = {}
    for session in sessions(postmaster_pid):
        with contextlib.suppress(psutil.Error, AttributeError, OSError):
            now[session.pid] = int(session.io_counters().write_chars)
            before = written.get(session.pid)
            if before is not None and now[session.pid] - before >= WRITTEN_BYTES_MIN:
                cancel(session)
    return now


def cancel(session: psutil.Process) -> None:
    """Ends the statement that runs, as pg_cancel_backend does. An idle session does not mind."""
    with contextlib.suppress(psutil.Error):
        session.send_signal(signal.SIGINT)


def terminate(session: psutil.Process) -> None:
    """Ends the session, as pg_terminate_backend does."""
    with contextlib.suppress(psutil.Error):
        session.send_signal(signal.SIGTERM)


def read_settings_again(postmaster_pid: int) -> None:
    """Makes the server read its files of settings, as pg_reload_conf does."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(postmaster_pid, signal.SIGHUP)
