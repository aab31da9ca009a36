"""The table of processes leaves nobody out, also where a number was another's before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

import spg99
from spg99.process_table import all_processes

PACKAGE = Path(spg99.__file__).parent


def test_everybody_is_there_with_what_was_asked() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        found = {process.pid: process.info for process in all_processes(["ppid", "cmdline"])}
        assert found[child.pid]["ppid"] == os.getpid() and "input()" in found[child.pid]["cmdline"]
        assert os.getpid() in found
    finally:
        child.communicate(b"\n")
    assert child.pid not in {process.pid for process in all_processes()}


def test_one_whose_number_was_anothers_is_not_left_out() -> None:
    """What psutil remembers of a number is made to be of an earlier process: its own table then leaves the present one out."""
    mine = next(process for process in psutil.process_iter() if process.pid == os.getpid())
    mine._ident = (mine.pid, 1.0)  # type: ignore[attr-defined]
    mine._create_time = None  # type: ignore[attr-defined]
    left_out = os.getpid() not in {process.pid for process in psutil.process_iter(["ppid"])}
    assert left_out, "else psutil has changed, and all_processes may go"
    assert os.getpid() in {process.pid for process in all_processes(["ppid"])}


def test_nobody_asks_psutils_own_table() -> None:
    asks = [path for path in PACKAGE.rglob("*.py") if "psutil.process_iter(" in path.read_text()]
    assert asks == []
