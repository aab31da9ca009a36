"""Processes that wait to hear what they are. Here: runs and ends of real ones, forked from a small process. Not here: a whole platform
(tests/integration/commands/test_dev_forked.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")

BEGIN = """
import click, json, os, signal, sys
from pathlib import Path
from spg99 import log
from spg99.commands import app, contents, preforked
from spg99.commands.preforked import PreforkedProcesses, prefork
log.configure("dev")
preforked.MODULES = ("json",)
preforked.LOADED_LATE = ("there_is_no_such_module",)
@click.command()
@click.argument("words", nargs=-1)
def said(words):
    print(json.dumps([words, dict(os.environ), Path("/proc/self/cmdline").read_text().rstrip("\\0"), os.getsid(0) == os.getpid()]))
    sys.stdin.read()
    sys.exit(len(words))
app._load = lambda entry: said
"""


def run(script: str) -> list[Any]:
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_one_runs_what_it_is_given_with_this_environment_and_ends_with_its_input() -> None:
    (words, environment, title, leads_session), code = run("""
processes = prefork(2, Path("/tmp"))
one = processes.run(["gateway", "a b", "c"], {"ONLY": "this", "LONG": "x" * 100_000})
print(one.stdout.readline().decode(), end="", flush=True)
one.stdin.close()
print(one.wait())
processes.end()
""")
    assert words == ["a b", "c"] and environment == {"ONLY": "this", "LONG": "x" * 100_000}
    assert title == f"{Path(sys.executable).name} -m spg99 gateway a b c"
    assert leads_session and code == 2


def test_those_that_nobody_needs_end_and_a_dead_one_is_passed_over() -> None:
    assert run("""
processes = prefork(3, Path("/tmp"))
pids = [each.pid for each in processes._waiting]
os.kill(pids[2], signal.SIGKILL)
os.waitid(os.P_PID, pids[2], os.WEXITED | os.WNOWAIT)
one = processes.run(["gateway"], {})
print(json.dumps(one.pid == pids[1]))
one.stdin.close()
print(one.wait())
processes.end()
print(json.dumps(processes.run(["gateway"], {})))
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(json.dumps("none is left"))
""") == [True, 0, None, "none is left"]


def test_they_end_with_their_parent_before_they_run_anything(tmp_path: Path) -> None:
    script = 'print(json.dumps([each.pid for each in prefork(2, Path("/tmp"))._waiting]), flush=True); os.kill(os.getpid(), 9)'
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=60)
    # Standard error is theirs too: its end is theirs.
    assert done.returncode == -9 and len(json.loads(done.stdout)) == 2, done.stderr


def test_there_are_none_beside_a_thread_or_without_room_for_a_name() -> None:
    assert run("""
print(json.dumps(prefork(2, Path("/" + "x" * 200_000)).run(["gateway"], {})))
import threading
end = threading.Event()
threading.Thread(target=end.wait).start()
print(json.dumps(prefork(2, Path("/tmp")).run(["gateway"], {})))
end.set()
""") == [None, None]


@pytest.mark.parametrize(("failing", "at"), [("fork", 3), ("pipe", 5), ("pipe", 6)])
def test_where_one_cannot_be_made_there_are_none_and_nothing_is_left_of_the_others(failing: str, at: int) -> None:
    """The third of four: its process, its first pipe or its second."""
    assert run(f"""
import errno
tries, real = [], os.{failing}
def fails():
    tries.append(1)
    if len(tries) == {at}:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    return real()
before = os.listdir("/proc/self/fd")
os.{failing} = fails
processes = prefork(4, Path("/tmp"))
print(json.dumps([processes.run(["gateway"], {{}}), len(tries), os.listdir("/proc/self/fd") == before]))
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(json.dumps("none is left"))
""") == [[None, at, True], "none is left"]
