"""A Pulumi stack in a folder of its own, driven by an engine. Here: writing programs and running commands. Not here: what is right."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.platform import BIN, Platform
from kit.pulumi_cli import MISSING, find_pulumi, pulumi_environment

PASSPHRASE = "conformance"


_INITIALISED: dict[str, Path] = {}
"""By engine, the folder of a stack that is made and empty: the next one is a copy."""


@dataclass
class Done:
    """What a command printed and how it ended."""

    code: int
    text: str

    def ok(self) -> Done:
        """This, after making sure that it ended well."""
        assert self.code == 0, self.text
        return self

    def refused(self, *words: str) -> Done:
        """This, after making sure that it failed and said these words, and showed no traceback."""
        assert self.code != 0, self.text
        for word in words:
            assert word in self.text, f"{word!r} not in:\n{self.text}"
        assert "Traceback (most recent call last)" not in self.text.split("KeyboardInterrupt")[0], self.text
        return self


@dataclass
class Stack:
    """One project, one stack `dev`."""

    program: list[str]
    platform: Platform
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if made := _INITIALISED.get(self.program[0]):
            shutil.copytree(made, self.folder)
        else:
            (self.folder / "state").mkdir(parents=True)
            (self.folder / "project").mkdir()
            (self.folder / "project" / "Pulumi.yaml").write_text("name: conformance\nruntime: python\n")
            self.write("")
            self.run("stack", "init", "dev").ok()
            kept = Path(tempfile.mkdtemp(prefix="spg99-stack-")) / "stack"
            atexit.register(shutil.rmtree, kept.parent, ignore_errors=True)
            _INITIALISED[self.program[0]] = shutil.copytree(self.folder, kept)
        self.environment.setdefault("PULUMI_STACK", "dev")  # what `init` chose is known by the folder that it ran in

    def write(self, program: str) -> Stack:
        """Makes this the program."""
        head = "import pulumi\nfrom spg99.dynamic import *\nimport spg99.dynamic as spg99\n"
        (self.folder / "project" / "__main__.py").write_text(head + textwrap.dedent(program))
        return self

    def run(self, *arguments: str, environment: dict[str, str] | None = None, seconds: float = 120) -> Done:
        """Runs one command of the engine."""
        settings = {
            **os.environ,
            **self.platform.env,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **pulumi_environment(self.folder, passphrase=PASSPHRASE),
            **self.environment,
            **(environment or {}),
        }
        done = subprocess.run(
            [*self.program, *arguments],
            cwd=self.folder / "project",
            env={name: value for name, value in settings.items() if value},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        return Done(done.returncode, done.stdout + done.stderr)

    def up(self, program: str | None = None, *arguments: str, **options: Any) -> Done:
        """`up` without the preview before it, of another program where one is given."""
        if program is not None:
            self.write(program)
        return self.run("up", "--yes", "--skip-preview", *arguments, **options)

    def preview(self, program: str | None = None, *arguments: str) -> Done:
        """`preview`, of another program where one is given."""
        if program is not None:
            self.write(program)
        return self.run("preview", *arguments)

    def nothing_to_do(self) -> None:
        """A second `up` and a second preview show nothing."""
        self.run("preview", "--expect-no-changes").ok()
        self.run("up", "--yes", "--skip-preview", "--expect-no-changes").ok()

    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources of the state by name."""
        exported = json.loads(self.run("stack", "export").ok().text)
        return {r["urn"].rsplit("::", 1)[1]: r for r in exported["deployment"].get("resources") or []}

    def clear(self) -> None:
        """Destroys what a test has left, if anything: starting an engine to hear that there is nothing costs a second."""
        state = self.folder / "state/.pulumi/stacks/conformance/dev.json"
        if not state.exists() or '"custom": true' in state.read_text().replace('":true', '": true'):
            self.run("destroy", "--yes", "--skip-preview")

    def files(self) -> str:
        """Every byte that the engine has left on disk."""
        kept = [path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return "\n".join(path.read_text(errors="replace") for path in kept)


def engines() -> list[Any]:
    """The engines to run everything through; the real CLI is skipped, and says so, where there is none."""
    import pytest

    found = find_pulumi()
    marks = [pytest.mark.slow, pytest.mark.skipif(found is None, reason=MISSING)]
    return [pytest.param([str(BIN / "spg99")], id="embedded"), pytest.param([str(found)], id="pulumi", marks=marks)]
