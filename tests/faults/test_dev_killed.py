"""`spg99 dev` ended at any moment of its start, in any way: nothing of it is left, and the next start in its folder works."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import psycopg
import pytest

from faults.settled import wait_settled
from kit.platform import BIN, Platform, a_platform_not_started, wait_for

pytestmark = pytest.mark.slow  # broken

SHORT = [(0.25, signal.SIGINT), (0.9, signal.SIGKILL), (1.6, signal.SIGTERM), (2.6, signal.SIGKILL)]


@pytest.fixture
def lasting() -> Iterator[Platform]:
    """A platform that nobody has started; whatever is left of it at the end is ended."""
    with a_platform_not_started() as platform:
        yield platform


@pytest.mark.long  # each run kills `dev` in every phase of its start (integration/commands/test_dev.py)
def test_ended_while_starting(lasting: Platform) -> None:
    end_and_start_again(lasting, SHORT)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ended_while_starting_thirty_times(lasting: Platform) -> None:
    chance = random.Random()
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    end_and_start_again(lasting, [(chance.uniform(0.1, 4.0), signals[n % 3]) for n in range(30)])


def end_and_start_again(platform: Platform, moments: list[tuple[float, signal.Signals]]) -> None:
    """At each moment after the start one signal; in the end a start that stays, with everything there."""
    for seconds, number in moments:
        _start(platform)
        time.sleep(seconds)  # the moment itself is what is tested
        assert platform.process is not None
        platform.process.send_signal(number)
        code = platform.process.wait(30)
        told = f"{number.name} after {seconds:.2f} s"
        assert code in {0, 130, 143, -number}, f"{told}: exit code {code}\n{platform.log()[-3000:]}"
        wait_for(f"no process after {told}", lambda: not _left(platform), seconds=45)
        assert not _sockets(platform), f"{told}: {_sockets(platform)}"
        assert _listening(platform) == [], told
    platform.start()
    if platform.api("GET", "/tenants/acme/dbs/app").status_code == 404:
        platform.create_database()
    with platform.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    wait_settled(platform)
    platform.stop()
    wait_for("no process after an orderly end", lambda: not _left(platform), seconds=10)
    assert not _sockets(platform)


def test_killed_while_databases_run(lasting: Platform) -> None:
    """kill -9 of dev itself: its children end by themselves, computes too; the next start finds every row."""
    lasting.start()
    lasting.create_database(idle_timeout_seconds=300)
    with lasting.connect() as connection:
        connection.execute("create table t as select generate_series(1, 1000) n")
    assert lasting.process is not None
    lasting.process.kill()
    lasting.process.wait(10)
    lasting.start()  # at once, while the old children may still be ending
    with lasting.connect() as connection:
        assert connection.execute("select count(*) from t").fetchone() == (1000,)
    wait_settled(lasting)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(lasting.dsn().replace("/app?", "/other?"), connect_timeout=10)
    lasting.stop()
    wait_for("no process is left", lambda: not _left(lasting), seconds=10)


def _start(platform: Platform) -> None:
    with (platform.data_dir / "dev.log").open("ab") as log:
        platform.process = subprocess.Popen(
            [BIN / "spg99", "dev", "--data-dir", platform.data_dir, "--api-port", "0", "--gateway-port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _left(platform: Platform) -> list[psutil.Process]:
    return platform.processes(str(platform.data_dir))


def _sockets(platform: Platform) -> list[str]:
    """Unix sockets in the folder that somebody could still try to connect to."""
    return [str(path) for path in platform.data_dir.rglob("*") if path.is_socket()]


def _listening(platform: Platform) -> list[int]:
    """Ports of the last dev on which somebody still listens for it."""
    state = platform.data_dir / "dev.json"
    if not state.exists():
        return []
    ports = {platform.dev().get("api_port"), platform.dev().get("gateway_port")} - {None}
    return [
        c.laddr.port
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr.port in ports and _is_ours(c.pid, platform)
    ]


def _is_ours(pid: int | None, platform: Platform) -> bool:
    try:
        return pid is not None and str(platform.data_dir) in " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
