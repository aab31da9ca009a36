"""The commands that are a process each: what all of them do before they run. Not here: what they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spg99.commands.parent import VARIABLE
from spg99.commands.supervisor import STOP_ORDER

SCRIPT = """
import json, os, sys, threading
import spg99.commands.catalogue, spg99.control_plane.server, spg99.node.agent, spg99.safekeeper.server
from spg99.commands.app import app
from spg99.gateway import server
def noted(what):
    def note(*_):
        print(json.dumps([what, any(thread.name == "parent-watch" for thread in threading.enumerate())]), flush=True)
        if what == "runs":
            os._exit(0)
    return note
for module in (spg99.commands.catalogue, spg99.control_plane.server, spg99.node.agent, spg99.safekeeper.server):
    module.run = noted("runs")
server.prefork, server.run_loop = noted("forks"), noted("runs")
server._Gateway.run = lambda self: None
app.main(sys.argv[1:])
"""


@pytest.mark.parametrize("name", STOP_ORDER)
def test_each_that_dev_starts_watches_its_parent_after_its_forks(tmp_path: Path, name: str) -> None:
    theirs, ours = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, name, "--data-dir", str(tmp_path)],
            stdin=theirs, capture_output=True, text=True, timeout=60,
            env=os.environ | {VARIABLE: "1", "SPG99_CATALOGUE_URL": "postgresql://localhost/x", "SPG99_CP_URL": "http://localhost:1"},
        )  # fmt: skip
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 0, done.stderr
    noted = [json.loads(line) for line in done.stdout.splitlines()]
    assert noted == [["forks", False]] * (name == "gateway") + [["runs", True]]
