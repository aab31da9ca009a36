"""Forked processes: what they inherit and what not, how they end, what `ps` shows. Each test forks from a small process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from spg99.processes import forking

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")

BEGIN = """
import json, os, random, signal, sys, threading
from pathlib import Path
from spg99.processes.forking import fork, may_fork
from spg99.processes.title import bytes_max, set_title
def tell(what): os.write(1, json.dumps(what).encode() + b"\\n")
"""


def run(script: str, *arguments: str, **environment: str) -> list[Any]:
    """What the script tells, line by line."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script, *arguments],
        capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_ends_with_what_its_work_says_and_nothing_of_the_parent_runs_in_it() -> None:
    ends = run("""
import atexit, contextlib, io
atexit.register(lambda: tell("the parent's end"))
def raises(): raise RuntimeError("what?")
def dies(): os.kill(os.getpid(), signal.SIGKILL)
sys.stdout.write('"before"\\n')
def interrupted(): raise KeyboardInterrupt
for work in (lambda: None, interrupted, lambda: 3, lambda: sys.exit(4), lambda: sys.exit("text"), sys.exit, raises, dies):
    try:
        tell(fork(work).wait())
    finally:
        sys.stderr = io.StringIO()
""")
    assert ends == ["before", 0, 130, 3, 4, 1, 0, 1, -9, "the parent's end"]


def test_it_has_no_open_file_but_those_it_is_given() -> None:
    opened = run("""
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
def shown(): tell([number for number in held if os.path.exists(f"/proc/self/fd/{number}")])
fork(shown, keep=[held[3], held[11]]).wait()
tell([held[3], held[11]])
""")
    assert opened[0] == opened[1]


def test_its_chance_and_its_signals_are_its_own() -> None:
    first, second, own = run("""
signal.signal(signal.SIGTERM, lambda *_: tell("the parent's"))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
NUMBERS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
SAID = {signal.SIG_DFL: "default", signal.SIG_IGN: "ignored", signal.default_int_handler: "Python's own"}
def dice(): tell([random.random(), [SAID.get(signal.getsignal(number), "the parent's") for number in NUMBERS]])
for _ in range(2): fork(dice).wait()
dice()
""")
    assert len({first[0], second[0], own[0]}) == 3
    assert first[1] == second[1] == ["default", "ignored", "Python's own"] != own[1]


def test_a_signal_reaches_it_and_never_who_comes_after_it() -> None:
    assert run("""
reads, writes = os.pipe()
child = fork(lambda: os.read(reads, 1) and None, keep=[reads])
child.send_signal(signal.SIGTERM)
tell(child.wait())
child.kill()
tell("quiet")
""") == [-15, "quiet"]


def test_its_end_is_seen_where_the_kernel_keeps_no_ends() -> None:
    """Whoever starts us may ignore SIGCHLD, and that is inherited."""
    assert run("""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
reads, writes = os.pipe()
child = fork(lambda: os.read(reads, 1) and None, keep=[reads])
threading.Timer(0, child.kill).start()
tell(child.wait())
child.kill()
gone = fork(lambda: 3)
while Path(f"/proc/{gone.pid}").exists(): pass
gone.kill()
tell(gone.wait())
""") == [0, 0]


def test_there_is_no_fork_beside_a_thread() -> None:
    assert run("""
tell(may_fork())
end = threading.Event()
threading.Thread(target=end.wait).start()
tell(may_fork())
end.set()
""") == [True, False]


def test_no_fork_where_the_system_is_not_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking.sys, "platform", "darwin")
    assert not forking.may_fork()


@pytest.mark.parametrize("length", [1, 60, 500, 800, 900, 1100, 3000])
def test_the_title_is_the_command_line_and_the_environment_stays(length: int) -> None:
    """Shorter than the arguments were, longer than they, longer than there is room."""
    title = "python -m spg99 " + "x" * length
    has_room, shown, python, c = run(
        """
import ctypes
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
def titled():
    os.environ["ADDED"] = "later"
    tell(bytes_max())
    set_title("python -m spg99 " + "x" * int(sys.argv[1]))
    tell(Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0 ").decode())
    tell([os.environ["GIVEN"], os.environ["ADDED"]])
    tell([libc.getenv(b"GIVEN").decode(), libc.getenv(b"ADDED").decode()])
fork(titled).wait()
""",
        str(length),
        GIVEN="value " * 40,
    )
    assert 800 < has_room < 3000
    assert shown == title[:has_room]
    assert python == c == ["value " * 40, "later"]
