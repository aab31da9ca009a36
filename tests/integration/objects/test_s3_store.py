"""What a store behind a network makes of answers that a real server gives seldom. Not here: the contract (test_contract.py), faults on the way to real
servers (test_s3_faults.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kit.s3_servers import S3Server
from spg99.errors import BadRequest, PreconditionFailed, StoreUnavailable
from spg99.objects import FolderStore, ObjectStore, open_store, require_installation

OPTIONS = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}


class Answers:
    """A server of S3's requests that answers as the test says, and counts what it was asked."""

    def __init__(self, server: HTTPServer) -> None:
        self.seen: list[str] = []
        self.script: list[Response] = []
        self._server = server
        server.expect_request("/bucket/a").respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        self.seen.append(request.method)
        return self.script.pop(0) if self.script else Response(status=500)

    def store(self) -> ObjectStore:
        return open_store("s3://bucket", {**OPTIONS, "endpoint": self._server.url_for("")})


@pytest.fixture
def answers(httpserver: HTTPServer) -> Iterator[Answers]:
    return Answers(httpserver)


def ok(content: bytes = b"", **headers: str) -> Response:
    return Response(content, headers={"ETag": '"1"', "Last-Modified": "Mon, 30 Nov 2026 20:00:00 GMT", **headers})


async def test_errors_that_pass_are_waited_out(answers: Answers) -> None:
    answers.script = [Response(status=500), Response(status=503), ok()]
    assert await answers.store().put("a", b"x") == '"1"'
    answers.script = [Response(status=503), ok(b"content")]
    assert (await answers.store().get("a")).content == b"content"
    assert answers.seen == ["PUT", "PUT", "PUT", "GET", "GET"]


@pytest.mark.parametrize("has_changed", [False, True])
async def test_an_answer_that_ends_in_the_middle_is_gone_on_with(has_changed: bool) -> None:
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        begin = int(request.partition("range: bytes=")[2].partition("-")[0] or 0)
        asked.append(begin)
        body = b"content"[begin:] if begin else b"cont"  # of 7
        status = f"206 Partial Content\r\nContent-Range: bytes {begin}-6/7" if begin else "200 OK"
        tag = "2" if begin and has_changed else "1"
        head = f'HTTP/1.1 {status}\r\nContent-Length: {7 - begin}\r\nETag: "{tag}"\r\n'
        writer.write(head.encode() + b"Last-Modified: Mon, 30 Nov 2026 20:00:00 GMT\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = open_store("s3://bucket", {**OPTIONS, "endpoint": f"http://127.0.0.1:{port}"})
        if has_changed:
            with pytest.raises(StoreUnavailable):
                await store.get("a")
        else:
            assert (await store.get("a")).content == b"content"
        assert asked == [0, 4]


async def test_a_wrong_tag_is_no_error_of_the_store(answers: Answers) -> None:
    answers.script = [Response(status=412), Response(status=412)]
    with pytest.raises(PreconditionFailed):
        await answers.store().put_if_tag("a", b"x", '"1"')
    assert await answers.store().put_if_absent("a", b"x") is None


async def test_rights_that_are_missing_say_so(answers: Answers) -> None:
    answers.script = [Response(status=403)]
    with pytest.raises(StoreUnavailable, match="credentials may not"):
        await answers.store().get("a")


async def test_a_server_that_is_not_there(unused_tcp_port: int) -> None:
    store = open_store("s3://bucket", {**OPTIONS, "endpoint": f"http://127.0.0.1:{unused_tcp_port}"})
    with pytest.raises(StoreUnavailable):
        await store.put_if_absent("a", b"x")


async def test_a_bucket_that_is_not_there(moto: S3Server) -> None:
    store = open_store("s3://missing-bucket", moto.options)
    with pytest.raises(StoreUnavailable):
        await require_installation(store, "ins_1")


def test_places(tmp_path: object) -> None:
    assert isinstance(open_store(str(tmp_path)), FolderStore) and isinstance(
        open_store(f"file://{tmp_path}"), FolderStore
    )
    for wrong in ("http://bucket", "memory://", "s3://", "file://host/path"):
        with pytest.raises(BadRequest):
            open_store(wrong)
    with pytest.raises(BadRequest):
        open_store("s3://bucket", {"no_such_option": "x"})
