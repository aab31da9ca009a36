"""Named points: they kill exactly there and nowhere else, and cost nothing when nobody asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PASSES = "from spg99 import faults\nfor n in range(3): faults.point('a.b'); print(n, flush=True)"


def run(point: str | None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "SPG99_FAULT_POINT"}
    if point is not None:
        env["SPG99_FAULT_POINT"] = point
    return subprocess.run([sys.executable, "-c", PASSES], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("point", "survives"), [("a.b", 0), ("a.b:1", 0), ("a.b:3", 2)])
def test_it_kills_at_the_nth_pass(point: str, survives: int) -> None:
    done = run(point)
    assert done.returncode == -signal.SIGKILL
    assert len(done.stdout.split()) == survives


@pytest.mark.parametrize("point", [None, "", "a", "a.b.c", "a.b:4"])
def test_it_does_nothing_otherwise(point: str | None) -> None:
    done = run(point)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "2"])
