"""Passwords that may be brought, typed into real clients: those that prepare them (SASLprep), and one that does not."""

from __future__ import annotations

import base64
import socket
import ssl
import struct

import asyncpg
import psycopg
import pytest

from integration.gateway.fake_control_plane import FakeControlPlane, Tenant
from integration.gateway.gateway_process import Gateway
from integration.gateway.test_gateway_clients import program, run
from spg99.rules import password_is_sent_alike
from spg99.wire.messages import FrameScanner, frame
from spg99.wire.startup import SSL_REQUEST, startup_message
from unit.test_saslprep import ALIKE, CHANGED
from unit.wire.scram_client import ScramClient


@pytest.mark.parametrize("password", ALIKE)
async def test_taken_passwords_log_in_with_every_client(
    shared_plane: FakeControlPlane, shared_gateway: Gateway, tenant: Tenant, password: str
) -> None:
    assert password_is_sent_alike({"pg_password": password}) is None
    before = tenant.password
    shared_plane.rotate(tenant, password)
    try:
        environment = shared_gateway.environment(tenant, "app")
        assert run([program("psql"), "-XAtc", "select 'in'"], environment) == "in\n"
        with shared_gateway.connect(tenant, "app") as connection:
            assert connection.execute("select 'in'").fetchone() == ("in",)
        context = ssl.create_default_context(cafile=environment["PGSSLROOTCERT"])
        other = await asyncpg.connect(
            host="localhost", port=shared_gateway.port, user=tenant.pg_user, password=password, database="app", ssl=context
        )  # fmt: skip
        await other.close()
        assert bare_log_in(shared_gateway, tenant, password)
    finally:
        shared_plane.rotate(tenant, before)


@pytest.mark.parametrize("name", CHANGED)
def test_why_the_others_are_refused(
    shared_plane: FakeControlPlane, shared_gateway: Gateway, tenant: Tenant, name: str
) -> None:
    """One that SASLprep changes lets libpq in and keeps a client out that sends it as it was typed (node-postgres does)."""
    before = tenant.password
    shared_plane.rotate(tenant, CHANGED[name])
    try:
        shared_gateway.connect(tenant, "app").close()
        assert not bare_log_in(shared_gateway, tenant, CHANGED[name])
    finally:
        shared_plane.rotate(tenant, before)


def bare_log_in(gateway: Gateway, tenant: Tenant, password: str) -> bool:
    """A client that does not prepare: whether it is let in."""
    client = ScramClient(password)
    context = ssl.create_default_context(cafile=gateway.environment(tenant, "app")["PGSSLROOTCERT"])
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as bare:
        bare.sendall(SSL_REQUEST)
        assert bare.recv(1) == b"S"
        with context.wrap_socket(bare, server_hostname="localhost") as secure:
            scanner = FrameScanner(bytes_max=100_000)

            def message() -> tuple[bytes, bytes]:
                while (found := scanner.take()) is None:
                    data = secure.recv(4096)
                    assert data, "the connection ended"
                    scanner.feed(data)
                return found

            secure.sendall(startup_message({b"user": tenant.pg_user.encode(), b"database": b"app"}))
            assert message()[1][:4] == struct.pack("!I", 10)
            first = client.first()
            secure.sendall(frame(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
            secure.sendall(frame(b"p", client.final(message()[1][4:])))
            kind, body = message()
            if kind == b"E":
                return False
            assert body[4:] == client.expected, base64.b64encode(body)
            return True


def test_libpq_is_what_was_tried() -> None:
    assert psycopg.pq.version() >= 140000
