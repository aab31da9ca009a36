"""Child processes of the engine: starting, reading, ending. Here: processes. Not here: what is said to them (provider.py).

Children get a session of their own, so that Ctrl-C reaches the engine alone and the engine decides; and a lifeline, so that
none outlives the engine even when it is killed.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from spg99.engine.project import Project
from spg99.errors import BadRequest, Unavailable

_CHILD = Path(__file__).with_name("child.py")
_LAST_LINES = 20


def interpreter(project: Project) -> str:
    """The Python that runs the project: that of its `virtualenv` option, else the one that runs the engine."""
    options = project.runtime_options
    toolchain = options.get("toolchain", "pip")
    if toolchain not in ("pip", "uv"):
        raise BadRequest(
            f"{project.file} uses the toolchain `{toolchain}`; the embedded engine knows `pip` and `uv`. Use the Pulumi CLI."
        )
    folder = options.get("virtualenv") or (".venv" if toolchain == "uv" else None)
    if not folder:
        return sys.executable
    root = (project.root / folder).expanduser()
    for name in ("bin/python", "Scripts/python.exe"):
        if (root / name).is_file():
            return str(root / name)
    raise BadRequest(f"{project.file} names the virtual environment {root}, which is not there. Make it first.")


class Child:
    """A running child process."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """`command` may hold LIFELINE where the child expects the number of its lifeline's descriptor."""
        reading, self._lifeline = os.pipe()
        try:
            self.process = subprocess.Popen(
                [str(reading) if part == LIFELINE else part for part in command],
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
                pass_fds=[reading],
            )
        except OSError as error:
            os.close(self._lifeline)
            raise Unavailable(f"{command[0]} cannot be started: {error.strerror}.") from error
        finally:
            os.close(reading)
        self.last_lines: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self._on_line = on_line
        self._readers = [self._follow(self.process.stderr)]
        self.ended = threading.Event()

    def first_line(self) -> str:
        """The first line of its output (a provider's port); empty when it ended without one. Then follows the rest."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.follow_output()
        return line.strip()

    def follow_output(self) -> None:
        """Reads its output as it comes."""
        self._readers.append(self._follow(self.process.stdout))

    def announce_end(self) -> None:
        """Sets `ended` at its end: waiting with a timeout would only look now and then."""

        def wait() -> None:
            self.process.wait()
            self.ended.set()

        threading.Thread(target=wait, daemon=True).start()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end and for its last words. Raises subprocess.TimeoutExpired."""
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(1)
        return code

    def exit_code(self, *, within_seconds: float) -> int | None:
        """Its exit code, if it ends that soon."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(within_seconds)
        return None

    def stop(self, *, grace_seconds: float) -> None:
        """Interrupts it, and kills it after the grace."""
        if self.process.poll() is None:
            self._signal(signal.SIGINT)
            try:
                self.process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self.process.wait()
        self.close()

    def kill(self) -> None:
        """Ends it at once."""
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
            self.process.wait()
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)  # it leads a session of its own

    def close(self) -> None:
        """Lets go of the lifeline."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _follow(self, stream: object) -> threading.Thread:
        def read() -> None:
            for line in stream:  # type: ignore[attr-defined]
                text = line.rstrip("\n")
                self.last_lines.append(text)
                if self._on_line is not None:
                    self._on_line(text)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread


class Attached:
    """A provider that somebody else has started and will end (PULUMI_DEBUG_PROVIDERS): a Child without a process."""

    def __init__(self, port: str) -> None:
        self._port = port
        self.last_lines: collections.deque[str] = collections.deque(maxlen=1)

    def first_line(self) -> str:
        """Its port."""
        return self._port

    def exit_code(self, *, within_seconds: float) -> int | None:
        """Nobody knows."""
        return None

    def stop(self, *, grace_seconds: float) -> None:
        """It goes on."""

    def kill(self) -> None:
        """It goes on."""


LIFELINE = "\0lifeline"


def python_host(python: str, module: str, *arguments: str) -> list[str]:
    """The command that runs a Python module (or folder) as a child of the engine."""
    return [python, "-u", str(_CHILD), LIFELINE, "host", module, *arguments]


def watched(command: Sequence[str]) -> list[str]:
    """The command that runs any program as a child of the engine."""
    return [sys.executable, "-I", "-S", str(_CHILD), LIFELINE, "watch", *command]


def python_program(python: str, settings: str) -> list[str]:
    """The command that runs a Pulumi program in Python as a child of the engine."""
    return [python, "-u", str(_CHILD), LIFELINE, "program", settings]
