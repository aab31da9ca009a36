"""Processes of a cluster as the system shows them. Here: postmaster.pid, who lives, waiting for an end, leftovers.
Not here: starting and stopping (cluster.py)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from spg99.errors import Internal
from spg99.exits import signal_name
from spg99.process_table import all_processes

PID_FILE = "postmaster.pid"
KILL_SECONDS_MAX = 30.0
"""A killed process ends at once, unless the kernel waits for something on its behalf."""
_POLL_SECONDS = 0.02  # where the system has no pidfd


@dataclass(frozen=True)
class Running:
    """A postmaster that lives."""

    pid: int
    started_at: datetime


@dataclass(frozen=True)
class Exit:
    """How a postmaster ended. `code` as in subprocess (negative = signal); None when it was not our child."""

    code: int | None

    def sentence(self) -> str:
        """Said to a user."""
        if self.code is None:
            return "PostgreSQL ended."
        if self.code < 0:
            return f"PostgreSQL was ended by signal {signal_name(-self.code)}."
        return f"PostgreSQL ended with code {self.code}."


@dataclass(frozen=True)
class PidFile:
    """What postmaster.pid says. Line 8 is PostgreSQL's own word on readiness: starting, stopping, ready or standby."""

    pid: int
    port: int | None = None
    socket_dir: str | None = None
    shared_memory: tuple[int, int] | None = None
    """Key and id of the System V segment."""
    status: str | None = None


def parse_pid_file(text: str) -> PidFile | None:
    """The pid file's content; None when it is empty or not one. While the server starts, later lines are missing."""
    lines = text.splitlines()
    try:
        pid = abs(int(lines[0]))  # negative in single-user mode
    except (IndexError, ValueError):
        return None

    def line(number: int) -> str:
        return lines[number - 1].strip() if len(lines) >= number else ""

    memory = line(7).split()
    return PidFile(
        pid=pid,
        port=int(line(4)) if line(4).isdigit() else None,
        socket_dir=line(5) or None,
        shared_memory=(int(memory[0]), int(memory[1])) if len(memory) == 2 and all(map(str.isdigit, memory)) else None,
        status=line(8) or None,
    )


def read_pid_file(data_dir: Path) -> PidFile | None:
    """The cluster's postmaster.pid; None when there is none, or nothing that can be read as one stands in it.

    Raises OSError when nobody can tell (no file handle left, no permission): that is not the same as "none".
    """
    try:
        return parse_pid_file((data_dir / PID_FILE).read_text(errors="replace"))
    except FileNotFoundError:
        return None


def living(pid: int, data_dir: Path) -> Running | None:
    """The process, if it lives and is PostgreSQL on this very folder; a recycled pid is not.

    Raises OSError when nobody can tell (no file handle left).
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE or str(data_dir) not in process.cmdline():
                return None
            return Running(pid, datetime.fromtimestamp(process.create_time(), UTC))
    except psutil.Error:
        return None


def leftovers(data_dir: Path) -> list[psutil.Process]:
    """PostgreSQL processes that still work in this folder. Children of a postmaster lead sessions of their own, so a
    process group does not hold them; every one of them has the data folder as its working directory."""
    found = []
    for process in all_processes():
        with contextlib.suppress(psutil.Error):
            if process.name().startswith("postgres") and process.cwd() == str(data_dir):
                found.append(process)
    return found


def family(pid: int) -> list[psutil.Process]:
    """A postmaster and all its children, as they are now."""
    with contextlib.suppress(psutil.Error):
        postmaster = psutil.Process(pid)
        return [postmaster, *postmaster.children(recursive=True)]
    return []


async def kill_all(processes: list[psutil.Process]) -> None:
    """Kills these processes and waits until none is left. psutil refuses to signal a recycled pid. Raises Internal when one does not end."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    ends = [asyncio.ensure_future(wait_end(process.pid)) for process in processes]
    if not ends:
        return
    try:
        _, left = await asyncio.wait(ends, timeout=KILL_SECONDS_MAX)
    finally:
        for end in ends:
            end.cancel()
    if left:
        pids = ", ".join(str(process.pid) for process, end in zip(processes, ends, strict=True) if end in left)
        raise Internal(
            f"Processes of PostgreSQL do not end {KILL_SECONDS_MAX:.0f} s after they were killed (pid {pids}): the kernel holds them, "
            "most often for a disk that does not answer. Look at the node's disk (dmesg)."
        )


async def wait_end(pid: int, child: subprocess.Popen[bytes] | None = None) -> Exit:
    """Waits until the process has ended; at once where the system tells (pidfd), else by looking often."""
    opener = getattr(os, "pidfd_open", None)
    fd = -1
    if opener is not None:
        with contextlib.suppress(OSError):
            fd = opener(pid)
    if fd >= 0:
        try:
            await _readable(fd)
        finally:
            os.close(fd)
    else:
        while _is_there(pid, child):  # noqa: ASYNC110  there is no event to wait for here
            await asyncio.sleep(_POLL_SECONDS)
    return Exit(child.wait() if child is not None else None)  # it has ended: wait() only reaps it


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)


def _is_there(pid: int, child: subprocess.Popen[bytes] | None) -> bool:
    if child is not None:
        return child.poll() is None
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
