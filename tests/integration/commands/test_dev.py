"""`spg99 dev` as a process: what it leaves behind (nothing), what it heals, what it refuses."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import random
import signal
import socket
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kit.platform import BIN, Platform, a_platform_not_started, wait_for

PORTS = ("--api-port", "0", "--gateway-port", "0")
NAMES = ("catalogue", "control-plane", "agent", "gateway")


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A platform that is not started; whatever the test leaves of it is killed."""
    with a_platform_not_started(*PORTS) as made:
        yield made


def pid_of(platform: Platform, name: str) -> int:
    return int(platform.dev()["processes"].get(name, {}).get("pid", 0))


def started(platform: Platform, name: str) -> bool:
    """Whether dev.json names a living process of this name; there may be no dev.json yet."""
    assert platform.process is None or platform.process.poll() is None, platform.log()[-4000:]
    try:
        return psutil.pid_exists(pid_of(platform, name))
    except (OSError, KeyError):
        return False


def sockets_in(data_dir: Path) -> list[Path]:
    return [path for path in data_dir.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def nothing_left(platform: Platform, *, seconds: float = 5) -> None:
    wait_for("no process is left", lambda: not platform.processes(), seconds=seconds)
    assert sockets_in(platform.data_dir) == []


def test_it_starts_tells_where_it_is_and_leaves_nothing(platform: Platform) -> None:
    platform.start()
    state = platform.dev()
    platform.create_database()
    with platform.connect() as connection:
        connection.execute("create table t as select 1 as n")
        assert platform.computes()
    key_file = Path(state["admin_key_file"])
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert key_file.read_text().strip() not in (platform.data_dir / "dev.json").read_text() + platform.log()
    assert f"127.0.0.1:{state['api_port']}/v2" in platform.log()
    assert platform.process is not None
    platform.process.send_signal(signal.SIGINT)
    assert platform.process.wait(timeout=30) == 0
    nothing_left(platform)
    assert refuses(state["api_port"]) and refuses(state["gateway_port"])
    assert not (platform.data_dir / "ready.json").exists()

    platform.start()  # the same addresses and the same data
    assert (platform.dev()["api_port"], platform.dev()["gateway_port"]) == (state["api_port"], state["gateway_port"])
    with platform.connect() as connection:
        assert connection.execute("select n from t").fetchone() == (1,)
    platform.stop()
    nothing_left(platform)


@pytest.mark.slow  # broken
def test_what_is_killed_comes_back_under_the_same_address(platform: Platform) -> None:
    platform.start()
    platform.create_database()
    dsn = platform.dsn()

    def serves() -> bool:
        with contextlib.suppress(Exception), platform.connect() as connection:
            return connection.execute("select 1").fetchone() == (1,)
        return False

    for name in NAMES:
        before = pid_of(platform, name)
        os.kill(before, signal.SIGKILL)
        wait_for(f"a new {name}", lambda name=name, before=before: pid_of(platform, name) not in (0, before))
        wait_for(f"the database to answer after {name} was killed", serves, seconds=60)
        assert platform.dsn() == dsn
    (postmaster,) = [p for p in platform.processes("catalogue", "-D") if p.name() == "postgres"]
    postmaster.kill()
    wait_for("another postmaster of the catalogue", lambda: not postmaster.is_running())
    wait_for("the database to answer after the catalogue's postmaster was killed", serves, seconds=60)
    assert platform.dsn() == dsn
    platform.stop()
    nothing_left(platform)


@pytest.mark.slow  # broken
def test_killing_dev_itself_leaves_nothing_and_the_next_one_works(platform: Platform) -> None:
    platform.start()
    platform.create_database()
    with platform.connect() as connection:
        connection.execute("create table t as select 1 as n")
    assert platform.process is not None
    platform.process.kill()
    platform.process.wait()
    nothing_left(platform, seconds=30)
    platform.start()
    with platform.connect() as connection:
        assert connection.execute("select n from t").fetchone() == (1,)
    platform.stop()
    nothing_left(platform)


def test_it_may_be_started_as_a_module_and_a_second_one_in_the_same_folder_is_refused(platform: Platform) -> None:
    ready = platform.data_dir / "ready.json"
    with (platform.data_dir / "dev.log").open("ab") as log:
        platform.process = subprocess.Popen(
            [sys.executable, "-m", "spg99", "dev", "--data-dir", platform.data_dir, *PORTS, "--ready-file", ready],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    wait_for("spg99 dev to be ready", lambda: ready.exists() or platform._fail_if_dead(), seconds=60)
    second = subprocess.run(
        [BIN / "spg99", "dev", "--data-dir", platform.data_dir, *PORTS], capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 1
    assert f"error: Another `spg99 dev` (pid {platform.process.pid}) already runs" in second.stderr
    assert refuses(platform.dev()["api_port"]) is False
    platform.process.send_signal(signal.SIGTERM)
    assert platform.process.wait(timeout=30) == 0
    nothing_left(platform)


@pytest.mark.slow  # broken
def test_after_killing_every_process_the_next_dev_works(platform: Platform) -> None:
    platform.start()
    platform.create_database()
    client = platform.connect(autocommit=True)
    client.execute("create table t as select 1 as n")
    # All of ours at once; PostgreSQL's own processes stay and must be found again.
    assert platform.process is not None
    for pid in (platform.process.pid, *(pid_of(platform, name) for name in NAMES)):
        os.kill(pid, signal.SIGKILL)
    platform.process.wait()
    client.close()
    assert [p for p in platform.processes() if p.name() == "postgres"]
    platform.start()
    with platform.connect() as connection:
        assert connection.execute("select n from t").fetchone() == (1,)
    platform.stop()
    nothing_left(platform)


@pytest.mark.slow  # broken
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.long),  # the demo's tests end it so as well
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        signal.SIGKILL,
    ],
)
def test_ending_it_at_any_moment_of_the_start_leaves_nothing(platform: Platform, number: signal.Signals) -> None:
    """A moment in each phase of the start, drawn anew each time and told when it fails."""
    for phase in ("", *NAMES):
        more_seconds = random.uniform(0, 0.7)
        with (platform.data_dir / "dev.log").open("ab") as log:
            platform.process = subprocess.Popen(
                [BIN / "spg99", "dev", "--data-dir", platform.data_dir, *PORTS],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if phase:
            wait_for(f"the start of {phase}", lambda phase=phase: started(platform, phase), seconds=60)
        time.sleep(more_seconds)  # the moment is the test's subject; nothing is waited for
        platform.process.send_signal(number)
        platform.process.wait(timeout=40)
        moment = f"{more_seconds:.3f} s after the start of {phase or 'dev'}"
        wait_for(f"nothing is left, {number.name} {moment}", lambda: not platform.processes(), seconds=40)
    platform.start()  # nothing half-made stands in the way
    assert platform.api("GET", "/account").status_code == 200
    platform.stop()
    nothing_left(platform)


@pytest.mark.slow  # broken
def test_closing_the_terminal_leaves_nothing(platform: Platform) -> None:
    terminal, inside = pty.openpty()
    ready = platform.data_dir / "ready.json"
    platform.process = subprocess.Popen(
        [BIN / "spg99", "dev", "--data-dir", platform.data_dir, "--ready-file", ready, *PORTS],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(inside)
    shown = b""
    while b"Ctrl-C stops everything" not in shown:
        shown += os.read(terminal, 65536)
    assert ready.exists()
    os.close(terminal)  # SIGHUP, and every further line that anybody writes fails
    platform.process.wait(timeout=40)
    nothing_left(platform)


def test_a_named_port_that_is_taken_is_refused_in_a_sentence(platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [
            BIN / "spg99",
            "dev",
            "--data-dir",
            platform.data_dir,
            "--api-port",
            "0",
            "--gateway-port",
            str(port),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"Port {port} of localhost cannot be used" in done.stderr
    nothing_left(platform)


@pytest.mark.slow  # again
def test_when_the_usual_ports_are_taken_others_serve(platform: Platform) -> None:
    platform.arguments = ()
    with contextlib.ExitStack() as taken:
        for port in (8099, 5432):
            with contextlib.suppress(OSError):  # taken by somebody else: just as well
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        platform.start()
    assert {platform.dev()["api_port"], platform.dev()["gateway_port"]}.isdisjoint({8099, 5432})
    assert platform.api("GET", "/account").status_code == 200
    platform.stop()
    nothing_left(platform)


@pytest.mark.slow  # again
def test_a_port_that_was_handed_out_is_not_left_silently(platform: Platform) -> None:
    platform.start()
    port = int(platform.dev()["gateway_port"])
    platform.stop()
    command = [BIN / "spg99", "dev", "--data-dir", platform.data_dir]
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"Port {port} of localhost" in done.stderr and f"pid {os.getpid()}" in done.stderr
    nothing_left(platform)
    platform.start()
    assert platform.dev()["gateway_port"] == port
    platform.stop()


def test_a_child_that_cannot_start_ends_dev_with_its_reason(platform: Platform) -> None:
    (platform.data_dir / "empty").mkdir()
    command = [BIN / "spg99", "dev", "--data-dir", platform.data_dir, *PORTS, "--pg-bin", platform.data_dir / "empty"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "There is no PostgreSQL in" in done.stderr
    assert "error: catalogue ended (exit code 1) before it was ready" in done.stderr
    assert "Traceback" not in done.stderr
    nothing_left(platform)
