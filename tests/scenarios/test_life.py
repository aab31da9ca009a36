"""The life of a database as its users see it: sleeping, waking, being killed, being deleted. Real processes, real clients."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from kit.platform import Platform, wait_for


def asleep(platform: Platform, name: str) -> bool:
    return platform.database(name=name)["state"] == "stopped"


def test_a_new_database_sleeps_and_costs_no_process(platform: Platform) -> None:
    database = platform.create_database(name="fresh")
    assert database["state"] == database["status"] == "stopped"
    assert database["current_scale"] == 0
    assert database["worker_id"] is None
    assert platform.computes(database["timeline"]) == [], "and those of other tests come and go"


def test_the_first_connection_wakes_it_and_idleness_stops_it(platform: Platform) -> None:
    platform.create_database(name="nap", idle_timeout_seconds=1)
    with platform.connect(name="nap") as connection:
        connection.execute("create table t as select generate_series(1, 10) n")
        running = platform.database(name="nap")
        assert running["state"] == "ready"
        assert running["current_scale"] == 1
        wait_for("the connection to be counted", lambda: platform.database(name="nap")["active_connections"] == 1)
    stopped = wait_for(
        "the database to sleep", lambda: asleep(platform, "nap") and platform.database(name="nap"), seconds=15
    )
    assert stopped["current_scale"] == 0
    with platform.connect(name="nap") as connection:
        assert connection.execute("select count(*) from t").fetchone() == (10,)
    assert platform.database(name="nap")["writer_term"] == stopped["writer_term"] + 1


@pytest.mark.slow  # again
def test_a_hundred_clients_wake_a_sleeper_once(platform: Platform) -> None:
    before = platform.create_database(name="crowd", size="L3")
    barrier = threading.Barrier(100)

    def client(number: int) -> int:
        barrier.wait()
        with platform_connect() as connection:
            row = connection.execute("select %s::int", (number,)).fetchone()
            assert row is not None
            return int(row[0])

    dsn = platform.dsn(name="crowd")

    def platform_connect() -> psycopg.Connection:  # type: ignore[type-arg]
        return psycopg.connect(dsn, connect_timeout=60)

    with ThreadPoolExecutor(100) as pool:
        assert sorted(pool.map(client, range(100))) == list(range(100))
    assert platform.database(name="crowd")["writer_term"] == before["writer_term"] + 1


def test_clients_that_arrive_while_it_stops_see_only_latency(platform: Platform) -> None:
    platform.create_database(name="doors", idle_timeout_seconds=300)
    for _ in range(5):
        with platform.connect(name="doors") as connection:
            connection.execute("select 1")
        wait_for("the lease to be given back", lambda: platform.database(name="doors")["active_connections"] == 0)
        platform.api("POST", "/tenants/acme/dbs/doors/stop").raise_for_status()
        with platform.connect(name="doors") as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_database_in_use_is_never_stopped(platform: Platform) -> None:
    platform.create_database(name="busy", idle_timeout_seconds=1)
    with platform.connect(name="busy") as connection:
        pid = connection.execute("select pg_backend_pid()").fetchone()
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            assert platform.database(name="busy")["state"] == "ready"
            assert connection.execute("select pg_backend_pid()").fetchone() == pid
            time.sleep(0.3)


def test_a_killed_compute_is_replaced_and_the_dsn_stays(platform: Platform) -> None:
    database = platform.create_database(name="phoenix", idle_timeout_seconds=300)
    dsn = platform.dsn(name="phoenix")
    with psycopg.connect(dsn) as connection:
        connection.execute("create table t (n int)")
        connection.execute("insert into t values (1)")
    term = platform.database(name="phoenix")["writer_term"]
    (postmaster,) = platform.computes(database["timeline"])
    postmaster.kill()
    with psycopg.connect(dsn, connect_timeout=30) as connection:
        assert connection.execute("select n from t").fetchone() == (1,)
    assert platform.database(name="phoenix")["writer_term"] > term
    assert platform.dsn(name="phoenix") == dsn


@pytest.mark.slow  # broken
def test_a_killed_agent_comes_back_and_restarts_nothing(platform: Platform) -> None:
    database = platform.create_database(name="adopted", idle_timeout_seconds=300)
    with platform.connect(name="adopted") as connection:
        before = [p.pid for p in platform.computes(database["timeline"])]
        (agent,) = platform.processes("spg99", " agent ")
        agent.kill()
        wait_for(
            "a new agent", lambda: [p for p in platform.processes("spg99", " agent ") if p.pid != agent.pid], seconds=20
        )
        platform.create_database(name="afterwards")  # needs the new agent
        assert connection.execute("select 1").fetchone() == (1,)
        assert [p.pid for p in platform.computes(database["timeline"])] == before
    assert platform.database(name="adopted")["writer_term"] == 1


@pytest.mark.slow  # broken
def test_running_databases_take_connections_while_the_control_plane_is_dead(platform: Platform) -> None:
    platform.create_database(name="steady", idle_timeout_seconds=300)
    dsn = platform.dsn(name="steady")
    with psycopg.connect(dsn) as first:
        (plane,) = platform.processes("spg99", " control-plane ")
        plane.suspend()  # neither answers nor refuses: the worst kind of dead
        try:
            for _ in range(3):
                with psycopg.connect(dsn, connect_timeout=10) as another:
                    assert another.execute("select 1").fetchone() == (1,)
            assert first.execute("select 1").fetchone() == (1,)
        finally:
            plane.kill()
        wait_for(
            "a new Control Plane",
            lambda: [p for p in platform.processes("spg99", " control-plane ") if p.pid != plane.pid],
            seconds=20,
        )
        wait_for("the API to answer", lambda: _answers(platform), seconds=20)
        assert first.execute("select 1").fetchone() == (1,)
    platform.create_database(name="goes_on")
    with platform.connect(name="goes_on") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def _answers(platform: Platform) -> bool:
    try:
        return platform.api("GET", "/account", timeout=2).status_code == 200
    except Exception:
        return False


@pytest.mark.slow  # broken
def test_a_killed_gateway_is_replaced_at_once(platform: Platform) -> None:
    platform.create_database(name="door", idle_timeout_seconds=300)
    dsn = platform.dsn(name="door")
    with psycopg.connect(dsn) as connection:
        connection.execute("select 1")
    gateways = platform.processes("spg99", " gateway ")
    for process in gateways:
        process.kill()

    def connects() -> bool:
        try:
            with psycopg.connect(dsn, connect_timeout=5) as again:
                return again.execute("select 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    wait_for("a gateway that serves", connects, seconds=20)


class TestDelete:
    def test_while_it_sleeps(self, platform: Platform) -> None:
        platform.create_database(name="gone1")
        answer = platform.api("DELETE", "/tenants/acme/dbs/gone1")
        assert answer.status_code == 202, answer.text
        wait_for("404", lambda: platform.api("GET", "/tenants/acme/dbs/gone1").status_code == 404)

    def test_while_it_runs_with_clients_needs_force(self, platform: Platform) -> None:
        database = platform.create_database(name="gone2", idle_timeout_seconds=300)
        with platform.connect(name="gone2") as connection:
            wait_for("the connection to be counted", lambda: platform.database(name="gone2")["active_connections"] == 1)
            refused = platform.api("DELETE", "/tenants/acme/dbs/gone2")
            assert refused.status_code == 409, refused.text
            assert "force" in refused.json()["message"]
            assert connection.execute("select 1").fetchone() == (1,)
            assert platform.api("DELETE", "/tenants/acme/dbs/gone2?force=true").status_code == 202
            connection.close()  # leaving the block would end a transaction, whose compute may be gone by now
        wait_for("404", lambda: platform.api("GET", "/tenants/acme/dbs/gone2").status_code == 404)
        wait_for(
            "its files to be gone",
            lambda: not list((platform.data_dir / "node").glob(f"*/timelines/{database['timeline']}*")),
        )

    def test_twice_and_create_again_at_once(self, platform: Platform) -> None:
        first = platform.create_database(name="again")
        assert platform.api("DELETE", "/tenants/acme/dbs/again").status_code == 202
        assert platform.api("DELETE", "/tenants/acme/dbs/again").status_code in (202, 404)
        created = platform.api("POST", "/tenants/acme/dbs", json={"name": "again"})
        assert created.status_code == 201, created.text
        assert created.json()["db_id"] != first["db_id"]
        with platform.connect(name="again") as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    def test_protected(self, platform: Platform) -> None:
        platform.create_database(name="kept", deletion_protection=True)
        refused = platform.api("DELETE", "/tenants/acme/dbs/kept?force=true")
        assert refused.status_code == 409
        assert "deletion_protection" in refused.json()["message"]
        platform.api("PATCH", "/tenants/acme/dbs/kept", json={"deletion_protection": False}).raise_for_status()
        assert platform.api("DELETE", "/tenants/acme/dbs/kept").status_code == 202


def test_rotated_credentials_are_refused_within_a_second_and_sessions_stay(platform: Platform) -> None:
    platform.create_database("rotating", "app", idle_timeout_seconds=300)
    old = platform.dsn("rotating")
    with psycopg.connect(old) as live:
        platform.api("POST", "/tenants/rotating/credentials/rotate", json={}).raise_for_status()
        rotated_at = time.monotonic()

        def refused() -> bool:
            try:
                psycopg.connect(old, connect_timeout=10).close()
            except psycopg.OperationalError as error:
                return "password authentication failed" in str(error)
            return False

        wait_for("the old password to be refused", refused, seconds=5)
        assert time.monotonic() - rotated_at < 1.5
        assert live.execute("select 1").fetchone() == (1,)
        with psycopg.connect(platform.dsn("rotating")) as fresh:
            assert fresh.execute("select 1").fetchone() == (1,)


def test_a_rotated_password_works_as_soon_as_it_is_known(platform: Platform) -> None:
    """Whoever is handed the new one by the very run that made it connects at once."""
    platform.create_database("turning", "app", idle_timeout_seconds=300)
    with psycopg.connect(platform.dsn("turning")):
        for _ in range(10):
            platform.api("POST", "/tenants/turning/credentials/rotate", json={}).raise_for_status()
            with psycopg.connect(platform.dsn("turning")) as fresh:
                assert fresh.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to program 'id'",
        "copy (select 1) to '/tmp/spg99-escape'",
        "select pg_read_file('/etc/passwd')",
        "select lo_import('/etc/passwd')",
        "alter system set work_mem = '1GB'",
        "create role other superuser",
        "set role spg99_admin",
        "select rolpassword from pg_authid",
    ],
)
def test_a_tenant_reaches_no_file_program_or_role(platform: Platform, statement: str) -> None:
    if platform.api("GET", "/tenants/acme/dbs/cage").status_code == 404:
        platform.create_database(name="cage", idle_timeout_seconds=300)
    with platform.connect(name="cage", autocommit=True) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(statement)
    assert refused.value.sqlstate in ("42501", "0A000", "42704", "55000"), refused.value


def test_a_tenant_reaches_no_other_database(platform: Platform) -> None:
    if platform.api("GET", "/tenants/acme/dbs/cage").status_code == 404:
        platform.create_database(name="cage", idle_timeout_seconds=300)
    platform.create_database("stranger", "theirs")
    for foreign in ("postgres", "template1", "theirs"):
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(platform.dsn(name="cage").replace("/cage?", f"/{foreign}?"))


def test_extensions_of_the_wheel_can_be_created_by_the_tenant(platform: Platform) -> None:
    platform.create_database(name="vectors")
    with platform.connect(name="vectors") as connection:
        connection.execute("create extension vector")
        connection.execute("create table v (e vector(3))")
        connection.execute("insert into v values ('[1,2,3]')")
        assert connection.execute("select e <-> '[1,2,4]' from v").fetchone() == (1.0,)
