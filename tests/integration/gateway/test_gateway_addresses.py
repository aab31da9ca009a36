"""Clients' addresses behind a balancer: the PROXY protocol in real bytes, who is believed, who is slowed for guessing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import errors

from integration.gateway.balancer import balancer, version_1, version_2
from integration.gateway.fake_control_plane import FakeControlPlane, Tenant
from integration.gateway.gateway_process import Gateway
from integration.gateway.test_gateway_bad_input import error_in, everything, plain, tls
from kit.waits import wait_for
from spg99.wire.proxy_protocol import SIGNATURE_V2

OWN_ADDRESS = "select current_setting('spg99.client_addr')"


@pytest.fixture(scope="module")
def behind(shared_plane: FakeControlPlane) -> Iterator[Gateway]:
    """A gateway whose operator says that balancers are at 127.0.0.1."""
    gateway = Gateway(shared_plane, shared_plane.data_dir / "behind", proxy_networks="10.0.0.0/8, 127.0.0.1/32")
    try:
        yield gateway.start()
    finally:
        gateway.close()


@pytest.mark.parametrize("source", ["203.0.113.7", "2001:db8::7"])
@pytest.mark.parametrize("header_of", [version_1, version_2])
def test_the_true_address_reaches_the_owner_and_the_log(
    behind: Gateway, tenant: Tenant, header_of: Callable[[str], bytes], source: str
) -> None:
    with balancer(behind.port, header_of(source)) as port:
        with behind.connect(tenant, "app", port=port) as connection:
            assert connection.execute(OWN_ADDRESS).fetchone() == (source,)
            connection.execute("reset all")
            assert connection.execute(OWN_ADDRESS).fetchone() == (source,)
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            behind.connect(tenant, f"no_{header_of.__name__}_{source}", port=port)
    refused = [line for line in behind.log().splitlines() if f"no_{header_of.__name__}_{source}" in line]
    assert any(f'"address": "{source}"' in line for line in refused)
    assert behind.figure("spg99_gateway_connections_total", via="proxy") > 0


def test_the_client_does_not_say_it_itself(behind: Gateway, shared_gateway: Gateway, tenant: Tenant) -> None:
    lie = {"options": "-c spg99.client_addr=192.0.2.66"}
    with balancer(behind.port, version_1("203.0.113.7")) as port:
        with behind.connect(tenant, "app", port=port, **lie) as connection:
            assert connection.execute(OWN_ADDRESS).fetchone() == ("203.0.113.7",)
    with shared_gateway.connect(tenant, "app", **lie) as connection:
        assert connection.execute(OWN_ADDRESS).fetchone() == ("127.0.0.1",)


def test_replication_connections_have_it_too(behind: Gateway, tenant: Tenant) -> None:
    with balancer(behind.port, version_2("203.0.113.7")) as port:
        with behind.connect(tenant, "app", port=port, replication="database") as connection:
            assert psycopg.ClientCursor(connection).execute("show spg99.client_addr").fetchone() == ("203.0.113.7",)


def test_the_balancer_itself_is_let_in_as_itself(behind: Gateway, tenant: Tenant) -> None:
    for header in (SIGNATURE_V2 + b"\x20\0\0\0", b"PROXY UNKNOWN\r\n"):
        with balancer(behind.port, header) as port, behind.connect(tenant, "app", port=port) as connection:
            assert connection.execute(OWN_ADDRESS).fetchone() == ("127.0.0.1",)


@pytest.mark.parametrize("header_of", [version_1, version_2])
def test_from_a_network_that_is_not_named(
    shared_gateway: Gateway, tenant: Tenant, header_of: Callable[[str], bytes]
) -> None:
    """Anybody could claim to be anybody: the header is refused, with the name of the setting, and nobody is let in."""
    with balancer(shared_gateway.port, header_of("203.0.113.7")) as port:
        with pytest.raises(psycopg.OperationalError):
            shared_gateway.connect(tenant, "app", port=port)
    with plain(shared_gateway) as sock:
        sock.sendall(header_of("203.0.113.7"))
        fields = error_in(everything(sock))
    assert fields["C"] == "08P01"
    assert "--proxy-networks" in fields["M"]


def test_a_client_that_goes_round_the_balancer(behind: Gateway, tenant: Tenant) -> None:
    with plain(behind) as sock:
        sock.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f" + b"\0" * 8)
        fields = error_in(everything(sock))
    assert fields["C"] == "08P01"
    assert "PROXY protocol header was expected" in fields["M"]


@pytest.mark.parametrize(
    "sent",
    [b"PROXY TCP4 nobody 127.0.0.1 1 2\r\n", b"PROXY " + b"x" * 200, SIGNATURE_V2 + b"\x41\x11\0\x0c" + b"\0" * 12],
    ids=["v1-address", "v1-endless", "v2-version"],
)
def test_malformed(behind: Gateway, sent: bytes) -> None:
    with plain(behind) as sock:
        sock.sendall(sent)
        assert error_in(everything(sock))["C"] == "08P01"


@pytest.mark.slow  # broken
def test_slow_headers(start_gateway: Callable[..., Gateway], plane: FakeControlPlane) -> None:
    """A byte at a time is fine within the time of a log-in; one that stops is let go when that is over."""
    gateway = start_gateway(proxy_networks="127.0.0.0/8", startup_seconds=3)
    for header in (version_1("203.0.113.7"), version_2("2001:db8::7")):
        with plain(gateway) as slow:
            for i in range(len(header)):
                slow.sendall(header[i : i + 1])
                time.sleep(0.005)
            with tls(gateway, slow) as secure:
                assert secure.version()
        with plain(gateway) as stopped:
            stopped.sendall(header[:-1])
            began = time.monotonic()
            assert everything(stopped) == b""
            assert time.monotonic() - began < 10
    wait_for("them to be forgotten", lambda: gateway.figure("spg99_gateway_half_open_connections") == 0)


def test_cancel_through_the_balancer(behind: Gateway, tenant: Tenant) -> None:
    with balancer(behind.port, version_2("203.0.113.7")) as port:
        with behind.connect(tenant, "app", port=port) as connection:
            outcome: list[BaseException] = []

            def sleep() -> None:
                try:
                    connection.execute("select pg_sleep(30)")
                except psycopg.Error as error:
                    outcome.append(error)

            thread = threading.Thread(target=sleep)
            thread.start()
            deadline = time.monotonic() + 20
            while thread.is_alive() and time.monotonic() < deadline:
                connection.cancel_safe(timeout=10)
                thread.join(0.2)
            assert isinstance(outcome[0], errors.QueryCanceled)


def fail(gateway: Gateway, tenant: Tenant, port: int, times: int, *, at_once: int = 64) -> None:
    def one(_: int) -> None:
        with contextlib.suppress(psycopg.OperationalError):
            gateway.connect(tenant, "app", port=port, password="an old one").close()
            raise AssertionError("let in with a wrong password")

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(times)))


def seconds_to_connect(gateway: Gateway, tenant: Tenant, port: int) -> float:
    began = time.monotonic()
    gateway.connect(tenant, "app", port=port).close()
    return time.monotonic() - began


@pytest.mark.slow  # broken
def test_a_thousand_wrong_passwords_slow_nobody_else(
    plane: FakeControlPlane, start_gateway: Callable[..., Gateway]
) -> None:
    """One forgotten job behind the same address; then another tenant's right password, and the same tenant's from elsewhere."""
    gateway = start_gateway(proxy_networks="127.0.0.1/32")
    acme, other = plane.tenants["tnt_acme"], plane.add_tenant("other", "right")
    plane.add_database(other, "app")
    with (
        balancer(gateway.port, version_1("203.0.113.7")) as port,
        balancer(gateway.port, version_1("203.0.113.8")) as elsewhere,
    ):
        for tenant in (acme, other):
            gateway.connect(tenant, "app", port=elsewhere).close()  # woken: what is timed is the log-in
        fail(gateway, acme, port, 1000)
        assert gateway.errors_seen("28P01") == 1000
        began = time.monotonic()
        fail(gateway, acme, port, 1)
        assert time.monotonic() - began > 1.5, "who guesses is slowed"
        assert seconds_to_connect(gateway, other, port) < 1
        assert seconds_to_connect(gateway, acme, elsewhere) < 1


@pytest.mark.slow  # broken
def test_who_logged_in_well_from_there_is_not_slowed(behind: Gateway, tenant: Tenant) -> None:
    with balancer(behind.port, version_1("198.51.100.1")) as port:
        behind.connect(tenant, "app", port=port).close()
        fail(behind, tenant, port, 30, at_once=16)
        assert seconds_to_connect(behind, tenant, port) < 1


def test_a_socket_that_says_nothing_is_a_health_check(behind: Gateway) -> None:
    before = behind.log()
    with socket.create_connection(("127.0.0.1", behind.port)):
        pass
    wait_for("it to be forgotten", lambda: behind.figure("spg99_gateway_half_open_connections") == 0)
    assert behind.log() == before


@pytest.mark.parametrize("source", ["203.0.113.8", "2001:db8::8"])
def test_the_control_plane_hears_of_it_for_its_events(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant, source: str
) -> None:
    """Who woke the database; and, once, from where its password is guessed."""
    gateway = start_gateway(proxy_networks="127.0.0.0/8")
    with balancer(gateway.port, version_2(source)) as port:
        gateway.connect(tenant, "app", port=port).close()
        assert [ask.client_addr for ask in plane.connects] == [source]
        fail(gateway, Tenant("nobody", "tnt_nobody", "x"), port, 8)
        fail(gateway, tenant, port, 4)
        known = list(plane.slowed)
        fail(gateway, tenant, port, 20)
    wait_for("it is told", lambda: [each for each in plane.slowed if each.pg_user == tenant.pg_user])
    assert not [each for each in known if each.pg_user == tenant.pg_user], "a few wrong passwords are nothing"
    assert [(each.pg_user, each.client_addr) for each in plane.slowed if each.pg_user == tenant.pg_user] == [
        (tenant.pg_user, source)
    ], "once"
