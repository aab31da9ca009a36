"""`pulumi` and `spg99` on one stack, in turns: neither notices that the other was there."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from kit.pulumi_cli import OFFLINE, pulumi

pytestmark = pytest.mark.slow  # again

PROGRAM = """
box = Box("box", text="{text}", code=Output.secret("rosebud"))
Rack("rack", {boxes}, opts=Opts(depends_on=[box]))
pulumi.export("password", box.password)
"""


def _pulumi(project: Any, *arguments: str) -> str:
    environment = os.environ | project.env
    environment |= {"PULUMI_BACKEND_URL": f"file://{project.folder}/state", **OFFLINE}
    done = subprocess.run(
        [pulumi(), *arguments, "--stack", "dev", "--non-interactive"],
        cwd=project.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pulumi_and_this_engine_take_turns(project: Any) -> None:
    project.up(PROGRAM.format(text="a", boxes=1))
    _pulumi(project, "up", "--yes", "--expect-no-changes")
    project.program(PROGRAM.format(text="b", boxes=3))
    _pulumi(project, "up", "--yes")
    project.check_integrity()
    assert project.up().changes.keys() == {"same"}
    assert project.refresh().changes.keys() == {"same"}
    _pulumi(project, "refresh", "--yes", "--expect-no-changes")
    project.up(PROGRAM.format(text="c", boxes=0))
    _pulumi(project, "preview", "--expect-no-changes")
    assert "rosebud" not in project.state_file.read_text()
    _pulumi(project, "destroy", "--yes")
    assert project.names() == [] and project.up().ok
    assert project.destroy().ok
