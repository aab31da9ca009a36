"""What a killed `spg99 dev` may leave behind, and ending it. Only processes that are surely ours are touched.

Here: finding and ending processes. Not here: files; the agent and the catalogue take over or clear their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Collection
from pathlib import Path

import psutil

from spg99 import log
from spg99.process_table import all_processes

_log = log.get("dev")

ENDING_SECONDS = 45.0
"""Children whose dev was killed end by themselves; an agent with many databases takes a while."""
DATABASE_SECONDS = 10.0


async def end_former(data_dir: Path, names: Collection[str]) -> None:
    """Waits until the processes of a former dev in this folder are gone; kills what does not go.

    Whoever calls this holds the folder's lock, so every child of a dev that is found belongs to one that is dead.
    """
    left = children(data_dir, names)
    if not left:
        return
    _log.info("waiting for the processes of a dev that was killed", pids=[process.pid for process in left])
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    await _gone(left, ENDING_SECONDS)


def children(data_dir: Path, names: Collection[str]) -> list[psutil.Process]:
    """Processes that a dev started for this folder: `python -m spg99 <name> --data-dir <data_dir> ...`, as launch.py does.

    By name, because a dev that was itself started with `-m` looks the same.
    """
    found = []
    for process in all_processes(["cmdline", "status"]):
        arguments = _arguments(process)
        is_ours = _is_named(arguments[0], data_dir, names) if len(arguments) == 1 else _is(arguments, data_dir, names)
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def _arguments(process: psutil.Process) -> list[str]:
    """Its command line. That of a forked one is one text (preforked.py), which psutil may take apart at its spaces: where the
    kernel can be asked, it is."""
    if sys.platform != "linux":
        return list(process.info["cmdline"] or ())
    try:
        text = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return []
    return [os.fsdecode(word) for word in text.rstrip(b"\0").split(b"\0")]


def _is(arguments: list[str], data_dir: Path, names: Collection[str]) -> bool:
    return (
        arguments[1:3] == ["-m", "spg99"]
        and arguments[3:4] in [[name] for name in names]
        and arguments[4:6] == ["--data-dir", str(data_dir)]
    )


def _is_named(title: str, data_dir: Path, names: Collection[str]) -> bool:
    # What follows the folder is a flag; any other word would belong to the name of another folder, whose dev may run.
    wanted = rf"[^ ]+ -m spg99 ({'|'.join(map(re.escape, names))}) --data-dir {re.escape(str(data_dir))}( --.*)?"
    return re.fullmatch(wanted, title, re.DOTALL) is not None


async def end_databases(data_dir: Path) -> None:
    """Ends every PostgreSQL server whose files are in this folder. After an orderly end there is none."""
    left = postmasters(data_dir)
    for process in left:
        _log.warning("ending a PostgreSQL that was left", pid=process.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
    await _gone(left, DATABASE_SECONDS)


def postmasters(data_dir: Path) -> list[psutil.Process]:
    """PostgreSQL servers that run on files in this folder: `postgres ... -D <data_dir>/...`."""
    inside = f"{data_dir}/"
    found = []
    for process in all_processes(["name", "cmdline"]):
        arguments = process.info["cmdline"] or []
        if process.info["name"] != "postgres" or "-D" not in arguments[:-1]:
            continue
        if arguments[arguments.index("-D") + 1].startswith(inside):
            found.append(process)
    return found


async def _gone(processes: list[psutil.Process], seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while left := [process for process in processes if _runs(process)]:
        if asyncio.get_running_loop().time() > deadline:
            for process in left:
                _log.warning("killed", pid=process.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            return
        await asyncio.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
