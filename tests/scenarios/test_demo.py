"""`make demo`'s walk, as a newcomer would run it: also with the usual ports taken, also interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from kit.platform import wait_for
from spg99.process_table import all_processes

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, str(ROOT / "scripts" / "demo.py")]


@pytest.mark.slow  # again
def test_it_passes_with_the_usual_ports_taken(tmp_path: Path) -> None:
    with contextlib.ExitStack() as taken:
        for port in (8099, 5432):
            with contextlib.suppress(OSError):  # taken by somebody else is as good
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        done = subprocess.run(DEMO, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1000 rows found" in done.stdout and "all 1100 acknowledged rows found" in done.stdout
    assert "HTTP 404 NotFound" in done.stdout
    assert "nothing is left behind" in done.stdout


@pytest.mark.slow  # broken
@pytest.mark.parametrize(
    "moment", ["start the platform", pytest.param("stack init", marks=pytest.mark.long), "wait until it sleeps"]
)
def test_ctrl_c_leaves_nothing_behind(moment: str) -> None:
    process = subprocess.Popen(
        DEMO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    folder = process.stdout.readline().split()[-1]
    before = {"start the platform": None, "stack init": "start the platform", "wait until it sleeps": "connect (TLS"}[
        moment
    ]
    if before is None:
        wait_for("its first process", lambda: _processes(folder), seconds=20)
    else:
        for line in process.stdout:
            if before in line:
                break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.wait(timeout=60)
    assert process.returncode == 130
    wait_for("no process of it is left", lambda: not _processes(folder), seconds=10)
    assert not Path(folder).exists()


def _processes(folder: str) -> list[psutil.Process]:
    return [
        p
        for p in all_processes(["cmdline", "status"])
        if folder in " ".join(p.info["cmdline"] or ()) and p.info["status"] != psutil.STATUS_ZOMBIE
    ]
