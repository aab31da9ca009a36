"""Connections of an event loop: used again, closed, bounded; streams; the first address that takes one. Here: what the tests of both ways
(test_client_network.py, test_bad_days.py) do not see."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from spg99.client import connecting, in_loop
from spg99.client.exchanges import (
    Address,
    BrokenOff,
    Late,
    NoAnswer,
    NoRoom,
    NotConnected,
    NotConnectedInTime,
    NotDecompressed,
    NotHttp,
    Request,
)
from spg99.client.in_loop import InLoop

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def asked(*, seconds: float = 5.0) -> Request:
    return Request("GET", "/v2/x", {}, None, seconds, 5.0)


@contextlib.asynccontextmanager
async def server(
    *answers: bytes, behind: Callable[[asyncio.StreamWriter], None] = lambda _: None
) -> AsyncIterator[tuple[InLoop, list[int]]]:
    """A server that answers the n-th request with the n-th bytes (the last repeats) and then calls `behind`; which request came on
    which connection."""
    seen: list[int] = []
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        mine = connections
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                seen.append(mine)
                writer.write(answers[min(len(seen), len(answers)) - 1])
                await writer.drain()
                behind(writer)
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    client = InLoop(Address("http", "127.0.0.1", listening.sockets[0].getsockname()[1], ""), None)
    try:
        yield client, seen
    finally:
        await client.aclose()
        listening.close()
        await listening.wait_closed()


async def test_a_connection_is_used_again_and_at_once_by_one_request_only() -> None:
    async with server(GOOD) as (client, seen):
        for _ in range(3):
            assert (await client.send(asked())).content == b"{}"
        assert seen == [1, 1, 1]
        await asyncio.gather(*(client.send(asked()) for _ in range(3)))
        assert sorted(seen[3:]) == [1, 2, 3]


async def test_one_that_the_server_has_closed_or_says_too_much_on_is_not_used_again() -> None:
    async with server(GOOD, behind=lambda writer: writer.close()) as (client, seen):
        for _ in range(3):
            assert (await client.send(asked())).status == 200
        assert seen == [1, 2, 3]
    async with server(GOOD + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse") as (client, seen):
        for _ in range(2):
            assert (await client.send(asked())).content == b"{}"
        assert seen == [1, 2]


async def test_one_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_loop, "IDLE_SECONDS_MAX", 0.0)
    async with server(GOOD) as (client, seen):
        for _ in range(2):
            await client.send(asked())
        assert seen == [1, 2]


async def test_who_finds_no_place_waits_for_one_and_is_told_when_none_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_loop, "PLACES_MAX", 2)
    async with server(GOOD, b"") as (client, seen):
        await asyncio.gather(*(client.send(asked()) for _ in range(1)))
        hanging = [asyncio.create_task(client.send(asked())) for _ in range(2)]
        while len(seen) < 3:
            await asyncio.sleep(0)
        with pytest.raises(NoRoom):
            await client.send(asked(seconds=0.05))
        for each in hanging:
            each.cancel()
        await asyncio.wait(hanging)
        with pytest.raises(Late):  # there is room again
            await client.send(asked(seconds=0.05))


async def test_a_cancelled_request_leaves_no_answer_to_the_next() -> None:
    async with server(b"", GOOD) as (client, seen):
        hanging = asyncio.create_task(client.send(asked()))
        while not seen:
            await asyncio.sleep(0)
        hanging.cancel()
        await asyncio.wait({hanging})
        assert (await client.send(asked())).content == b"{}"
        assert seen == [1, 2]


@pytest.mark.parametrize(
    ("sent", "kind"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", NotHttp), (b"SSH-2.0-x\r\n\r\n", NotHttp), (b"", NoAnswer)],
)
async def test_a_cut_answer_is_none(sent: bytes, kind: type[NoAnswer]) -> None:
    async with server(sent, behind=lambda writer: writer.transport.abort()) as (client, _):
        with pytest.raises(kind):
            await client.send(asked())


async def test_a_stream_tells_its_parts_as_they_come_and_its_end() -> None:
    async with (
        server(EVENTS + b"3\r\nid:\r\n2\r\n 7\r\n0\r\n\r\n") as (client, _),
        client.stream(asked()) as (head, parts),
    ):
        assert head.status == 200 and parts is not None
        assert b"".join([part async for part in parts]) == b"id: 7"


async def test_a_stream_that_is_silent_or_cut_is_told() -> None:
    async with server(EVENTS + b"1\r\nx\r\n") as (client, _), client.stream(asked(seconds=0.05)) as (_, parts):
        assert parts is not None and await anext(parts) == b"x"
        with pytest.raises(Late):
            await anext(parts)
    async with (
        server(EVENTS, behind=lambda writer: writer.close()) as (client, _),
        client.stream(asked()) as (_, parts),
    ):
        assert parts is not None
        with pytest.raises(NotHttp):
            await anext(parts)


async def test_a_stream_that_is_refused_is_whole() -> None:
    async with (
        server(b"HTTP/1.1 409 No\r\nContent-Length: 2\r\n\r\n{}") as (client, _),
        client.stream(asked()) as (head, parts),
    ):
        assert (head.status, head.content, parts) == (409, b"{}", None)


async def test_a_stream_in_an_encoding_that_was_not_asked_for_is_refused() -> None:
    packed = EVENTS.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    async with server(packed + b"1\r\nx\r\n0\r\n\r\n") as (client, _):
        with pytest.raises(NotDecompressed):
            async with client.stream(asked()):
                pass


async def test_a_reader_that_is_slow_holds_the_server_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_loop, "STREAM_BYTES_MAX", 1000)
    part = b"%x\r\n%b\r\n" % (1 << 16, b"y" * (1 << 16))
    async with server(EVENTS + part * 200) as (client, _), client.stream(asked()) as (_, parts):
        assert parts is not None
        (connection,) = client._all
        while not (stream := connection.taker) or len(stream._parts) <= 1000:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(stream._parts) < 2 << 20, "it stays with the server"  # type: ignore[attr-defined]
        taken = 0
        async for piece in parts:
            taken += len(piece)
            if taken == 200 << 16:
                break


async def test_a_connection_that_ends_before_the_request_is_told() -> None:
    async with server(GOOD) as (client, _):
        connection = await client._opened(5.0)
        connection.close()
        with pytest.raises(BrokenOff):
            connection.write(b"x")


async def test_the_next_address_is_tried_while_the_first_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[str] = []
    closed: list[str] = []

    class Plain:
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> None:
            closed.append(self.name)

    async def one(address: tuple[str, ...]) -> Plain:
        attempts.append(address[0])
        if address[0] == "refused":
            raise ConnectionRefusedError("refused")
        if address[0] == "silent":
            await asyncio.sleep(60)
        return Plain(address[0])

    monkeypatch.setattr(connecting, "HEAD_START_SECONDS", 0.01)
    monkeypatch.setattr(connecting, "_one", one)
    found = await connecting.first_connection([("silent",), ("refused",), ("good",)])
    assert found.name == "good" and attempts == ["silent", "refused", "good"] and closed == []  # type: ignore[attr-defined]
    with pytest.raises(ConnectionRefusedError):
        await connecting.first_connection([("refused",), ("refused",)])


async def test_who_does_not_take_a_connection_is_told_apart() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = Address("http", "127.0.0.1", nobody.getsockname()[1], "")
        with pytest.raises(NotConnected) as refused:
            await InLoop(address, None).send(asked())
        assert not isinstance(refused.value, NotConnectedInTime)
        nobody.listen(0)
        with contextlib.ExitStack() as full:  # so that the next one finds no room in the queue
            for _ in range(4):
                other = full.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(nobody.getsockname())
            with pytest.raises(NotConnectedInTime):
                await InLoop(address, None).send(Request("GET", "/", {}, None, 5.0, 0.05))
