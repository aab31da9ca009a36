"""Ctrl-C while a command's modules load: the end, silently, with 130. Nothing has begun that would have to be ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Some libraries turn a KeyboardInterrupt into an error of their own (pydantic, while it builds a model).
WRAPPING = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    raise ValueError("the model cannot be built")
"""
LOADS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background inherits an ignored SIGINT
from spg99.commands import app, contents
app.entries = lambda: {"slow": contents.Entry("slow", "slow_to_load:command", "A command.")}
app.app.main(["slow"], prog_name="spg99")
"""


def test_it_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "slow_to_load.py").write_text(WRAPPING)
    done = subprocess.run(
        [sys.executable, "-c", LOADS], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == ""
