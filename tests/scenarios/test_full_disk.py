"""One tenant fills the node's disk, and nobody else notices: the whole platform on a file system of 500 MB."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from integration.node.limits import FILL, MB, fill, small_disk
from kit.platform import Platform, wait_for
from spg99.node.storage import LIBRARY

pytestmark = [
    pytest.mark.slow,  # broken
    pytest.mark.timeout(300),
    pytest.mark.skipif(not LIBRARY.exists(), reason="the library was not built: no C compiler at set-up"),
]


@contextmanager
def a_small_platform(size_mb: int) -> Iterator[Platform]:
    """A platform whose catalogue and node lie on one small disk."""
    folder = Path(tempfile.mkdtemp(prefix="spg99-"))
    try:
        with small_disk(folder, size_mb=size_mb):
            folder.chmod(0o711)
            platform = Platform(folder)
            try:
                yield platform.start()
                platform.stop()
                wait_for("no process of the platform is left", lambda: not platform.processes(), seconds=20)
            finally:
                if platform.process is not None and platform.process.poll() is None:
                    platform.process.kill()
                for process in platform.processes():
                    process.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Neighbour:
    """Goes on with what a tenant does: logs in, writes, sleeps and wakes, creates and deletes. Notes every failure."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        platform.create_database("good", "app")
        with platform.connect("good", "app", autocommit=True) as session:
            session.execute("CREATE TABLE rows (id serial, at timestamptz DEFAULT now())")
        self.rounds = 0
        self.slowest_seconds = 0.0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> Neighbour:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _live(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                self._round()
            except (psycopg.Error, httpx.HTTPError, AssertionError) as error:
                self.failures.append(f"round {self.rounds}: {type(error).__name__}: {error}")
            self.rounds += 1
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)

    def _round(self) -> None:
        with self.platform.connect("good", "app", autocommit=True) as session:
            session.execute("INSERT INTO rows DEFAULT VALUES")
        put_to_sleep(self.platform, "good")
        with self.platform.connect("good", "app", autocommit=True) as session:  # wakes it
            session.execute("INSERT INTO rows DEFAULT VALUES")
        name = f"n{self.rounds}"
        self.platform.create_database("good", name)
        self.platform.api("DELETE", f"/tenants/good/dbs/{name}").raise_for_status()


def put_to_sleep(platform: Platform, tenant: str) -> None:
    """Refused while the Gateway still counts a client that has just left."""
    wait_for("it may be stopped", lambda: platform.api("POST", f"/tenants/{tenant}/dbs/app/stop").is_success)
    platform.database(tenant, "app", wait_for="stopped")


def missing(platform: Platform) -> str:
    return " ".join(
        httpx.get(platform.env["SPG99_CP_URL"].removesuffix("/v2") + "/readyz", timeout=10).json()["missing"]
    )


def metric(platform: Platform, name: str) -> float:
    text = httpx.get(platform.env["SPG99_CP_URL"].removesuffix("/v2") + "/metrics", timeout=10).text
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


@pytest.mark.parametrize("limit", [None, 128 * MB])
def test_one_tenant_fills_up_and_everybody_else_goes_on(limit: int | None) -> None:
    # With a limit the disk has room for it beside what the platform and the neighbour write meanwhile: the limit comes first.
    with a_small_platform(500 if limit is None else 1200) as platform:
        platform.create_database("greedy", "app", **({"storage_limit_bytes": limit} if limit else {}))
        neighbour = Neighbour(platform)
        state, sentence = (
            ("limit_reached", "this database has reached its storage limit of 128 MB (storage_limit_bytes)")
            if limit
            else ("node_full", "the disk of this database's node is nearly full")
        )
        with neighbour:
            with platform.connect("greedy", "app", autocommit=True) as session:
                refused = fill(session)
                assert refused.sqlstate == "53100" and sentence in str(refused), refused
                wait_for("the API tells it", lambda: platform.database("greedy", "app")["storage_state"] == state)
                if limit is None:
                    wait_for("/readyz tells it", lambda: "nearly full on" in missing(platform))
                    assert metric(platform, "spg99_node_disk_short{") == 1
                # It is tried again and again, as programs do.
                until = neighbour.rounds + 3
                while neighbour.rounds < until and not neighbour.failures:
                    with contextlib.suppress(psycopg.errors.DiskFull):
                        session.execute(FILL)
            # It sleeps and is woken while there is no room.
            put_to_sleep(platform, "greedy")
            with platform.connect("greedy", "app", autocommit=True) as session:
                count = session.execute("SELECT count(*) FROM filler").fetchone()
                assert count is not None and count[0] >= 20000
                session.execute("DELETE FROM filler WHERE id % 2 = 0")
                session.execute("VACUUM filler")
                session.execute("INSERT INTO filler SELECT * FROM filler LIMIT 1000")
                session.execute("TRUNCATE filler")
                wait_for("it may grow again", lambda: grows(session))
                session.execute("DROP TABLE filler")
            wait_for(
                "it heals by itself", lambda: platform.database("greedy", "app")["storage_state"] == "ok", seconds=90
            )
            wait_for("/readyz is content", lambda: "nearly full on" not in missing(platform))
            until = neighbour.rounds + 2
            wait_for("the neighbour has gone on", lambda: neighbour.rounds >= until or neighbour.failures, seconds=60)
        assert not neighbour.failures
        assert neighbour.rounds >= 4
        with platform.catalogue() as catalogue:
            types = {row[0] for row in catalogue.execute("SELECT event_type FROM outbox_events")}
        assert f"database.storage_{state}" in types and "database.storage_ok" in types
        print(f"{neighbour.rounds} rounds of the neighbour, the slowest {neighbour.slowest_seconds:.1f} s")


def grows(session: psycopg.Connection) -> bool:
    with contextlib.suppress(psycopg.errors.DiskFull):
        session.execute(FILL)
        return True
    return False
