"""`make demo-cluster` with fewer rounds: the machine of the writer killed, a Gateway killed, the writer's machine cut off while all on it runs on, the
pageserver's killed; all of it over an S3 server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo_cluster.py"

pytestmark = pytest.mark.slow  # broken


def test_machines_are_lost_and_cut_off_and_nothing_that_was_acknowledged_is() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--rounds", "4", "--databases", "2"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all clients write again") == 4
    # As root each machine is a network namespace with a cable; else all are on addresses of the loopback interface, and are killed.
    assert ("is cut off, and all on it runs on" in done.stdout) is (os.geteuid() == 0)
    assert "ps1 is lost" in done.stdout
    assert "nothing that was acknowledged is lost" in done.stdout
    assert re.search(r"the object store: .* pieces of WAL, .*Nothing is wrong", done.stdout)


def test_clients_that_do_not_wait_lose_rows_and_the_same_script_sees_it() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--rounds", "1", "--databases", "1", "--without-waiting"],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "LOST:" in done.stdout
