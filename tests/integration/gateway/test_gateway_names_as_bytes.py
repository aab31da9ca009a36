"""Start-up messages in any encoding: PostgreSQL takes bytes, so does the Gateway, and says what it cannot find."""

from __future__ import annotations

import select
import time

import psycopg
import pytest

from integration.gateway.fake_control_plane import Tenant
from integration.gateway.gateway_process import Gateway


def connect(gateway: Gateway, tenant: Tenant, **more: bytes) -> psycopg.pq.PGconn:
    """libpq with a connection string of bytes; psycopg's own would be UTF-8."""
    options = {name: str(value).encode() for name, value in gateway.options(tenant, "app").items()} | more
    quoted = (name.encode() + b"='" + value.replace(b"'", rb"\'") + b"'" for name, value in options.items())
    # Not PGconn.connect: it would hold the interpreter, and with it the Control Plane of these tests.
    pgconn = psycopg.pq.PGconn.connect_start(b" ".join(quoted))
    deadline = time.monotonic() + 30
    while pgconn.status not in (psycopg.pq.ConnStatus.OK, psycopg.pq.ConnStatus.BAD) and time.monotonic() < deadline:
        wants = pgconn.connect_poll()
        reading = wants == psycopg.pq.PollingStatus.READING
        if wants in (psycopg.pq.PollingStatus.READING, psycopg.pq.PollingStatus.WRITING):
            select.select([pgconn.socket] if reading else [], [] if reading else [pgconn.socket], [], 10)
    return pgconn


def test_options_reach_the_compute_as_they_were_sent(shared_gateway: Gateway, tenant: Tenant) -> None:
    for sent, shown in ((b"caf\xe9", b"caf\\xe9"), (b"\xff\xfe", b"\\xff\\xfe"), ("é".encode(), b"\\xc3\\xa9")):
        pgconn = connect(shared_gateway, tenant, application_name=sent)
        assert pgconn.status == psycopg.pq.ConnStatus.OK, pgconn.error_message
        assert pgconn.exec_(b"show application_name").get_value(0, 0) == shown
        pgconn.finish()


def test_an_encoding_of_the_client(shared_gateway: Gateway, tenant: Tenant) -> None:
    pgconn = connect(shared_gateway, tenant, client_encoding=b"LATIN1", options=b"-c search_path=caf\xe9")
    # The same server, asked directly, says the same: these bytes are no valid text of the database.
    assert pgconn.status in (psycopg.pq.ConnStatus.OK, psycopg.pq.ConnStatus.BAD)
    assert b"start-up message" not in (pgconn.error_message or b"")
    pgconn.finish()


@pytest.mark.parametrize(
    ("more", "sqlstate", "sentence"),
    [
        ({"user": b"caf\xe9"}, "28P01", b'password authentication failed for user "caf\\xe9"'),
        ({"dbname": b"\xff"}, "3D000", b'database "\\xff" does not exist'),
    ],
    ids=["user", "database"],
)
def test_names_that_are_nobodys(
    shared_gateway: Gateway, tenant: Tenant, more: dict[str, bytes], sqlstate: str, sentence: bytes
) -> None:
    before = shared_gateway.errors_seen(sqlstate)
    pgconn = connect(shared_gateway, tenant, **more)
    assert pgconn.status == psycopg.pq.ConnStatus.BAD
    assert sentence in pgconn.error_message
    assert shared_gateway.errors_seen(sqlstate) == before + 1
    pgconn.finish()
