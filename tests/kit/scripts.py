"""Small scripts, each in a process of its own, forked from one that has already imported what they need: 10 ms instead of 300.

Here: the process that forks and what is said to it. Not here: any script.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

# A child opens its standard streams by path, so that they may be files or a terminal.
_FORKING = """\
import json, os, sys
exec(sys.argv[1])
for line in sys.stdin:
    order = json.loads(line)
    if (child := os.fork()) == 0:
        code = 1
        try:
            for number, path in enumerate(order["streams"]):
                os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), number)
            exec(order["script"], {"__name__": "__main__"})
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Scripts:
    """Runs scripts one after the other; `imports` is what the process imports before it forks."""

    def __init__(self, imports: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKING, imports], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Scripts:
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self._process.communicate(timeout=30)

    def to_a_file(self, script: str) -> str:
        """What a script that ends well writes to standard error when that is no terminal."""
        with tempfile.NamedTemporaryFile() as file:
            self._order(script, os.devnull, os.devnull, file.name)
            status, text = self._status(), Path(file.name).read_text()
        assert status == 0, text
        return text

    def to_a_terminal(self, script: str) -> str:
        """What it writes to a terminal, with the colours."""
        ours, its = pty.openpty()
        seen = b""
        try:
            self._order(script, os.ttyname(its), os.devnull, os.ttyname(its))
            answers = self._process.stdout
            assert answers is not None
            while answers not in (ready := select.select([ours, answers], [], [], 30)[0]):
                assert ready, "the script does not end"
                seen += os.read(ours, 65536)
            while select.select([ours], [], [], 0)[0]:
                seen += os.read(ours, 65536)
        finally:
            os.close(ours)
            os.close(its)
        text = seen.decode().replace("\r\n", "\n")
        assert self._status() == 0, text
        return text

    def _order(self, script: str, *streams: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"script": script, "streams": streams}).encode() + b"\n")
        self._process.stdin.flush()

    def _status(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())
