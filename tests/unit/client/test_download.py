"""Downloads that break off: they go on where they were, and end in the same bytes."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from spg99.client import download
from spg99.errors import BadRequest, Forbidden, Spg99Error, Unavailable

CONTENT = os.urandom(300_000)


@contextmanager
def served(answers: list[Any]) -> Iterator[tuple[str, list[str | None]]]:
    """A server that treats one request after the other as `answers` say: so many bytes and it hangs up, a status, or all of the rest."""
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.headers.get("Range"))
            todo = answers.pop(0)
            if isinstance(todo, tuple):
                status, body, headers = todo
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            rest = CONTENT[begin:]
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[:todo] if todo is not None else rest)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/app.dump?signature=secret", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def fetched(url: str, before: bytes = b"") -> bytes:
    into = io.BytesIO(before)
    assert download.download(url, into, sleep=lambda _: None) == len(into.getvalue())
    return into.getvalue()


def test_what_breaks_off_goes_on_where_it_was() -> None:
    with served([100_000, 0, 150_000, None]) as (url, asked):
        assert fetched(url) == CONTENT
    assert asked == [None, "bytes=100000-", "bytes=100000-", "bytes=250000-"]


def test_a_server_that_answers_the_whole_again_is_read_anew() -> None:
    other = b"another file"
    with served([100_000, (200, other, {})]) as (url, _):
        assert fetched(url) == other


def test_a_server_that_is_away_for_a_moment_is_asked_again_and_not_for_ever() -> None:
    away = (503, b"", {})
    with served([100_000, away, away, None]) as (url, _):
        assert fetched(url) == CONTENT
    with served([away] * download.TRIES_MAX) as (url, asked):
        with pytest.raises(Unavailable) as failed:
            fetched(url)
        assert len(asked) == download.TRIES_MAX and "secret" not in failed.value.message


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((404, b"<html>", {}), BadRequest, "404"),
        ((403, b'{"error": "Forbidden", "message": "Not valid.", "details": {}}', {}), Forbidden, "Not valid."),
        ((206, b"x", {"Content-Range": "bytes 5-5/6"}), BadRequest, "206"),
    ],
)
def test_a_refusal_is_told_at_once(answer: Any, kind: type[Spg99Error], words: str) -> None:
    with served([answer]) as (url, asked):
        with pytest.raises(kind) as refused:
            fetched(url)
        assert len(asked) == 1 and words in refused.value.message and "secret" not in refused.value.message


def test_a_link_that_leads_on_is_followed_where_it_may_lead() -> None:
    with served([None]) as (target, _), served([(302, b"", {"Location": target})]) as (url, _):
        assert fetched(url) == CONTENT
    for place in ("http://example.org/app.dump", "file:///etc/passwd"):
        with served([(302, b"", {"Location": place})]) as (url, _), pytest.raises(BadRequest):
            fetched(url)
    with served([(302, b"", {"Location": "/again"})] * (download.REDIRECTS_MAX + 1)) as (url, _):
        with pytest.raises(BadRequest):
            fetched(url)
