"""Bytes to an answer: what is one, however it is cut into pieces, and what is refused."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.client.exchanges import NoAnswer, NotDecompressed, NotHttp, Response, parsed
from spg99.client.http1 import HEAD_BYTES_MAX, AnswerReader, request_bytes

HEAD = b"HTTP/1.1 200 OK\r\n"
WHOLE = [
    (HEAD + b"Content-Length: 4\r\n\r\nacme", b"acme", True),
    (HEAD + b"content-length:4\r\nConnection: close\r\n\r\nacme", b"acme", False),
    (HEAD + b"Content-Length: 4, 4\r\n\r\nacme", b"acme", True),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nac\r\n2;x=y\r\nme\r\n0\r\n\r\n", b"acme", True),
    (HEAD + b"Transfer-Encoding: Chunked\r\n\r\n004\r\nacme\r\n00\r\nX-Trailer: 1\r\n\r\n", b"acme", True),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n", b"", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nacme", b"acme", False),
    (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"", True),
]


def read(data: bytes, cuts: tuple[int, ...] = (), *, method: str = "GET") -> tuple[Response | None, AnswerReader]:
    reader = AnswerReader(method)
    places = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    for begin, end in itertools.pairwise(places):
        if begin < end and (found := reader.feed(data[begin:end])) is not None:
            return found, reader
    return None, reader


@pytest.mark.parametrize(("data", "body", "stays"), WHOLE)
@given(cuts=st.lists(st.integers(0, 120), max_size=6).map(tuple))
def test_an_answer_is_the_same_however_it_is_cut(data: bytes, body: bytes, stays: bool, cuts: tuple[int, ...]) -> None:
    found, reader = read(data, cuts)
    assert found is not None and found.content == body and reader.is_reusable is stays


@pytest.mark.parametrize(("data", "body", "_stays"), WHOLE)
def test_an_answer_that_ends_early_is_never_whole(data: bytes, body: bytes, _stays: bool) -> None:
    for length in range(len(data)):
        found, reader = read(data[:length])
        assert found is None
        with pytest.raises(NotHttp):
            reader.feed(b"")


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    found, reader = read(HEAD + b"\r\nac")
    assert found is None and reader.feed(b"me") is None
    whole = reader.feed(b"")
    assert whole is not None and whole.content == b"acme" and not reader.is_reusable


def test_what_comes_behind_an_answer_is_nobodys() -> None:
    found, reader = read(WHOLE[0][0] + HEAD)
    assert found is not None and found.content == b"acme" and not reader.is_reusable


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nacme",
        HEAD + b"Content-Length: -4\r\n\r\nacme",
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nacme\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 5000,
        HEAD + b"Content-Length : 4\r\n\r\nacme",
        HEAD + b"X: 1\r\n folded\r\n\r\n",
        HEAD + b"X: 1\nY: 2\r\n\r\n",
        HEAD + b"X: " + b"x" * (HEAD_BYTES_MAX + 10),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(NotHttp):
        read(data)


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 250), max_size=3).map(tuple))
def test_noise_is_refused_or_waited_for(data: bytes, cuts: tuple[int, ...]) -> None:
    for noise in (data, HEAD + data, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + data):
        with contextlib.suppress(NoAnswer):
            read(noise, cuts)


def packed(body: bytes, coding: str) -> bytes:
    head = f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    return HEAD + head.encode() + body


def test_encodings_are_undone_and_half_ones_refused() -> None:
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    for coding, body in (
        ("gzip", gzip.compress(b"acme")),
        ("deflate", zlib.compress(b"acme")),
        ("deflate", raw.compress(b"acme") + raw.flush()),
        ("identity", b"acme"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"acme"))),
    ):
        found, _ = read(packed(body, coding))
        assert found is not None and found.content == b"acme", coding
    for bad in (b"acme", gzip.compress(b"acme")[:-2]):
        with pytest.raises(NotDecompressed):
            read(packed(bad, "gzip"))


@pytest.mark.parametrize(
    ("target", "headers"),
    [("/v2/a\r\nX: 1", {}), ("/v2/a b", {}), ("/v2", {"X": "1\r\nY: 2"}), ("/v2", {"X\n": "1"}), ("/v2", {"X": "\0"})],
)
def test_nothing_becomes_another_line_of_a_request(target: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="line break"):
        request_bytes("GET", target, headers, None)


def test_a_change_says_its_length_even_without_a_body() -> None:
    assert request_bytes("POST", "/v2", {}, None) == b"POST /v2 HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    assert request_bytes("GET", "/v2", {"A": "b"}, None) == b"GET /v2 HTTP/1.1\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    ("url", "text", "path"),
    [
        ("http://localhost:80/v2", "http://localhost", "/v2"),
        ("HTTPS://CP.example.com:8443/x/v2/", "https://cp.example.com:8443", "/x/v2"),
        ("http://[::1]:8099/v2?x=1#y", "http://[::1]:8099", "/v2"),
        ("http://u:p@host/v2", "http://host", "/v2"),
    ],
)
def test_an_address_is_what_a_user_can_check(url: str, text: str, path: str) -> None:
    assert (parsed(url).text, parsed(url).path) == (text, path)


@pytest.mark.parametrize(
    "url", ["http://h:70000/v2", "http://h:x/v2", "http://[::1/v2", "http://h/\r\nv2", "http://a b/v2"]
)
def test_what_is_no_address_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match="."):
        parsed(url)
