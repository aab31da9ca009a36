"""What PostgreSQL's protocol can do passes through the gateway unchanged."""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings
from typing import Any

import psycopg
import pytest
from psycopg import errors

from integration.gateway.fake_control_plane import Tenant
from integration.gateway.gateway_process import Gateway
from kit.waits import wait_for
from spg99.wire.startup import SSL_REQUEST, cancel_request


def test_copy_both_ways(shared_gateway: Gateway, tenant: Tenant) -> None:
    lines = b"".join(b"%d\t%s\n" % (i, hashlib.md5(str(i).encode()).hexdigest().encode()) for i in range(200_000))
    with shared_gateway.connect(tenant, "app") as connection, connection.cursor() as cursor:
        cursor.execute("create temp table t (i int, m text)")
        with cursor.copy("copy t from stdin") as copy:
            copy.write(lines)
        with cursor.copy("copy t to stdout") as copy:
            out = b"".join(bytes(block) for block in copy)
    assert hashlib.sha256(out).digest() == hashlib.sha256(lines).digest()


def test_pipeline(shared_gateway: Gateway, tenant: Tenant) -> None:
    with shared_gateway.connect(tenant, "app") as connection, connection.pipeline() as pipeline:
        cursors = [connection.execute("select %s::int", [i]) for i in range(500)]
        pipeline.sync()
        assert [c.fetchone() for c in cursors] == [(i,) for i in range(500)]


def queries(connection: psycopg.Connection[Any], *statements: str) -> None:
    with connection.pipeline():
        for statement in statements:
            connection.execute(statement)


def test_pipeline_error_in_the_middle(shared_gateway: Gateway, tenant: Tenant) -> None:
    with shared_gateway.connect(tenant, "app") as connection:
        with pytest.raises(errors.DivisionByZero):
            queries(connection, "select 1", "select 1/0", "select 3")
        assert connection.execute("select 2").fetchone() == (2,)


def test_listen_notify(shared_gateway: Gateway, tenant: Tenant) -> None:
    with shared_gateway.connect(tenant, "app") as hears, shared_gateway.connect(tenant, "app") as speaks:
        hears.execute("listen door")
        speaks.execute("select pg_notify('door', 'knock')")
        heard = [n.payload for n in hears.notifies(timeout=5, stop_after=1)]
    assert heard == ["knock"]


def test_session_state_and_options(shared_gateway: Gateway, tenant: Tenant) -> None:
    more = {"application_name": "through the door", "options": "-c statement_timeout=4321 -c search_path=a,b"}
    with shared_gateway.connect(tenant, "app", **more) as connection:
        assert connection.execute("show application_name").fetchone() == ("through the door",)
        assert connection.execute("show statement_timeout").fetchone() == ("4321ms",)
        assert connection.execute("show search_path").fetchone() == ("a,b",)
        assert (connection.info.parameter_status("server_version") or "").startswith("18")
        pid = connection.execute("select pg_backend_pid()").fetchone()
        assert pid == (connection.info.backend_pid,)


def test_replication_connection(shared_gateway: Gateway, tenant: Tenant) -> None:
    if (psql := shutil.which("psql")) is None:
        pytest.skip("psql is not installed on this machine")
    environment = shared_gateway.environment(tenant, "app")
    for replication in ("database", "true"):
        done = subprocess.run(
            [psql, f"dbname=app replication={replication}", "-XAtc", "IDENTIFY_SYSTEM"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("|") == 3


def worker_of(gateway: Gateway, port: int) -> int:
    """Pid of the worker that holds the connection whose client port this is."""
    for worker in gateway.workers():
        if any(c.raddr and c.raddr.port == port for c in worker.net_connections("tcp")):
            return worker.pid
    raise AssertionError("no worker holds it")


def client_port(connection: psycopg.Connection[Any]) -> int:
    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("version", ["3.0", "3.2"])
def test_cancel_from_every_worker(shared_gateway: Gateway, tenant: Tenant, version: str) -> None:
    """A cancel request is a connection of its own and lands on any worker; as many sessions are opened as it takes to use both."""
    more = {"max_protocol_version": version} if psycopg.pq.version() >= 180000 else {}
    connections = [shared_gateway.connect(tenant, "app", **more) for _ in range(4)]
    while len({worker_of(shared_gateway, client_port(c)) for c in connections}) < 2 and len(connections) < 30:
        connections.append(shared_gateway.connect(tenant, "app", **more))
    try:
        assert len({worker_of(shared_gateway, client_port(c)) for c in connections}) == 2
        for connection in connections:
            outcome: list[BaseException] = []

            def sleep(connection: Any = connection, outcome: list[BaseException] = outcome) -> None:
                try:
                    connection.execute("select pg_sleep(30)")
                except BaseException as error:
                    outcome.append(error)

            thread = threading.Thread(target=sleep)
            thread.start()
            pid = connection.info.backend_pid
            wait_for("the query to run", lambda pid=pid: sleeps(shared_gateway, tenant, pid))  # type: ignore[misc]
            began = time.monotonic()
            connection.cancel_safe(timeout=10)
            thread.join(timeout=10)
            assert isinstance(outcome[0], errors.QueryCanceled)
            assert time.monotonic() - began < 5
    finally:
        for connection in connections:
            connection.close()


def sleeps(gateway: Gateway, tenant: Tenant, pid: int) -> bool:
    with gateway.connect(tenant, "app") as other:
        row = other.execute("select wait_event = 'PgSleep' from pg_stat_activity where pid = %s", [pid]).fetchone()
    return row == (True,)


def test_cancel_with_a_wrong_key_does_nothing(shared_gateway: Gateway, tenant: Tenant) -> None:
    with shared_gateway.connect(tenant, "app") as connection:
        pid = connection.info.backend_pid
        for secret in (b"\0\0\0\1", b"x" * 32):
            with socket.create_connection(("127.0.0.1", shared_gateway.port)) as sock:
                sock.sendall(cancel_request(pid, secret))
                assert sock.recv(100) == b"", "closed without a word"
        assert connection.execute("select 1").fetchone() == (1,)


def test_direct_tls(shared_gateway: Gateway, tenant: Tenant) -> None:
    if psycopg.pq.version() < 170000:
        pytest.skip("this psycopg's libpq is older than 17 and knows no sslnegotiation=direct")
    with shared_gateway.connect(tenant, "app", sslnegotiation="direct") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_direct_tls_without_alpn_is_refused(shared_gateway: Gateway) -> None:
    context = ssl.create_default_context(cafile=str(shared_gateway.data_dir / "gateway" / "tls" / "ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", shared_gateway.port)) as bare,
        context.wrap_socket(bare, server_hostname="localhost") as tls,
    ):
        assert b"ALPN" in tls.recv(1000)


def test_channel_binding_required(shared_gateway: Gateway, tenant: Tenant) -> None:
    with shared_gateway.connect(tenant, "app", channel_binding="require") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_channel_binding_disabled(shared_gateway: Gateway, tenant: Tenant) -> None:
    with shared_gateway.connect(tenant, "app", channel_binding="disable") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("tls_version", ["TLSv1.2", "TLSv1.3"])
def test_tls_versions(shared_gateway: Gateway, tenant: Tenant, tls_version: str) -> None:
    only = {"ssl_min_protocol_version": tls_version, "ssl_max_protocol_version": tls_version}
    with shared_gateway.connect(tenant, "app", channel_binding="require", **only) as connection:
        assert connection.pgconn.ssl_in_use


def test_tls_1_1_is_refused(shared_gateway: Gateway) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", shared_gateway.port)) as bare:
        bare.sendall(SSL_REQUEST)
        assert bare.recv(1) == b"S"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(bare)


@pytest.mark.skipif(psycopg.pq.version() < 180000, reason="this psycopg's libpq is older than 18: no protocol 3.2")
def test_protocol_3_2(shared_gateway: Gateway, tenant: Tenant) -> None:
    with shared_gateway.connect(tenant, "app", max_protocol_version="latest") as connection:
        assert (
            connection.pgconn.full_protocol_version == 30002
            if hasattr(connection.pgconn, "full_protocol_version")
            else True
        )
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_slow_reader_costs_no_memory(shared_gateway: Gateway, tenant: Tenant) -> None:
    """400 MB wait for a client that takes nothing: the compute is made to wait, not the gateway to buffer."""
    with shared_gateway.connect(tenant, "app") as connection:
        connection.execute("select 1")
        pgconn = connection.pgconn
        before = {w.pid: w.memory_info().rss for w in shared_gateway.workers()}
        pgconn.send_query(b"copy (select repeat('x', 1000) from generate_series(1, 400000)) to stdout")
        pgconn.flush()
        pid = connection.info.backend_pid

        def waits() -> bool:
            with shared_gateway.connect(tenant, "app") as other:
                row = other.execute("select wait_event from pg_stat_activity where pid = %s", [pid]).fetchone()
            return row == ("ClientWrite",)

        # It may wait for a moment whenever the gateway is slow; held back means that it waits and waits.
        for _ in range(20):
            wait_for("the compute to be held back", waits)
            time.sleep(0.05)
        assert waits()
        grown = {w.pid: w.memory_info().rss - before[w.pid] for w in shared_gateway.workers()}
        assert max(grown.values()) < 10_000_000, grown
        received = 0
        for result in _copy_out(pgconn):
            received += len(result)
        assert received == 400_000 * 1001
        grown = {w.pid: w.memory_info().rss - before[w.pid] for w in shared_gateway.workers()}
        assert max(grown.values()) < 10_000_000, grown


def _copy_out(pgconn: Any) -> Any:
    result = pgconn.get_result()
    assert result.status == psycopg.pq.ExecStatus.COPY_OUT, result.error_message
    while True:
        size, data = pgconn.get_copy_data(0)
        if size < 0:
            break
        yield data
    while pgconn.get_result() is not None:
        pass


def test_a_client_that_sends_much_is_held_back(shared_gateway: Gateway, tenant: Tenant) -> None:
    """The other direction: the compute reads nothing while it sleeps."""
    connection = shared_gateway.connect(tenant, "app")
    try:
        before = {w.pid: w.memory_info().rss for w in shared_gateway.workers()}
        pgconn = connection.pgconn
        pgconn.enter_pipeline_mode()
        pgconn.nonblocking = 1
        pgconn.send_query_params(b"select pg_sleep(3)", [])
        for _ in range(100):
            pgconn.send_query_params(b"select length($1)", [b"y" * 1_000_000])
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and pgconn.flush():
            select.select([], [pgconn.socket], [], 0.1)
        assert pgconn.flush() == 1, "libpq still holds what the gateway does not take"
        grown = {w.pid: w.memory_info().rss - before[w.pid] for w in shared_gateway.workers()}
        assert max(grown.values()) < 10_000_000, grown
    finally:
        connection.close()
