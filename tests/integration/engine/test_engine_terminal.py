"""What a person sees of the embedded engine on a terminal (a real pty), and how much it does at a time."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import Any

import pytest

from kit.tiers import others_slow
from kit.waits import wait_for

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a terminal of its own: what it shows, what is typed."""

    def __init__(self, project: Any, *arguments: str) -> None:
        self._end, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        code = (
            "import click; from spg99.engine.cli import COMMANDS; click.Group(commands={c.name: c for c in COMMANDS})()"
        )
        environment = os.environ | project.env | {"PULUMI_BACKEND_URL": "file://./state", "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=project.folder,
            env=environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inside)
        os.set_blocking(self._end, False)
        self.raw = ""

    def shown(self) -> str:
        """Everything that was ever shown, without its control sequences."""
        try:
            while part := os.read(self._end, 65536):
                self.raw += part.decode(errors="replace")
        except (BlockingIOError, OSError):
            pass
        return _CONTROL.sub("", self.raw)

    def screen(self) -> str:
        """What is left on the screen: the control sequences that move up and erase are obeyed."""
        self.shown()
        lines, row, column = [""], 0, 0
        for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", self.raw):
            if part == "\r":
                column = 0
            elif part == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif part.startswith("\x1b["):
                if part.endswith("A"):
                    row -= int(part[2:-1] or 1)
                elif part == "\x1b[2K":
                    lines[row] = ""
            else:
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
                column += len(part)
        return "\n".join(lines)

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def wait(self, project: Any, condition: Callable[[str], bool]) -> str:
        """Waits until what was shown fulfils the condition."""
        try:
            wait_for("it to be shown", lambda: condition(self.shown()))
        except AssertionError:
            raise AssertionError(self.shown()) from None
        return self.shown()

    def end(self, project: Any) -> str:
        self.wait(project, lambda _: self.process.poll() is not None)
        return self.shown()


def test_a_run_on_a_terminal(project: Any) -> None:
    project.behave(create__slow={"wait": "yes"})
    project.program('Box("quick", text="q")\nBox("slow", text="s")\npulumi.export("answer", 42)')
    assert project.call("stack", "init", "dev")[0] == 0
    terminal = Terminal(project, "up", "-s", "dev")
    asked = terminal.wait(project, lambda text: "Do this? [y/N]" in text)
    assert "Previewing update (dev):" in asked and "+ 3 to create" in asked and "creating" not in asked
    terminal.type("y\n")
    row = re.compile(r"\+  shelf:index:Box slow creating \(\ds\) waiting for go")
    during = terminal.wait(project, lambda text: row.search(text) is not None)
    assert "Updating (dev):" in during and re.search(r"shelf:index:Box quick created \(\d+\.\d\ds\)", during)
    terminal.wait(project, lambda text: "slow creating (1s) waiting for go" in text)  # it lives: seconds pass
    (project.shelf / "go").touch()
    said = terminal.end(project)
    assert terminal.process.returncode == 0, said
    assert "\x1b[" in terminal.raw and "\x1b[?25h" in terminal.raw, "colours, and the cursor is back"
    last = said[said.rindex("Resources:") :]
    assert "+ 3 created" in last and re.search(r"Duration: \d+s", last)
    assert "answer: 42" in said and re.search(r"shelf:index:Box slow created \(\d+\.\d\ds\)", said)
    left = terminal.screen()
    assert "creating" not in left and "slow created" in left, "rows of what is in flight are gone at the end"


def test_no_at_the_question_does_nothing(project: Any) -> None:
    project.program('Box("box", text="q")')
    assert project.call("stack", "init", "dev")[0] == 0
    terminal = Terminal(project, "up", "-s", "dev")
    terminal.wait(project, lambda text: "Do this? [y/N]" in text)
    terminal.type("n\n")
    assert "Nothing was done." in terminal.end(project) and terminal.process.returncode == 255
    assert project.names() == [] and project.journal("create") == []


def test_ctrl_c_typed_on_a_terminal(project: Any) -> None:
    project.behave(create__slow={"wait": "yes"})
    project.program('Box("slow", text="s")')
    assert project.call("stack", "init", "dev")[0] == 0
    terminal = Terminal(project, "up", "--yes", "--skip-preview", "-s", "dev")
    terminal.wait(project, lambda text: "waiting for go" in text)
    terminal.type("\x03")
    said = terminal.end(project)
    assert terminal.process.returncode == 255 and "Stopping" in said and "gave up waiting: cancelled" in said
    assert "Traceback" not in said and "\x1b[?25h" in terminal.raw, "the cursor is back"


@pytest.mark.parametrize("language", others_slow(["python", "yaml"]))
def test_never_more_at_a_time_than_allowed(project: Any, language: str) -> None:
    names = [f"b{number}" for number in range(12)]
    if language == "python":
        project.program("\n".join(f'Box("{name}", text=pulumi.Config().get("text"))' for name in names))
    else:
        boxes = "\n".join(f"  {name}: {{type: shelf:Box, properties: {{text: '${{text}}'}}}}" for name in names)
        head = "name: project\nruntime: yaml\nconfig: {text: {type: string, default: a}}\nresources:\n"
        (project.folder / "Pulumi.yaml").write_text(head + boxes)
    runs: list[tuple[int, Callable[..., Any], dict[str, str], dict[str, int]]] = [
        (3, project.up, {"text": "a"}, {"create": 13}),
        (2, project.up, {"text": "b"}, {"same": 1, "update": 12}),
        (5, project.refresh, {}, {"same": 12}),
        (4, project.destroy, {}, {"delete": 13}),
    ]
    for allowed, run, config, done in runs if language == "python" else runs[:1]:
        met = {"together": str(allowed)}
        project.behave(**{"create__*": met, "update__*": met, "read__*": met, "delete__*": met})
        (project.shelf / "most-at-once").unlink(missing_ok=True)
        assert run(parallel=allowed, config=config).changes == done
        assert int((project.shelf / "most-at-once").read_text()) == allowed
