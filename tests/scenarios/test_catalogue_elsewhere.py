"""The whole platform on a catalogue that is not its own: PostgreSQL 16 on a TCP port, with a password, as an operator has it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from kit.platform import Platform, a_platform, wait_for
from spg99.postgres import find_binaries, service_account
from spg99.postgres.accounts import make_folder

pytestmark = pytest.mark.slow  # again

PASSWORD = "catalogue-pass-4711"


@pytest.fixture(scope="module")
def server(session_data_dir: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """URL of the catalogue as its owner, and the server, which nobody but this test starts or stops."""
    account = service_account(None)
    binaries = find_binaries(None, copy_to=session_data_dir / "programs", account=account, major=16)
    assert binaries.version == "16.14"
    folder = session_data_dir / "elsewhere"
    make_folder(folder, mode=0o700, owner=account)
    options = {"cwd": "/", **(account.popen_options() if account is not None else {})}
    data = folder / "data"
    subprocess.run(
        [binaries.program("initdb"), "-D", data, "-U", "operator", "--auth-local", "trust", "--auth-host", "scram-sha-256",
         "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, **options,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [binaries.program("postgres"), "-D", data, "-c", "listen_addresses=127.0.0.1", "-p", str(port), "-k", folder,
         "-c", "fsync=off"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options,
    )  # fmt: skip
    try:
        wait_for("PostgreSQL 16", (folder / f".s.PGSQL.{port}").exists)
        with _operator(folder, port) as admin:
            admin.execute(f"create role spg99_owner login createrole password '{PASSWORD}'")
            admin.execute("create database spg99 owner spg99_owner")
        yield f"postgresql://spg99_owner:{PASSWORD}@127.0.0.1:{port}/spg99", process
    finally:
        process.terminate()
        process.wait(20)


def _operator(socket_dir: Path, port: int) -> psycopg.Connection[tuple[object, ...]]:
    def connected() -> psycopg.Connection[tuple[object, ...]] | None:
        try:
            return psycopg.connect(host=str(socket_dir), port=port, user="operator", dbname="postgres", autocommit=True)
        except psycopg.OperationalError:
            return None  # it is starting up

    connection = wait_for("PostgreSQL 16 to take connections", connected)
    assert connection is not None
    return connection


def test_a_whole_life_and_the_next_start(server: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, postgres = server
    with a_platform(environment={"SPG99_CATALOGUE_URL": url}) as platform:
        with psycopg.connect(url) as catalogue:
            assert catalogue.info.server_version == 160014
            assert catalogue.execute("select count(*) from nodes").fetchone() == (1,)
        assert platform.child("catalogue") == 0 and not (platform.data_dir / "catalogue").exists()

        platform.create_database(name="app", idle_timeout_seconds=1)
        with platform.connect() as connection:
            connection.execute("create table t as select generate_series(1, 1000) n")
            changed = platform.api("PATCH", "/tenants/acme/dbs/app", json={"size": "L2"})
            assert changed.status_code == 200, changed.text
            assert (changed.json()["current_profile"], changed.json()["target_profile"]) == ("L1", "L2")
        _asleep(platform)
        with platform.connect() as connection:  # the wake
            assert connection.execute("select count(*) from t").fetchone() == (1000,)
            woken = platform.database()
            assert (woken["writer_term"], woken["current_profile"]) == (2, "L2")
        dsn = platform.dsn()
        platform.api("POST", "/tenants/acme/credentials/rotate", json={}).raise_for_status()
        wait_for("the old password to be refused", lambda: _refused(dsn))

        platform.stop()
        assert postgres.poll() is None, "it is not ours to stop"
        platform.start()  # finds everything again
        with platform.connect() as connection:
            assert connection.execute("select count(*) from t").fetchone() == (1000,)
        assert platform.api("DELETE", "/tenants/acme/dbs/app?force=true").status_code == 202
        wait_for("404", lambda: platform.api("GET", "/tenants/acme/dbs/app").status_code == 404)
        assert platform.api("DELETE", "/tenants/acme").status_code in (200, 202, 204)
        wait_for("its end among the events", lambda: "database.deleted" in _events(url))
        assert _events(url).count("database.ready") >= 3
        assert PASSWORD not in platform.log() and PASSWORD not in (platform.data_dir / "dev.json").read_text()


def _asleep(platform: Platform) -> None:
    wait_for("the database to sleep", lambda: platform.database()["state"] == "stopped")


def _refused(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        return "password authentication failed" in str(error)
    return False


def _events(url: str) -> list[str]:
    with psycopg.connect(url) as catalogue:
        return [row[0] for row in catalogue.execute("select event_type from outbox_events order by position")]
