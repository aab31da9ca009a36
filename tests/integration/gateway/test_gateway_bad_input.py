"""Strangers at the door: every one gets a sensible answer or a closed connection, and nobody else notices."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator

import psycopg
import pytest

from integration.gateway.fake_control_plane import Tenant
from integration.gateway.gateway_process import Gateway
from kit.waits import wait_for
from spg99.wire.messages import error_fields
from spg99.wire.startup import SSL_REQUEST, startup_message


@contextlib.contextmanager
def plain(gateway: Gateway) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=15) as sock:
        yield sock


def everything(sock: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while data := sock.recv(65536):
            received += data
    return received


def error_in(received: bytes) -> dict[str, str]:
    assert received[:1] == b"E", received
    assert int.from_bytes(received[1:5]) == len(received) - 1
    fields = error_fields(received[5:])
    assert fields["S"] == "FATAL"
    return fields


def tls(gateway: Gateway, sock: socket.socket) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(gateway.data_dir / "gateway" / "tls" / "ca.crt"))
    sock.sendall(SSL_REQUEST)
    assert sock.recv(1) == b"S"
    return context.wrap_socket(sock, server_hostname="localhost")


def test_plain_text_is_told_what_to_do(shared_gateway: Gateway, tenant: Tenant) -> None:
    with pytest.raises(psycopg.OperationalError, match="only TLS connections: add sslmode=require"):
        shared_gateway.connect(tenant, "app", sslmode="disable")
    with plain(shared_gateway) as sock:
        sock.sendall(startup_message({b"user": b"u", b"database": b"d"}))
        assert error_in(everything(sock))["C"] == "28000"


def test_sslmode_allow_and_prefer_find_tls_by_themselves(shared_gateway: Gateway, tenant: Tenant) -> None:
    for mode in ("allow", "prefer", "require", "verify-ca"):
        with shared_gateway.connect(tenant, "app", sslmode=mode) as connection:
            assert connection.pgconn.ssl_in_use


def test_gss_request_is_declined_and_tls_follows(shared_gateway: Gateway) -> None:
    with plain(shared_gateway) as sock:
        sock.sendall(struct.pack("!II", 8, 80877104))
        assert sock.recv(1) == b"N"
        with tls(shared_gateway, sock) as secure:
            assert secure.version()


def test_http(shared_gateway: Gateway) -> None:
    with plain(shared_gateway) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        fields = error_in(everything(sock))
    assert fields["C"] == "08P01"
    assert "not HTTP" in fields["M"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 4096,
        b"\0\0\0\0\0\0\0\0",
        struct.pack("!II", 2**31 - 1, 3 << 16),
        struct.pack("!II", 10_001, 3 << 16),
        struct.pack("!II", 12, 2 << 16) + b"oldx",
        struct.pack("!II", 9, 80877103) + b"x",
        struct.pack("!II", 12, 80877102) + b"abcd",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["ff", "zero", "giant", "too-long", "version-2", "ssl-with-body", "cancel-without-key", "ssh"],
)
def test_garbage(shared_gateway: Gateway, sent: bytes) -> None:
    with plain(shared_gateway) as sock:
        sock.sendall(sent)
        assert error_in(everything(sock))["C"] == "08P01"


def test_injected_bytes_after_the_request_for_tls(shared_gateway: Gateway) -> None:
    """As in CVE-2021-23214: what a man in the middle puts before the handshake must not become the client's words."""
    with plain(shared_gateway) as sock:
        sock.sendall(SSL_REQUEST + startup_message({b"user": b"mallory"}))
        fields = error_in(everything(sock))
    assert fields["C"] == "08P01"
    assert "Unencrypted data" in fields["M"]


def test_late_injected_bytes_break_the_handshake(shared_gateway: Gateway) -> None:
    with plain(shared_gateway) as sock:
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        sock.sendall(startup_message({b"user": b"mallory"}))
        assert b"R\0\0\0" not in everything(sock), "no log-in was offered"


def test_byte_at_a_time(shared_gateway: Gateway) -> None:
    with plain(shared_gateway) as sock:
        for i in range(len(SSL_REQUEST)):
            sock.sendall(SSL_REQUEST[i : i + 1])
            time.sleep(0.01)
        assert sock.recv(1) == b"S"


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (struct.pack("!II", 4_000_000, 3 << 16), "length"),
        (struct.pack("!II", 8, 3 << 16), "zero byte"),
        (struct.pack("!II", 14, 3 << 16) + b"user\0\0", "malformed"),
        (struct.pack("!II", 9, 3 << 16) + b"\0", "names no user"),
        (SSL_REQUEST, "encrypted"),
    ],
    ids=["giant", "empty", "no-value", "no-user", "tls-in-tls"],
)
def test_bad_startup_inside_tls(shared_gateway: Gateway, sent: bytes, word: str) -> None:
    with plain(shared_gateway) as sock, tls(shared_gateway, sock) as secure:
        secure.sendall(sent)
        fields = error_in(everything(secure))
    assert fields["C"] == "08P01"
    assert word in fields["M"]


def after_offer(gateway: Gateway, sock: socket.socket, sent: bytes) -> dict[str, str]:
    """What a client hears that answers the offer of SASL mechanisms with `sent`."""
    with tls(gateway, sock) as secure:
        secure.sendall(startup_message({b"user": b"tnt_acme", b"database": b"app"}))
        offer = secure.recv(1000)
        assert b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0" in offer
        secure.sendall(sent)
        return error_in(everything(secure))


def initial(mechanism: bytes, data: bytes) -> bytes:
    body = mechanism + b"\0" + struct.pack("!i", len(data)) + data
    return b"p" + struct.pack("!I", len(body) + 4) + body


@pytest.mark.parametrize(
    ("sent", "sqlstate"),
    [
        (b"Q\0\0\0\x0dselect 1\0", "08P01"),
        (b"p" + struct.pack("!I", 2**31 - 1), "08P01"),
        (b"p\0\0\0\x04", "08P01"),
        (initial(b"MD5", b"n,,n=,r=abc"), "08P01"),
        (initial(b"SCRAM-SHA-256", b"rubbish"), "08P01"),
        (initial(b"SCRAM-SHA-256", b"n,,n=,r="), "08P01"),
        (initial(b"SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=abc"), "08P01"),
        (initial(b"SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=,r=abc"), "08P01"),
        (initial(b"SCRAM-SHA-256-PLUS", b"n,,n=,r=abc"), "08P01"),
        (initial(b"SCRAM-SHA-256", b"y,,n=,r=abc"), "28000"),
        (initial(b"SCRAM-SHA-256", b"n,a=other,n=,r=abc"), "08P01"),
    ],
    ids=[
        "query", "giant", "empty", "md5", "rubbish", "no-nonce", "binding-not-chosen", "tls-unique", "binding-missing",
        "downgrade", "authzid",
    ],
)  # fmt: skip
def test_bad_scram(shared_gateway: Gateway, sent: bytes, sqlstate: str) -> None:
    with plain(shared_gateway) as sock:
        assert after_offer(shared_gateway, sock, sent)["C"] == sqlstate


def test_client_that_says_nothing_is_let_go(start_gateway: Callable[..., Gateway], tenant: Tenant) -> None:
    gateway = start_gateway(startup_seconds=0.5)
    began = time.monotonic()
    with plain(gateway) as silent, plain(gateway) as truncated, plain(gateway) as slow:
        truncated.sendall(startup_message({b"user": b"u"})[:9])
        with tls(gateway, slow) as secure:
            assert error_in(everything(secure))["C"] == "57014"
        assert everything(silent) == b""
        assert everything(truncated) == b""
    assert 0.3 < time.monotonic() - began < 5


def test_half_open_connections_do_not_lock_others_out(start_gateway: Callable[..., Gateway], tenant: Tenant) -> None:
    flood(start_gateway(workers=1, startup_seconds=60, drain_seconds=0), tenant, 1500)


@pytest.mark.long
def test_5000_half_open_connections(start_gateway: Callable[..., Gateway], tenant: Tenant) -> None:
    flood(start_gateway(workers=2, startup_seconds=60, drain_seconds=0), tenant, 5000)


def flood(gateway: Gateway, tenant: Tenant, count: int) -> None:
    """More of them than one worker keeps half-open (1,000): silent ones, truncated ones, some in the handshake."""
    with gateway.connect(tenant, "app") as early:
        with contextlib.ExitStack() as stack:
            stack.enter_context(room_for(count))
            for i in range(count):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=15))
                with contextlib.suppress(ConnectionError):
                    if i % 3 == 1:
                        sock.sendall(b"\0\0\0\x10\0\3")
                    elif i % 3 == 2:
                        sock.sendall(SSL_REQUEST)
            began = time.monotonic()
            with gateway.connect(tenant, "app") as connection:
                assert connection.execute("select 1").fetchone() == (1,)
            assert time.monotonic() - began < 3
            assert early.execute("select 1").fetchone() == (1,), "who was there before stays"
            assert metric(gateway, "spg99_gateway_half_open_connections") <= 1000 * len(gateway.workers())
        wait_for(
            "the half-open ones to be forgotten", lambda: metric(gateway, "spg99_gateway_half_open_connections") == 0
        )


@contextlib.contextmanager
def room_for(sockets: int) -> Iterator[None]:
    """This process may have so many: an ordinary user begins with 1,024 open files. (The Gateway raises its own limit.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = sockets + 200
    if hard != resource.RLIM_INFINITY and hard < need:
        pytest.skip(f"needs {need} open files, this user may have {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need) if soft != resource.RLIM_INFINITY else soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def metric(gateway: Gateway, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.metrics_port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    raise AssertionError(f"{name} is not shown")
