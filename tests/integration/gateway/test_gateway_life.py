"""Sleeping, waking, dying: computes, Control Plane, workers and the gateway itself come and go, clients get served."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import asyncpg
import psutil
import psycopg
import pytest
from psycopg import errors

from integration.gateway.fake_control_plane import FakeControlPlane, Tenant
from integration.gateway.gateway_process import Gateway
from kit.waits import wait_for
from spg99.errors import LimitExceeded
from spg99.protocol.gateway import Change
from spg99.tls import certificates


def one(gateway: Gateway, tenant: Tenant, database: str = "app") -> object:
    with gateway.connect(tenant, database) as connection:
        row = connection.execute("select 1").fetchone()
        assert row is not None
        return row[0]


def told(gateway: Gateway, tenant: Tenant, database: str = "app") -> str:
    """The SQLSTATE that a client is refused with. libpq keeps it to itself when connecting; asyncpg tells."""

    async def connect() -> None:
        context = ssl.create_default_context(cafile=gateway.options(tenant, database)["sslrootcert"])
        connection = await asyncpg.connect(
            host="localhost", port=gateway.port, user=tenant.pg_user, password=tenant.password, database=database,
            ssl=context, timeout=30,
        )  # fmt: skip
        await connection.close()

    with pytest.raises(asyncpg.PostgresError) as refused:
        asyncio.run(connect())
    return str(refused.value.sqlstate)


def test_a_sleeper_is_woken(start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant) -> None:
    gateway = start_gateway()
    database = plane.databases[tenant.tenant_id, "app"]

    def connects_and_wakes() -> tuple[float, ...]:
        names = ("connects_total", "wakes_total", "wake_seconds_count")
        return tuple(gateway.figure(f"spg99_gateway_{name}") for name in names)

    assert connects_and_wakes() == (0, 0, 0)
    began = time.monotonic()
    assert one(gateway, tenant) == 1
    assert connects_and_wakes() == (1, 1, 1)
    plane.stop_compute(database)
    assert one(gateway, tenant) == 1
    assert database.starts == 2
    assert connects_and_wakes() == (2, 2, 2)
    assert 0 < gateway.figure("spg99_gateway_wake_seconds_sum") < time.monotonic() - began
    assert one(gateway, tenant) == 1
    assert connects_and_wakes() == (3, 2, 2), "who finds it awake connects and wakes nothing"


def test_bytes_are_counted_by_direction(start_gateway: Callable[..., Gateway], tenant: Tenant) -> None:
    gateway = start_gateway()

    def relayed() -> tuple[float, float]:
        to_client, to_server = (
            gateway.figure("spg99_gateway_bytes_total", direction=direction) for direction in ("to_client", "to_server")
        )
        return to_client, to_server

    with gateway.connect(tenant, "app") as connection:
        before = relayed()
        connection.execute("select repeat('x', 300000)")
        connection.execute(f"select length('{'y' * 100_000}')")
        live = relayed()  # a session that goes on counts as well
        assert 300_000 <= live[0] - before[0] < 310_000
        assert 100_000 <= live[1] - before[1] < 110_000
    wait_for("the session to end", lambda: gateway.figure("spg99_gateway_active_connections") == 0)
    after = relayed()
    assert live[0] <= after[0] < live[0] + 1_000, "nothing is counted twice"
    assert live[1] <= after[1] < live[1] + 1_000


@pytest.mark.slow  # again
def test_a_hundred_clients_wake_it_once(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    tenant.max_connections = 100
    gateway = start_gateway()
    database = plane.databases[tenant.tenant_id, "app"]
    plane.connect_delay_seconds = 1.0
    with ThreadPoolExecutor(50) as pool:  # the compute allows 60
        assert list(pool.map(lambda _: one(gateway, tenant), range(100))) == [1] * 100
    assert database.starts == 1
    assert plane.count("connect") == 1
    assert gateway.figure("spg99_gateway_connects_total") == 100
    assert gateway.figure("spg99_gateway_wakes_total") == 1


def test_unknown_database(start_gateway: Callable[..., Gateway], tenant: Tenant) -> None:
    gateway = start_gateway()
    with pytest.raises(psycopg.OperationalError, match='database "nope" does not exist'):
        gateway.connect(tenant, "nope")
    assert gateway.errors_seen("3D000") == 1
    assert told(gateway, tenant, "nope") == "3D000"
    assert gateway.errors_seen("3D000") == 2
    assert gateway.figure("spg99_gateway_connects_total") == 0


def test_a_database_that_cannot_be_woken(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    gateway = start_gateway()
    plane.databases[tenant.tenant_id, "app"].broken = "The disk of node-1 is full: free some space there."
    with pytest.raises(psycopg.OperationalError, match=r"The disk of node-1 is full"):
        gateway.connect(tenant, "app")
    assert gateway.errors_seen("57P03") == 1
    assert told(gateway, tenant) == "57P03"
    assert gateway.errors_seen("57P03") == 2
    assert gateway.figure("spg99_gateway_wakes_total") == 0


def test_an_account_that_has_used_up_its_limit(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    gateway = start_gateway()
    sentence = "The account has used its 5 GiB of data sent to clients: no further database starts."
    plane.databases[tenant.tenant_id, "app"].broken = LimitExceeded(sentence)
    with pytest.raises(psycopg.OperationalError, match="has used its 5 GiB of data sent to clients"):
        gateway.connect(tenant, "app")
    assert told(gateway, tenant) == "53400"
    assert gateway.errors_seen("53400") == 2
    assert plane.count("connect") == 2, "asking again would not help"


@pytest.mark.slow  # broken
def test_compute_killed(start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant) -> None:
    """Live sessions are told, the next client only waits a little longer."""
    gateway = start_gateway()
    database = plane.databases[tenant.tenant_id, "app"]
    with contextlib.suppress(psycopg.OperationalError), gateway.connect(tenant, "app") as live:
        live.execute("create table kept (i int)")
        live.execute("insert into kept values (7)")
        plane.kill_compute(database)
        with pytest.raises(psycopg.OperationalError, match="compute has ended. Connect again"):
            live.execute("select 1")
    with gateway.connect(tenant, "app") as connection:
        assert connection.execute("select i from kept").fetchone() == (7,)
    assert database.starts == 2


@pytest.mark.slow  # broken
def test_compute_stopped_while_clients_keep_coming(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    """Nobody sees an error when connecting, whatever the compute is doing at that moment."""
    gateway = start_gateway()
    database = plane.databases[tenant.tenant_id, "app"]
    one(gateway, tenant)
    stop = threading.Event()
    failures: list[str] = []
    served: list[int] = []

    def keep_connecting() -> None:
        while not stop.is_set():
            try:
                connection = gateway.connect(tenant, "app")
            except psycopg.OperationalError as error:
                failures.append(str(error))
                return
            served.append(1)
            connection.close()

    threads = [threading.Thread(target=keep_connecting) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        seen = len(served)
        wait_for("some clients", lambda seen=seen: len(served) > seen + 5)  # type: ignore[misc]
        plane.stop_compute(database)
    seen = len(served)
    wait_for("more clients", lambda: len(served) > seen + 5)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert database.starts >= 6


@pytest.mark.slow  # broken
def test_terminated_by_the_compute(start_gateway: Callable[..., Gateway], tenant: Tenant) -> None:
    """The compute's own words are passed on, and nothing is added to them."""
    gateway = start_gateway()
    with gateway.connect(tenant, "app") as other, contextlib.suppress(psycopg.OperationalError):
        with gateway.connect(tenant, "app") as connection:
            other.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
            with pytest.raises(errors.AdminShutdown, match="terminating connection due to administrator command"):
                connection.execute("select 1")


@pytest.mark.slow  # broken
def test_control_plane_away(start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant) -> None:
    gateway = start_gateway()
    live = gateway.connect(tenant, "app")
    plane.stop()
    assert live.execute("select 1").fetchone() == (1,)
    assert one(gateway, tenant) == 1, "the lease is held, the password is known"
    time.sleep(plane.lease_seconds + 0.5)  # the lease runs out: what is cached still does, for a grace
    began = time.monotonic()
    assert one(gateway, tenant) == 1
    assert time.monotonic() - began < 4
    with pytest.raises(psycopg.OperationalError, match="Control Plane does not answer"):
        gateway.connect(Tenant("x", "tnt_x", "y"), "app")
    assert gateway.errors_seen("57P03") == 1
    plane.start()
    wait_for("a report after the outage", lambda: plane.reports and plane.reports[-1].leases[0].active_connections == 1)
    assert one(gateway, tenant) == 1
    assert live.execute("select 2").fetchone() == (2,)
    live.close()


@pytest.mark.slow  # broken
def test_a_client_waits_for_a_control_plane_that_returns(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    gateway = start_gateway()
    one(gateway, tenant)
    plane.stop_compute(plane.databases[tenant.tenant_id, "app"])
    plane.stop()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one, gateway, tenant)
        time.sleep(1)
        assert not waiting.done()
        plane.start()
        assert waiting.result(timeout=20) == 1


def test_leases_of_two_databases_go_in_one_report(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    first = plane.databases[tenant.tenant_id, "app"]
    second = plane.add_database(tenant, "other")
    gateway = start_gateway()

    def told() -> list[dict[str, int]]:
        return [{use.db_id: use.active_connections for use in report.leases} for report in plane.reports]

    with gateway.connect(tenant, "app"), gateway.connect(tenant, "other"), gateway.connect(tenant, "other"):
        both = {first.db_id: 1, second.db_id: 2}
        wait_for("both in one report", lambda: told() and told()[-1] == both)
        asked, renewed = plane.count("connect"), len(plane.reports)
        wait_for("two renewals", lambda: len(plane.reports) >= renewed + 2)
        assert told()[renewed:] == [both] * len(told()[renewed:]), "one report for all, and not one each"
        assert plane.count("connect") == asked, "a renewal needs no connect"
    wait_for("the release of both in one report", lambda: told()[-1] == {first.db_id: 0, second.db_id: 0})


def test_leases_are_reported(start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant) -> None:
    gateway = start_gateway()
    with gateway.connect(tenant, "app") as first:
        with gateway.connect(tenant, "app"):
            wait_for("two sessions", lambda: plane.reports and plane.reports[-1].leases[0].active_connections == 2)
        first.execute("select repeat('x', 1000000)")
        renewals = len(plane.reports)
        wait_for("a renewal with the bytes", lambda: plane.counted_bytes() > 1_000_000)
        wait_for("another renewal", lambda: len(plane.reports) >= renewals + 2)
        assert plane.reports[-1].leases[0].active_connections == 1
    left = time.monotonic()
    wait_for("the release", lambda: plane.reports[-1].leases[0].active_connections == 0)
    assert time.monotonic() - left < 3
    reports = len(plane.reports)
    time.sleep(1.5)
    assert len(plane.reports) == reports, "what is released is not reported again"
    asked = plane.count("connect")
    one(gateway, tenant)
    assert plane.count("connect") == asked + 1, "without a lease the Control Plane is asked"


def test_deleted_database(start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant) -> None:
    gateway = start_gateway()
    with gateway.connect(tenant, "app"):
        database = plane.databases.pop((tenant.tenant_id, "app"))
        plane.announce(
            Change(kind="database", tenant_id=tenant.tenant_id, db_id=database.db_id, reason="database.deleting")
        )

        def gone() -> bool:
            try:
                one(gateway, tenant)
            except psycopg.OperationalError as error:
                return "does not exist" in str(error)
            return False

        wait_for("the gateway to hear of it", gone, seconds=2)
        plane.databases[tenant.tenant_id, "app"] = database


@pytest.mark.slow  # broken
def test_worker_killed(start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant) -> None:
    gateway = start_gateway(workers=1)
    with contextlib.suppress(psycopg.OperationalError), gateway.connect(tenant, "app") as live:
        (worker,) = gateway.workers()
        worker.kill()
        # The parent keeps the listening socket: a client of that moment waits for the successor.
        assert one(gateway, tenant) == 1
        with pytest.raises(psycopg.OperationalError):
            live.execute("select 1")
    assert len(gateway.workers()) == 1
    wait_for(
        "its sessions to be released",
        lambda: plane.reports and plane.reports[-1].leases[0].active_connections == 0,
    )


@pytest.mark.slow  # broken
def test_gateway_killed(start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant) -> None:
    """Its workers go with it; another one, or itself started again, serves at once."""
    gateway, other = start_gateway("gw1"), start_gateway("gw2")
    gateway.connect(tenant, "app")
    children = gateway.workers()
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.end()
    _, alive = psutil.wait_procs(children, timeout=3)
    assert alive == []
    assert one(other, tenant) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gateway.port))
    gateway.settings |= {"port": gateway.port, "enrolment_token": None}
    gateway.start()
    assert one(gateway, tenant) == 1
    assert plane.enrolments == 2, "who has an identity does not enrol again"


def test_without_workers_it_serves_in_its_own_process(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    gateway = start_gateway(workers=0, drain_seconds=60)
    assert one(gateway, tenant) == 1 and gateway.workers() == []
    idle = gateway.connect(tenant, "app")
    with ThreadPoolExecutor(1) as pool, gateway.connect(tenant, "app") as busy:
        answer = pool.submit(lambda: busy.execute("select pg_sleep(60)"))
        wait_for(
            "it to run", lambda: idle.execute("select 1 from pg_stat_activity where wait_event = 'PgSleep'").fetchone()
        )
        busy.cancel_safe(timeout=10)
        with pytest.raises(errors.QueryCanceled):
            answer.result(timeout=10)
    os.kill(gateway.pid, signal.SIGTERM)
    wait_for("the drain to begin", lambda: refused(gateway))
    assert idle.execute("select 1").fetchone() == (1,)
    assert gateway.end(seconds=5) == 0, "told twice"
    with pytest.raises(psycopg.OperationalError):
        idle.execute("select 1")
    assert plane.reports[-1].leases[0].active_connections == 0, "the last report releases the lease"


@pytest.mark.slow  # broken
def test_drain(start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant) -> None:
    """SIGTERM: no new clients, those who are in the middle of something finish, the rest is told."""
    gateway = start_gateway(drain_seconds=3)
    children = gateway.workers()
    idle = gateway.connect(tenant, "app")
    with ThreadPoolExecutor(1) as pool, gateway.connect(tenant, "app") as busy:
        answer = pool.submit(lambda: busy.execute("select pg_sleep(1), 42").fetchone())
        pid = busy.info.backend_pid
        wait_for(
            "the query to run",
            lambda: idle.execute(
                "select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'", [pid]
            ).fetchone(),
        )
        os.kill(gateway.pid, signal.SIGTERM)
        row = answer.result(timeout=10)
        assert row is not None
        assert row[1] == 42
        with pytest.raises(psycopg.OperationalError):
            gateway.connect(tenant, "app", connect_timeout=2)
    assert gateway.process is not None
    assert gateway.process.wait(timeout=10) == 0
    with pytest.raises(errors.AdminShutdown, match="gateway is shutting down"):
        idle.execute("select 1")
    _, alive = psutil.wait_procs(children, timeout=1)
    assert alive == []
    assert plane.reports[-1].leases[0].active_connections == 0, "the last report releases the lease"


@pytest.mark.slow  # broken
def test_sigint_to_the_whole_group(start_gateway: Callable[..., Gateway], tenant: Tenant) -> None:
    """Ctrl-C in a terminal reaches parent and workers alike."""
    gateway = start_gateway()
    one(gateway, tenant)
    children = gateway.workers()
    os.killpg(gateway.pid, signal.SIGINT)
    assert gateway.process is not None
    assert gateway.process.wait(timeout=10) == 0
    _, alive = psutil.wait_procs(children, timeout=1)
    assert alive == []


@pytest.mark.slow  # broken
def test_told_twice_to_end(start_gateway: Callable[..., Gateway], tenant: Tenant) -> None:
    """Whoever says it again does not want to wait for the drain."""
    gateway = start_gateway(drain_seconds=60)
    live = gateway.connect(tenant, "app")
    children = gateway.workers()
    os.kill(gateway.pid, signal.SIGTERM)
    wait_for("the drain to begin", lambda: refused(gateway))
    assert live.execute("select 1").fetchone() == (1,)
    assert gateway.end(seconds=5) == 0
    _, alive = psutil.wait_procs(children, timeout=1)
    assert alive == []


def refused(gateway: Gateway) -> bool:
    try:
        socket.create_connection(("127.0.0.1", gateway.port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_own_certificate(start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant) -> None:
    files = certificates.ensure(plane.data_dir / "own", names=["localhost"], now=datetime.now(UTC))
    gateway = start_gateway(tls_cert_file=str(files.cert), tls_key_file=str(files.key))
    assert not (gateway.data_dir / "gateway" / "tls").exists()
    with gateway.connect(tenant, "app", sslrootcert=str(files.ca), channel_binding="require") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.slow  # broken
def test_a_replaced_certificate_is_taken_up_and_a_broken_pair_is_not(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    """Within seconds; live connections stay; a worker that is replaced meanwhile shows what the others show."""
    old, new = (
        certificates.ensure(plane.data_dir / name, names=["localhost"], now=datetime.now(UTC))
        for name in ("old", "new")
    )
    cert, key = plane.data_dir / "shown.crt", plane.data_dir / "shown.key"
    shutil.copy(old.cert, cert)
    shutil.copy(old.key, key)
    gateway = start_gateway(tls_cert_file=str(cert), tls_key_file=str(key), workers=1)

    def shows(files: certificates.CertificateFiles) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            gateway.connect(tenant, "app", sslrootcert=str(files.ca), channel_binding="require").close()
            return True
        return False

    with gateway.connect(tenant, "app", sslrootcert=str(old.ca)) as live:
        key.write_text("no key at all")
        wait_for("it says so", lambda: "could not be renewed" in gateway.log(), seconds=10)
        assert str(key) in gateway.log()
        assert shows(old)
        assert not shows(new)
        shutil.copy(new.cert, cert)  # half of a replacement
        assert shows(old)
        live.execute("select 1")
        (worker,) = gateway.workers()
        worker.kill()
        wait_for("another worker, with the pair that was good", lambda: shows(old), seconds=10)
    with gateway.connect(tenant, "app", sslrootcert=str(old.ca)) as live:
        shutil.copy(new.key, key)
        wait_for("the new one is shown", lambda: shows(new), seconds=10)
        assert not shows(old)
        assert live.execute("select 1").fetchone() == (1,), "who is connected stays connected"


def test_port_that_is_taken(start_gateway: Callable[..., Gateway], plane: FakeControlPlane) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = Gateway(plane, plane.data_dir / "gw", port=taken.getsockname()[1])
        with pytest.raises(AssertionError, match="The gateway cannot listen on"):
            gateway.start()
        assert gateway.process is not None
        assert gateway.process.wait(timeout=10) != 0


@pytest.mark.slow  # again
def test_asyncio_instead_of_uvloop(
    start_gateway: Callable[..., Gateway], tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPG99_EVENT_LOOP", "asyncio")
    gateway = start_gateway()
    assert one(gateway, tenant) == 1
    with gateway.connect(tenant, "app", sslnegotiation="direct") as connection, connection.cursor() as cursor:
        with cursor.copy("copy (select repeat('x', 1000) from generate_series(1, 20000)) to stdout") as copy:
            assert sum(len(block) for block in copy) == 20_000 * 1001
    gateway.end()
