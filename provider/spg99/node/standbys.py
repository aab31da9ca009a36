"""Whom a compute's commits wait for, in a file that PostgreSQL reads again while it runs. Here: writing it, having it read, and being sure that it was.
Not here: who they should be (wal/quorum.py), changing members (members.py).

On the command line, where our other settings are, it could not change without a restart; and postgresql.auto.conf is written anew when a database may not grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Final

import psutil

from spg99.atomic_write import write_file
from spg99.errors import CannotWake
from spg99.node.folder import TimelineFolder
from spg99.postgres.logfile import read_since
from spg99.postgres.postmaster import family
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import configuration_of
from spg99.wal.quorum import standbys

READ_SECONDS_MAX: Final = 10.0
_AGAIN_SECONDS: Final = 0.01
_CHANGED: Final = 'parameter "synchronous_standby_names" changed to'
_SENDER: Final = f"walsender {said.ROLE}"


def setting(configuration: said.Configuration) -> str:
    """`synchronous_standby_names`: a commit waits until enough of the safekeepers have flushed it, of either set while they change.

    Of two sets those that are in both count as up: who joins has nothing yet, who leaves may be gone."""
    members = configuration_of(configuration)
    wanted = standbys(members, frozenset.intersection(*(each.ids for each in members.sets)))
    names = ", ".join(f'"{said.standby_name(one)}"' for one in sorted(wanted.ids))
    return f"ANY {wanted.number} ({names})"


def settings(timeline: TimelineFolder, configuration: said.Configuration) -> dict[str, str]:
    """Writes the file; the settings by which a server that starts now reads it."""
    _write(timeline, setting(configuration))
    return {"config_file": str(timeline.standbys_file)}


async def change(timeline: TimelineFolder, configuration: said.Configuration, pid: int) -> None:
    """Has a server that runs wait for these from now on. Once this returns no process of it counts by what held before. Raises CannotWake, OSError.

    Also where the file says so already: whoever wrote it may have ended before the server has read it. PostgreSQL says in its log what it has taken over, and only
    what differs: so a value that means the same is written another way.
    """
    names = setting(configuration)
    before = timeline.standbys_file.read_text() if timeline.standbys_file.exists() else ""
    if f"'{names}'" in before:
        names += " "
    log_begin = timeline.log_file.stat().st_size if timeline.log_file.exists() else 0
    _write(timeline, names)
    os.kill(pid, signal.SIGHUP)
    deadline = asyncio.get_running_loop().time() + READ_SECONDS_MAX
    while f'{_CHANGED} "{names}"' not in read_since(timeline.log_file, log_begin):
        if asyncio.get_running_loop().time() > deadline:
            raise CannotWake("PostgreSQL does not read its settings again.")
        await asyncio.sleep(_AGAIN_SECONDS)
    # Each of its senders reads the file when it comes to it. Whoever began before has ended: a new one is made with what the postmaster has.
    await _end_senders(pid)


async def _end_senders(pid: int) -> None:
    senders = [process for process in family(pid) if _is_sender(process)]
    for process in senders:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    deadline = asyncio.get_running_loop().time() + READ_SECONDS_MAX
    while any(_is_there(process) for process in senders):
        if asyncio.get_running_loop().time() > deadline:
            raise CannotWake("PostgreSQL does not let go of its safekeepers.")
        await asyncio.sleep(_AGAIN_SECONDS)


def _is_sender(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return _SENDER in " ".join(process.cmdline())
    return False


def _is_there(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _write(timeline: TimelineFolder, names: str) -> None:
    text = f"include '{timeline.data_dir.name}/postgresql.conf'\nsynchronous_standby_names = '{names}'\n"
    write_file(timeline.standbys_file, text, mode=0o644, durable=False)
