"""Writers through the Gateway while their compute is killed again and again: what was acknowledged is there, all of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psutil
import pytest

from faults.settled import wait_settled
from faults.writers import Writer, grown, lost_of
from kit.platform import Platform, wait_for

pytestmark = pytest.mark.slow  # broken

WRITERS = 4
BETWEEN_KILLS = 200


def test_no_acknowledged_row_is_lost(platform: Platform) -> None:
    rows_survive(platform, "rows_short", kills=3)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_acknowledged_row_is_lost_in_thirty_kills(platform: Platform) -> None:
    rows_survive(platform, "rows_long", kills=30)


def rows_survive(platform: Platform, name: str, *, kills: int) -> None:
    """Kills the compute (postmaster and all its children at once) `kills` times under write load; counts at the end."""
    database = platform.create_database("writers", name, idle_timeout_seconds=300)
    with platform.connect("writers", name) as connection:
        connection.execute("create table rows (writer int, n int, primary key (writer, n))")
    stop = threading.Event()
    writers = [Writer(number, platform.dsn("writers", name), stop) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    pauses: list[float] = []
    try:
        for _ in range(kills):
            wait_for("rows to be acknowledged", grown(writers, BETWEEN_KILLS), seconds=60)
            (postmaster,) = wait_for("its compute", lambda: _postmasters(platform, database["timeline"]), seconds=30)
            sessions = sum(writer.sessions for writer in writers)
            family = [*postmaster.children(recursive=True), postmaster]
            killed_at = time.monotonic()
            for process in family:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            wait_for("a new session", _more_sessions(writers, sessions), seconds=60, every=0.005)
            pauses.append(time.monotonic() - killed_at)
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    assert [writer.surprise for writer in writers] == [None] * WRITERS
    with platform.connect("writers", name) as connection:
        found = set(connection.execute("select writer, n from rows").fetchall())
    acknowledged, lost = lost_of(writers, found)
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged rows are lost: {sorted(lost)[:10]}"
    extra = found - acknowledged  # committed, and the answer was lost: one per broken session at most
    assert len(extra) <= sum(writer.sessions for writer in writers)
    assert platform.database("writers", name)["writer_term"] >= kills + 1
    print(
        f"{kills} kills, {len(acknowledged)} rows acknowledged, 0 lost, {len(extra)} committed without an answer; "
        f"writing again after {sorted(pauses)[len(pauses) // 2] * 1000:.0f} ms (median), {max(pauses) * 1000:.0f} ms (most)"
    )
    assert platform.api("DELETE", f"/tenants/writers/dbs/{name}?force=true").status_code == 202
    wait_settled(platform)


def _more_sessions(writers: list[Writer], before: int) -> Callable[[], bool]:
    return lambda: sum(writer.sessions for writer in writers) > before


def _postmasters(platform: Platform, timeline: str) -> list[psutil.Process]:
    return [p for p in platform.computes() if "-D" in p.info["cmdline"] and timeline in " ".join(p.info["cmdline"])]
