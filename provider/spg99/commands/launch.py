"""One launch of one of our processes: when it is ready, when it has ended. Not here: launching it again (child.py).

Threads and not asyncio's own subprocesses: those report an end only when every holder of the pipes has gone, and
workers or databases may hold them longer than the process lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from spg99.commands import parent
from spg99.commands.preforked import PreforkedProcesses
from spg99.config import OF_ONE_PROCESS
from spg99.processes import read_ready


class Launch:
    """A process from its start to its end."""

    def __init__(
        self, name: str, arguments: list[str], environment: dict[str, str], preforked: PreforkedProcesses
    ) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        """Its ready line."""
        self.exited: asyncio.Future[int] = self._loop.create_future()
        """Its exit code; below 0 the signal."""
        variables = environment_of_child(environment)
        self._process = preforked.run(arguments, variables) or _executed(arguments, variables)
        self.pid = self._process.pid
        for work in (self._read, self._reap):
            threading.Thread(target=work, name=f"{name}-{work.__name__}", daemon=True).start()

    async def ready_or_exited(self, *, timeout_seconds: float | None = None) -> None:
        """Waits until one of the two is known."""
        ends: set[asyncio.Future[Any]] = {self.ready, self.exited}
        await asyncio.wait(ends, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; nothing when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def end_group(self) -> None:
        """Kills what is left of its session, after its end."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if (found := read_ready(line)) is not None:
                self._call_soon(self._settle, self.ready, found)
            else:
                with contextlib.suppress(OSError):  # the terminal is gone: read on, or the child would stall
                    sys.stderr.write(f"{self._name}: {line.decode(errors='replace')}")

    def _reap(self) -> None:
        self._call_soon(self._settle, self.exited, self._process.wait())
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _call_soon(self, call: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(call, *arguments)

    @staticmethod
    def _settle(future: asyncio.Future[Any], value: Any) -> None:
        if not future.done():
            future.set_result(value)


def _executed(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in the terminal reaches only dev, which then ends its children in order.
    # Standard error is shared, not piped: a child must be able to write its last lines when dev is gone.
    return subprocess.Popen(
        [sys.executable, "-m", "spg99", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    )


def environment_of_child(given: dict[str, str]) -> dict[str, str]:
    """The environment of a process that dev starts: ours, without what only one of them could take, and what it is given."""
    ours = {name: text for name, text in os.environ.items() if name not in OF_ONE_PROCESS}
    return ours | given | {parent.VARIABLE: "1", "PYTHONUNBUFFERED": "1"}
