"""Processes of `spg99 dev` that are forked before its loop begins and wait to hear what they are.

Every process of ours loads a thousand modules, which costs most of its start and of its memory. `dev` loads them once and
forks as many processes as it is going to start; each takes the first launch that comes. One that dies later is started by
its command line, as everywhere else: by then dev has threads and cannot fork.

Here: the waiting process, and what its parent holds of it. Not here: the fork (processes/forking.py), what it is for
(launch.py), keeping it (child.py).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import IO

from spg99 import log
from spg99.processes.forking import fork, may_fork
from spg99.processes.title import bytes_max, set_title

MODULES = (
    "spg99.commands.servers",
    "spg99.commands.catalogue",
    "spg99.control_plane.server",
    "spg99.gateway.server",
    "spg99.node.agent",
    "spg99.safekeeper.server",
    "spg99.pageserver.server",
)
"""What the processes of dev load; the command `dev` itself needs most of it."""
LOADED_LATE = (
    *("spg99.client.in_loop", "anyio._backends._asyncio"),
    *("uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl", "uvicorn.protocols.websockets.auto", "uvloop"),
)
"""What is loaded only when it is used, by libraries or by us."""
_LENGTH_BYTES = 4

_log = log.get("dev")


class Preforked:
    """A process that waits on its standard input for what it is to run. Its parent holds the other ends, as of a `subprocess.Popen`."""

    def __init__(self) -> None:
        """Raises OSError when there is no room for a process or its pipes."""
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            theirs_in, ours_in = os.pipe()
            theirs.callback(os.close, theirs_in)
            self.stdin: IO[bytes] = ours.enter_context(os.fdopen(ours_in, "wb", buffering=0))
            ours_out, theirs_out = os.pipe()
            theirs.callback(os.close, theirs_out)
            self.stdout: IO[bytes] = ours.enter_context(os.fdopen(ours_out, "rb"))
            self._process = fork(lambda: _wait_and_run(theirs_in, theirs_out), keep=(theirs_in, theirs_out))
            ours.pop_all()  # it is made: they stay open
        self.pid = self._process.pid
        self.wait = self._process.wait
        self.send_signal = self._process.send_signal

    def run(self, arguments: list[str], environment: dict[str, str]) -> bool:
        """Lets it run `spg99 <arguments>` with this environment and no other. False when it is dead."""
        text = json.dumps({"arguments": arguments, "environment": environment}).encode()
        try:
            message = memoryview(len(text).to_bytes(_LENGTH_BYTES, "big") + text)
            while message:
                message = message[self.stdin.write(message) :]
        except BrokenPipeError:
            return False
        return True

    def end(self) -> None:
        """Ends it while it waits; returns when it is gone."""
        self.stdin.close()
        self.stdout.close()
        self.wait()


class PreforkedProcesses:
    """Those that wait: nothing runs in them yet."""

    def __init__(self, count: int = 0) -> None:
        """`count` of them, or none when one cannot be made: all are started by their command lines then."""
        self._waiting: list[Preforked] = []
        try:
            for _ in range(count):
                self._waiting.append(Preforked())
        except OSError as error:
            _log.warning("no process could be forked: they are started one by one", reason=error.strerror)
            self.end()

    def run(self, arguments: list[str], environment: dict[str, str]) -> Preforked | None:
        """One that runs `spg99 <arguments>` from now on; None when none is left."""
        while self._waiting:
            process = self._waiting.pop()
            if process.run(arguments, environment):
                return process
            process.end()  # somebody killed it
        return None

    def end(self) -> None:
        """Ends those that are left."""
        while self._waiting:
            self._waiting.pop().end()


def prefork(count: int, data_dir: Path) -> PreforkedProcesses:
    """Loads what they need and forks them; none where that is not safe or fails, or where there is no room to say who they are."""
    # With the beginning of the flag that follows: it says where the name of the folder ends (leftovers.py).
    if not may_fork() or bytes_max() < len(os.fsencode(title(["control-plane", "--data-dir", str(data_dir), "--"]))):
        return PreforkedProcesses()
    for name in MODULES:
        importlib.import_module(name)
    for name in LOADED_LATE:
        with contextlib.suppress(ImportError):  # not on every machine
            importlib.import_module(name)
    return PreforkedProcesses(count if may_fork() else 0)


def title(arguments: list[str]) -> str:
    """What `ps` shows: the command line that would have started it."""
    return " ".join([Path(sys.executable).name, "-m", "spg99", *arguments])


def _wait_and_run(standard_in: int, standard_out: int) -> None:
    # A session of its own: Ctrl-C in the terminal reaches only dev, which then ends its children in order.
    os.setsid()
    os.dup2(standard_in, 0)
    os.dup2(standard_out, 1)
    os.close(standard_in)
    os.close(standard_out)
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked = json.loads(_read(int.from_bytes(_read(_LENGTH_BYTES), "big")))
    signal.signal(signal.SIGINT, heard)
    os.environ.clear()
    os.environ.update(asked["environment"])
    set_title(title(asked["arguments"]))
    sys.argv = [sys.argv[0], *asked["arguments"]]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    from spg99.commands.app import app

    app.main(asked["arguments"], prog_name="spg99")


def _read(count: int) -> bytes:
    """So many bytes of standard input, and not one more: its end is still to be seen. Ends the process when that comes first."""
    found = b""
    while len(found) < count:
        piece = os.read(0, count - len(found))
        if not piece:
            raise SystemExit(0)  # dev has ended, or does not need this one
        found += piece
    return found
