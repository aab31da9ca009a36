"""Writers through the Gateway while compute, files, safekeeper, agent and all of it are killed or lost: with a safekeeper what was
acknowledged outlives them. And without one it does not, or this would see nothing."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import psycopg
import pytest

from faults.writers import Writer, grown, lost_of
from kit.platform import Platform, a_platform, wait_for

pytestmark = pytest.mark.slow  # broken

WRITERS = 4
BETWEEN = 120


@pytest.fixture
def kept() -> Iterator[Platform]:
    """A platform whose databases have a safekeeper."""
    with a_platform("--safekeeper") as platform:
        yield platform


def timeline_folder(platform: Platform) -> str:
    return str(platform.data_dir / "node" / "node-1" / "timelines" / platform.database("acme", "app")["timeline"])


def kill_compute(platform: Platform) -> None:
    """All processes of the compute at once."""
    for postmaster in platform.computes(platform.database("acme", "app")["timeline"]):
        for process in [*postmaster.children(recursive=True), postmaster]:
            with _gone():
                process.kill()


def lose_files(platform: Platform) -> None:
    """The compute and all its files."""
    folder = timeline_folder(platform)
    aside = f"{folder}-lost"
    os.rename(folder, aside)  # at once, as a disk is lost
    kill_compute(platform)
    shutil.rmtree(aside, ignore_errors=True)


def kill_safekeeper(platform: Platform) -> None:
    """It is started again by dev."""
    os.kill(platform.child("safekeeper"), signal.SIGKILL)


def freeze_safekeeper(platform: Platform) -> None:
    """It hangs for a while, longer than PostgreSQL waits for it."""
    pid = platform.child("safekeeper")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(6)  # wal_sender_timeout is 5 s
    os.kill(pid, signal.SIGCONT)


def kill_agent_and_lose_files(platform: Platform) -> None:
    os.kill(platform.child("agent"), signal.SIGKILL)
    lose_files(platform)


def lose_all_but_safekeeper_and_objects(platform: Platform) -> None:
    """Every process of the platform is killed at once, and the node's files are gone."""
    folder = timeline_folder(platform)
    assert platform.process is not None
    for process in [*psutil.Process(platform.process.pid).children(recursive=True), *platform.processes("postgres")]:
        with _gone():
            process.kill()
    platform.process.kill()
    platform.process.wait(30)
    wait_for("no process of it", lambda: not platform.processes(str(platform.data_dir)), seconds=60)
    shutil.rmtree(folder)
    platform.start()


FAULTS: dict[str, Callable[[Platform], None]] = {
    fault.__name__: fault
    for fault in (
        kill_compute,
        lose_files,
        kill_safekeeper,
        freeze_safekeeper,
        kill_agent_and_lose_files,
        lose_all_but_safekeeper_and_objects,
    )
}


def test_acknowledged_rows_outlive_their_files(kept: Platform) -> None:
    rows_survive(kept, [lose_files, kill_safekeeper, lose_files, kill_compute, kill_agent_and_lose_files])


def test_and_are_lost_without_a_safekeeper() -> None:
    """The harness sees losses: the same with a node alone."""
    with a_platform() as platform:
        platform.create_database("acme", "app", idle_timeout_seconds=300)
        with platform.connect("acme", "app") as connection:
            connection.execute("create table rows (writer int, n int, primary key (writer, n))")
            connection.execute("insert into rows values (1, 1)")
        lose_files(platform)
        with pytest.raises(psycopg.OperationalError):
            platform.connect("acme", "app").close()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_rounds_of_all_faults(kept: Platform) -> None:
    """SPG99_ROUNDS rounds, each a fault by chance (SPG99_SEED)."""
    seed = int(os.environ.get("SPG99_SEED", "1"))
    chance = random.Random(seed)
    names = sorted(FAULTS)
    rounds = int(os.environ.get("SPG99_ROUNDS", "50"))
    rows_survive(kept, [FAULTS[chance.choice(names)] for _ in range(rounds)])


def rows_survive(platform: Platform, faults: list[Callable[[Platform], None]]) -> None:
    """Writes while one fault follows the other; counts at the end."""
    platform.create_database("acme", "app", idle_timeout_seconds=300)
    with platform.connect("acme", "app") as connection:
        connection.execute("create table rows (writer int, n int, primary key (writer, n))")
    stop = threading.Event()
    writers: list[Writer] = [Writer(number, platform.dsn("acme", "app"), stop) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    told = []
    try:
        for fault in faults:
            wait_for("rows to be acknowledged", grown(writers, BETWEEN), seconds=120)
            began = time.monotonic()
            fault(platform)
            wait_for(f"rows after {fault.__name__}", grown(writers, 1), seconds=120)
            told.append(f"{fault.__name__} {time.monotonic() - began:.1f} s")
    finally:
        stop.set()
        for writer in writers:
            writer.join(90)
    assert [writer.surprise for writer in writers] == [None] * WRITERS
    with platform.connect("acme", "app") as connection:
        found = connection.execute("select writer, n from rows").fetchall()
    acknowledged, lost = lost_of(writers, found)
    print(f"{len(faults)} faults, {len(acknowledged)} rows acknowledged, {len(lost)} lost; {', '.join(told)}")
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged rows are lost: {sorted(lost)[:10]}"
    assert len(acknowledged) >= BETWEEN * len(faults)


def _gone() -> contextlib.suppress:

    return contextlib.suppress(psutil.NoSuchProcess)
