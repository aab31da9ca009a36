"""A Gateway's workers that wait for their sockets. Here: who they are, those that were killed, those that cannot be made. Not here:
what they serve (tests/integration/gateway)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")

BEGIN = """
import asyncio, errno, json, os, signal, socket, sys
from pathlib import Path
from types import SimpleNamespace
from spg99 import log
from spg99.gateway import worker
from spg99.gateway.worker import prefork
from spg99.gateway.worker_processes import WorkerProcesses
log.configure("gateway")
worker._serve = lambda control, numbers: control.recv(1)
def tell(what): print(json.dumps(what), flush=True)
def title(pid): return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\\0")
def all_of(workers): return WorkerProcesses(SimpleNamespace(), None, mock_secret=b"", clock=None, preforked=workers)
listener = socket.create_server(("127.0.0.1", 0))
"""


def run(script: str) -> list[Any]:
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_is_named_by_the_sockets_that_it_was_given() -> None:
    parent, *titles = run("""
tell(os.getpid())
worker._serve = lambda control, numbers: (control.send(b"!"), control.recv(1))
async def serve():
    processes = all_of(prefork(2))
    for index in (0, 1):
        process, control = await processes._preforked_with(index, [listener.fileno()])
        control.recv(1)
        tell(title(process.pid).split(" -m ")[1])
        control.close()
        process.wait()
asyncio.run(serve())
""")
    assert titles == [f"spg99.gateway.worker {index} of {parent}" for index in (0, 1)]


def test_one_that_was_killed_is_passed_over_and_cleared_away() -> None:
    assert run("""
async def serve():
    workers = prefork(2)
    first, second = (each.process.pid for each in workers)
    os.kill(second, signal.SIGKILL)
    os.waitid(os.P_PID, second, os.WEXITED | os.WNOWAIT)
    processes = all_of(workers)
    process, control = await processes._preforked_with(0, [listener.fileno()])
    tell(process.pid == first)
    tell(await processes._preforked_with(1, [listener.fileno()]))
    control.close()
    tell(process.wait())
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        tell("none is left")
asyncio.run(serve())
""") == [True, None, 0, "none is left"]


@pytest.mark.parametrize("failing", ["os.fork", "socket.socketpair"])
def test_where_one_cannot_be_made_there_are_none_and_nothing_is_left_of_the_others(failing: str) -> None:
    assert run(f"""
tries, real = [], {failing}
def fails(*arguments):
    tries.append(1)
    if len(tries) == 3:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    return real(*arguments)
before = os.listdir("/proc/self/fd")
{failing} = fails
tell([prefork(4), len(tries), os.listdir("/proc/self/fd") == before])
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    tell("none is left")
""") == [[[], 3, True], "none is left"]
