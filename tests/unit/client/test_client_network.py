"""The client on a bad network: what is sent again, what is not, and what the user reads. Real sockets, no mocks."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

from spg99.client import Client, answers, retry
from spg99.errors import (
    BadRequest,
    Conflict,
    Internal,
    NotFound,
    Spg99Error,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from spg99.resources import Tenant
from unit.client.bad_network import answer, serve

KEY = "spg99_key_abcdefgh_verysecretsecret"
TENANT = {
    "name": "acme",
    "tenant_id": "ten_1",
    "pg_user": "tnt_1",
    "dsn_template": "postgres://tnt_1@h:5432/<db-name>?sslmode=require",
    "state": "active",
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}
GOOD = answer("201 Created", json.dumps(TENANT).encode())
BUSY = answer("503 Service Unavailable", b'{"error":"Unavailable","message":"Starting."}')

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.001)


def keys_of(requests: list[bytes]) -> set[bytes]:
    return {line for head in requests for line in head.split(b"\r\n") if line.lower().startswith(b"idempotency-key")}


async def failure(*answers: bytes | None, attempts: int = 3) -> tuple[Spg99Error, int]:
    """The error of `GET /tenants/acme` against these answers, and how often it was asked."""
    async with serve(*answers) as script, Client(script.url, KEY, max_attempts=attempts) as client:
        with pytest.raises(Spg99Error) as caught:
            await client.read(Tenant, {"name": "acme"})
        assert KEY not in str(caught.value) and "verysecret" not in repr(caught.value.details)
        return caught.value, len(script.seen)


async def test_a_lost_answer_is_asked_for_again_with_the_same_key() -> None:
    cut = GOOD[:-20]  # committed, then the connection broke in the middle of the answer
    async with serve(None, cut, GOOD) as script, Client(script.url, KEY) as client:
        tenant = await client.create(Tenant, {"name": "acme"})
    assert tenant.tenant_id == "ten_1"
    assert len(script.seen) == 3
    assert len(keys_of(script.seen)) == 1
    assert len({head.split(b"\r\n\r\n")[1] for head in script.seen}) == 1


async def test_503_is_asked_again() -> None:
    async with serve(BUSY, BUSY, GOOD) as script, Client(script.url, KEY) as client:
        assert (await client.read(Tenant, {"name": "acme"})).pg_user == "tnt_1"
    assert len(script.seen) == 3


async def test_503_for_ever_ends_with_the_servers_sentence() -> None:
    error, asked = await failure(BUSY)
    assert type(error) is Unavailable and error.message == "Starting." and asked == 3


async def test_429_waits_as_long_as_it_is_told() -> None:
    slow = answer(
        "429 Too Many Requests", b'{"error":"TooManyRequests","message":"Slow."}', extra=b"Retry-After: 1\r\n"
    )
    async with serve(slow, GOOD) as script, Client(script.url, KEY) as client:
        import time

        began = time.monotonic()
        await client.read(Tenant, {"name": "acme"})
        assert time.monotonic() - began >= 1
    assert len(script.seen) == 2


async def test_429_for_an_hour_is_told_not_waited_for() -> None:
    slow = answer("429 Too Many", b'{"error":"TooManyRequests","message":"Slow."}', extra=b"Retry-After: 3600\r\n")
    error, asked = await failure(slow)
    assert isinstance(error, TooManyRequests) and error.retry_after_seconds == 3600 and asked == 1


async def test_a_post_without_a_key_gets_one() -> None:
    async with serve(answer("204 No Content")) as script, Client(script.url, KEY) as client:
        await client.call("POST", "/keys/{key_id}/rotate", {"key_id": "key_1"}, json={})
    assert len(keys_of(script.seen)) == 1


async def test_a_value_with_a_slash_does_not_become_another_path() -> None:
    async with serve(answer("204 No Content")) as script, Client(script.url, KEY) as client:
        await client.call("GET", "/tenants/{tenant}/credentials", {"tenant": "../keys?x=1"})
    assert script.seen[0].split()[1] == b"/v2/tenants/..%2Fkeys%3Fx%3D1/credentials"


async def test_a_lost_answer_under_if_match_is_not_asked_for_again() -> None:
    async with serve(None, GOOD) as script, Client(script.url, KEY) as client:
        with pytest.raises(Unreachable, match="may have been carried out"):
            await client.update(Tenant, {"name": "acme"}, {}, if_match='"1"')
    assert len(script.seen) == 1


async def test_a_conflict_is_not_asked_again() -> None:
    error, asked = await failure(answer("409 Conflict", b'{"error":"Conflict","message":"There is one."}'))
    assert type(error) is Conflict and asked == 1


async def test_connection_refused_says_so_and_that_nothing_changed() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Client(f"http://127.0.0.1:{port}/v2", KEY, max_attempts=2) as client:
        with pytest.raises(Unreachable, match=r"connection refused\. Nothing was changed"):
            await client.create(Tenant, {"name": "acme"})
        with pytest.raises(Unreachable, match=r"connection refused\. Check that it runs"):
            await client.read(Tenant, {"name": "acme"})  # what is waited for by reads may have been changed before


async def test_every_error_names_the_request() -> None:
    error, _ = await failure(None)
    assert error.request_id and error.request_id.startswith("req_") and error.request_id in str(error)
    theirs, _ = await failure(
        answer("409 Conflict", b'{"error":"Conflict","message":"x"}', extra=b"X-Request-Id: req_theirs\r\n")
    )
    assert theirs.request_id == "req_theirs"


async def test_half_json_with_the_right_length_is_not_a_value() -> None:
    error, _ = await failure(answer("200 OK", b'{"name": "ac'))
    assert isinstance(error, Internal) and "not whole JSON" in error.message


async def test_somebody_elses_page_is_not_an_answer() -> None:
    error, asked = await failure(answer("200 OK", b"<html>Welcome to nginx</html>", "text/html"))
    assert isinstance(error, Unreachable) and "not a Control Plane" in error.message and asked == 1
    assert "nginx" not in str(error)


@pytest.mark.parametrize("body", [b"<html>404</html>", b'{"detail":"Not Found"}'])
async def test_somebody_elses_404_never_means_gone(body: bytes) -> None:
    error, _ = await failure(answer("404 Not Found", body, "application/json" if body[:1] == b"{" else "text/html"))
    assert not isinstance(error, NotFound) and isinstance(error, Unreachable)


async def test_our_404_means_gone() -> None:
    error, _ = await failure(answer("404 Not Found", b'{"error":"NotFound","message":"No tenant acme."}'))
    assert isinstance(error, NotFound)


async def test_a_redirect_is_not_followed_and_its_query_not_shown() -> None:
    error, asked = await failure(answer("302 Found", extra=b"Location: https://login.example.net/x?t=secret\r\n"))
    assert isinstance(error, BadRequest) and "https://login.example.net " in error.message and asked == 1
    assert "t=secret" not in str(error)


async def test_plain_http_behind_https_is_named() -> None:
    async with serve(b"HTTP/1.1 400 Bad\r\n\r\n") as script:
        client = Client(script.url.replace("http://", "https://"), KEY, max_attempts=3)
        with pytest.raises(Unreachable, match="use http://"):
            await client.read(Tenant, {"name": "acme"})
        await client.aclose()


async def test_an_unknown_certificate_is_named(self_signed: ssl.SSLContext) -> None:
    import asyncio

    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=self_signed)
    port = server.sockets[0].getsockname()[1]
    async with server, Client(f"https://127.0.0.1:{port}/v2", KEY, max_attempts=3) as client:
        with pytest.raises(Unreachable, match=r"certificate of .* is not trusted.*SPG99_CA_FILE"):
            await client.read(Tenant, {"name": "acme"})


async def test_what_a_new_server_answers_and_an_old_client_does_not_know_is_named_without_values() -> None:
    broken = dict(TENANT, state="hovering", dsn_template="postgres://u:hunter2@h/db")
    error, _ = await failure(answer("200 OK", json.dumps(broken).encode()))
    assert isinstance(error, Internal) and "state" in error.message and "hunter2" not in str(error)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "sch\u00fcssel"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        Client("http://localhost/v2", key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:8099", "http://localhost:8099/v1", "ftp://x/v2", "http:///v2"])
def test_a_wrong_url_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(BadRequest, match="URL of the Control Plane"):
        Client(url, KEY)


async def test_a_name_with_a_slash_stays_a_name() -> None:
    gone = answer("404 Not Found", b'{"error":"NotFound","message":"No."}')
    async with serve(gone) as script, Client(script.url, KEY) as client:
        with pytest.raises(NotFound):
            await client.read(Tenant, {"name": "../keys?x=1"})
    assert script.seen[0].startswith(b"GET /v2/tenants/..%2Fkeys%3Fx%3D1 ")


async def test_pages_are_followed_to_the_end() -> None:
    first = {"items": [TENANT], "next_cursor": "c2"}
    last = {"items": [dict(TENANT, name="zeta")], "next_cursor": None}
    pages = [answer("200 OK", json.dumps(page).encode()) for page in (first, last)]
    async with serve(*pages) as script, Client(script.url, KEY) as client:
        assert [t.name async for t in client.list(Tenant, limit=1)] == ["acme", "zeta"]
    assert b"cursor=c2" in script.seen[1]


def stream(*lines: str) -> bytes:
    body = "".join(lines).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body


async def test_events_go_on_after_the_last_one_seen() -> None:
    one = 'id: 1\nevent: database.ready\ndata: {"subject":"db_1"}\n\n: ping\n\n'
    half = 'id: 2\nevent: database.ready\ndata: {"sub'
    two = 'id: 2\nevent: database.idle\ndata: {"subject":"db_2"}\n\n'
    async with serve(stream(one, half), None, stream(two)) as script, Client(script.url, KEY) as client:
        events: AsyncIterator = client.events(types=["database.ready", "database.idle"])
        first, second = await anext(events), await anext(events)
        await events.aclose()
    assert (first.id, first.subject, second.id, second.subject) == ("1", "db_1", "2", "db_2")
    assert b"last-event-id" not in script.seen[0].lower()
    assert all(b"last-event-id: 1" in head.lower() for head in script.seen[1:])
    assert b"type=database.ready&type=database.idle" in script.seen[0]


async def test_events_that_may_not_be_seen_are_refused_not_waited_for() -> None:
    no = answer("403 Forbidden", b'{"error":"Forbidden","message":"No."}')
    async with serve(no) as script, Client(script.url, KEY) as client:
        with pytest.raises(Spg99Error, match="No"):
            await anext(aiter(client.events()))
    assert len(script.seen) == 1


def test_the_search_for_a_cause_ends_in_a_ring_of_causes() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert answers._cause(one, ConnectionError) is None
    assert answers._cause(one, ValueError) is one
