"""The client on worse days: proxies, drips, resets, certificates, dates. What is sent again, what is not, what the user reads."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from proof.gadget import GADGET, MOUNTED, PACKAGE
from proof.server import API_KEY, running
from spg99.client import Client, retry
from spg99.errors import BadRequest, Internal, NotFound, Spg99Error, Unavailable, Unreachable
from spg99.resources import Tenant
from unit.client.bad_network import REFUSE, Drip, answer, serve
from unit.client.test_client_network import GOOD, KEY, TENANT, keys_of

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.001)


async def read(url: str, **options: Any) -> Tenant:
    async with Client(url, KEY, **{"max_attempts": 3} | options) as client:
        return await client.read(Tenant, {"name": "acme"})


async def test_a_date_in_retry_after_is_waited_for() -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    slow = answer(
        "429 Too Many", b'{"error":"TooManyRequests","message":"Slow."}', extra=f"Retry-After: {when}\r\n".encode()
    )
    began = time.monotonic()
    async with serve(slow, GOOD) as script:
        await read(script.url)
    assert 0.9 <= time.monotonic() - began < 4 and len(script.seen) == 2


async def test_a_429_is_sent_again_even_when_it_could_not_be_repeated() -> None:
    slow = answer("429 Too Many", b'{"error":"TooManyRequests","message":"Slow."}', extra=b"Retry-After: 0\r\n")
    async with serve(slow, GOOD) as script, Client(script.url, KEY) as client:
        await client.update(Tenant, {"name": "acme"}, {}, if_match='"1"')
    assert len(script.seen) == 2


async def test_a_reset_before_anything_was_read_is_sent_again_under_the_same_key() -> None:
    async with serve(REFUSE, REFUSE, GOOD) as script, Client(script.url, KEY) as client:
        assert (await client.create(Tenant, {"name": "acme"})).name == "acme"
    assert len(script.seen) == 3 and len(keys_of(script.seen)) == 1


async def test_resets_for_ever_end_and_say_what_to_do() -> None:
    async with serve(None) as script:
        with pytest.raises(Unreachable, match=r"broke off the connection .*\. Retry\.") as caught:
            await read(script.url, max_attempts=4)
    assert len(script.seen) == 4 and caught.value.request_id is not None


async def test_an_answer_that_drips_is_given_up_and_asked_for_again() -> None:
    began = time.monotonic()
    async with serve(Drip(GOOD, 0.05), GOOD) as script:
        assert (await read(script.url, timeout_seconds=0.3)).name == "acme"
    assert time.monotonic() - began < 3, "each byte came in time, all of them would take ten seconds"
    assert len(script.seen) == 2


async def test_an_answer_that_drips_for_ever_is_a_sentence() -> None:
    async with serve(Drip(GOOD, 0.05)) as script:
        with pytest.raises(Unreachable, match="did not answer in time before the answer was whole"):
            await read(script.url, timeout_seconds=0.2, max_attempts=2)
    assert len(script.seen) == 2


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async with serve(Drip(b" ", 30)) as script:
        with pytest.raises(Unreachable, match="did not answer in time|broke off"):
            await read(script.url, timeout_seconds=0.2, max_attempts=2)


@pytest.mark.parametrize(
    "cut",
    [
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"nam\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Ty",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
    ids=["chunks", "length", "header", "another protocol"],
)
async def test_a_cut_answer_is_asked_for_again_and_never_half_believed(cut: bytes) -> None:
    async with serve(cut, GOOD) as script:
        assert (await read(script.url)).name == "acme"
    assert len(script.seen) == 2
    async with serve(cut) as script:
        with pytest.raises(Unreachable, match=r"before the answer was whole\. Retry\."):
            await read(script.url, max_attempts=2)


async def test_a_body_that_is_not_what_its_encoding_says() -> None:
    broken = answer("200 OK", b"not gzip", extra=b"Content-Encoding: gzip\r\n")
    whole = answer("200 OK", gzip.compress(json.dumps(TENANT).encode()), extra=b"Content-Encoding: gzip\r\n")
    async with serve(broken, whole) as script:
        assert (await read(script.url)).name == "acme"
    async with serve(broken) as script:
        with pytest.raises(BadRequest, match="cannot be decompressed. Check proxies"):
            await read(script.url, max_attempts=2)


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
async def test_a_proxys_page_in_front_is_told_apart_and_tried_again(status: str) -> None:
    page = answer(status, b"<html>upstream hunter2</html>", "text/html")
    async with serve(page, GOOD) as script:
        assert (await read(script.url)).name == "acme"
    async with serve(page) as script:
        with pytest.raises(
            Unavailable, match=rf"Something in front of the Control Plane .* HTTP {status[:3]}"
        ) as caught:
            await read(script.url, max_attempts=2)
    assert "hunter2" not in str(caught.value) and len(script.seen) == 2


async def test_a_500_is_not_tried_again() -> None:
    page = answer("500 Internal Server Error", b'{"error":"Internal","message":"Logged.","request_id":"req_x"}')
    async with serve(page) as script:
        with pytest.raises(Internal, match=r"Logged\. \(request id req_x\)"):
            await read(script.url)
    assert len(script.seen) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_takes_the_key_along(status: int) -> None:
    async with serve(GOOD) as elsewhere:
        moved = answer(f"{status} Moved", extra=f"Location: {elsewhere.url}/tenants/acme\r\n".encode())
        async with serve(moved) as script, Client(script.url, KEY) as client:
            with pytest.raises(BadRequest, match=r"redirects to .* Set the URL .* \(SPG99_CP_URL\)"):
                await client.create(Tenant, {"name": "acme"})
        assert elsewhere.seen == [] and len(script.seen) == 1


@pytest.mark.parametrize("body", [b"[]", b'"acme"', b"null", b"{}"])
async def test_json_that_is_no_object_of_ours_names_what_is_missing(body: bytes) -> None:
    async with serve(answer("200 OK", body)) as script, Client(script.url, KEY) as client:
        with pytest.raises(Internal, match="does not understand"):
            await client.read(Tenant, {"name": "acme"})
        with pytest.raises(Internal, match=r"fields: \(all\)|fields: .*gadget_id"):
            await client.read(GADGET, {"shelf": "a", "name": "b"})


@pytest.mark.parametrize("page", [b"[]", b'{"items": {}}', b"null"])
async def test_a_list_without_items_is_no_empty_list(page: bytes) -> None:
    async with serve(answer("200 OK", page)) as script, Client(script.url, KEY) as client:
        with pytest.raises(Internal, match="list without items"):
            await anext(client.list(GADGET, {"shelf": "a"}))


async def test_a_certificate_that_ssl_cert_file_names_is_trusted(
    certified: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = certified("localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(own.pem))
    async with serve(GOOD, tls=own.context, host="localhost") as script:
        assert (await read(script.url)).name == "acme"


@pytest.mark.parametrize(
    ("host", "days", "part"),
    [("elsewhere.example", 1, "Hostname mismatch"), ("localhost", -1, "expired")],
    ids=["another name", "expired"],
)
async def test_a_wrong_certificate_is_named_and_not_tried_again(
    certified: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, host: str, days: int, part: str
) -> None:
    own = certified(host, days=days)
    monkeypatch.setenv("SSL_CERT_FILE", str(own.pem))
    async with serve(GOOD, tls=own.context, host="localhost") as script:
        with pytest.raises(Unreachable, match=rf"certificate of https://localhost:\d+ is not trusted.*{part}"):
            await read(script.url)
    assert script.seen == [] and script.connections <= 1


async def test_https_in_front_of_a_server_without_tls_is_named_once() -> None:
    async with serve(GOOD) as script:
        with pytest.raises(Unreachable, match="use http://"):
            await read(script.url.replace("http://", "https://"))
    assert script.connections == 1


async def test_a_host_that_nobody_knows_is_named() -> None:
    with pytest.raises(Unreachable, match=r"spg99\.invalid:1 cannot be reached: its name cannot be resolved"):
        await read("http://spg99.invalid:1/v2", max_attempts=1)


async def test_everybody_who_was_refused_at_once_comes_back_at_another_moment() -> None:
    moments = [
        retry.decide(
            retry.Answered(429, "1"),
            is_repeatable=True,
            attempt=4,
            attempts_max=6,
            now=datetime.now(UTC),
            chance=n / 64,
        )
        for n in range(64)
    ]
    assert len(set(moments)) == 64 and min(m or 0 for m in moments) >= 1


async def test_many_lost_answers_make_no_second_object() -> None:
    with running(PACKAGE, also=MOUNTED) as server:
        server.on("POST", "/gadgets$", drop="after", times=60)
        server.on("POST", "/gadgets$", drop="before", times=20)
        server.on("POST", "/gadgets$", status=503, times=20)
        async with Client(server.url, API_KEY, max_attempts=20) as client:
            spec = {"shelf": "top"}
            await asyncio.gather(*(client.create(GADGET, spec | {"name": f"lamp-{n}"}) for n in range(20)))
        assert server.created == 20 and len(server.objects) == 20
        assert server.count("POST", "") == 120


async def test_a_lost_delete_is_gone_the_second_time() -> None:
    with running(PACKAGE, also=MOUNTED) as server:
        async with Client(server.url, API_KEY) as client:
            await client.create(GADGET, {"shelf": "top", "name": "lamp"})
            server.on("DELETE", "", drop="after")
            with pytest.raises(NotFound):
                await client.delete(GADGET, {"shelf": "top", "name": "lamp"})
        assert server.count("DELETE", "") == 2, "sent again; that it is gone by then is for the caller to judge"


async def test_no_error_holds_the_key() -> None:
    for bad in (None, b"\x00\x01\x02", answer("401 Unauthorized", b'{"error":"Unauthorized","message":"No."}')):
        async with serve(bad) as script:
            with pytest.raises(Spg99Error) as caught:
                await read(script.url, max_attempts=1)
        assert "verysecret" not in str(caught.value) and "verysecret" not in repr(caught.value.__dict__)


def test_a_context_without_verification_is_never_made(certified: Callable[..., Any]) -> None:
    client = Client("https://localhost/v2", KEY)
    context = client._transport.tls
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
