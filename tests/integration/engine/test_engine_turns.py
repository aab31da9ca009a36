"""`pulumi` and `spg99` on one stack, in turns: neither notices that the other was there."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from kit.pulumi_cli import OFFLINE, pulumi

PROGRAM = """
box = Box("box", text="{text}", code=Output.secret("rosebud"))
Rack("rack", {boxes}, opts=Opts(depends_on=[box]))
pulumi.export("password", box.password)
"""


def _pulumi(house: Any, *arguments: str) -> str:
    environment = os.environ | house.env
    environment |= {"PULUMI_BACKEND_URL": f"file://{house.folder}/state", **OFFLINE}
    done = subprocess.run(
        [pulumi(), *arguments, "--stack", "dev", "--non-interactive"],
        cwd=house.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pulumi_and_this_engine_take_turns(house: Any) -> None:
    house.up(PROGRAM.format(text="a", boxes=1))
    _pulumi(house, "up", "--yes", "--expect-no-changes")
    house.program(PROGRAM.format(text="b", boxes=3))
    _pulumi(house, "up", "--yes")
    house.check_integrity()
    assert house.up().changes.keys() == {"same"}
    assert house.refresh().changes.keys() == {"same"}
    _pulumi(house, "refresh", "--yes", "--expect-no-changes")
    house.up(PROGRAM.format(text="c", boxes=0))
    _pulumi(house, "preview", "--expect-no-changes")
    assert "rosebud" not in house.state_file.read_text()
    _pulumi(house, "destroy", "--yes")
    assert house.names() == [] and house.up().ok
    assert house.destroy().ok
