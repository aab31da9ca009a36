"""The relay between two real socket pairs: bytes, ends, last words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from spg99.gateway.relay import Relay
from spg99.wire.messages import TERMINATE, error_response, frame, ready_for_query


class Wired:
    """A relay, and the far ends of its two connections."""

    def __init__(self) -> None:
        self.ended: list[Relay] = []

    async def start(self, greeting: bytes = ready_for_query()) -> Wired:
        loop = asyncio.get_running_loop()
        (client, near_client), (backend, near_backend) = socket.socketpair(), socket.socketpair()
        transports = []
        for near in (near_client, near_backend):
            transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, near)
            transport.pause_reading()
            transports.append(transport)
        self.relay = Relay(transports[0], transports[1], on_end=self.ended.append)
        self.relay.start(greeting, late_from_client=b"", late_from_backend=b"")
        self.client_reader, self.client = await asyncio.open_connection(sock=client)
        self.backend_reader, self.backend = await asyncio.open_connection(sock=backend)
        assert await self.client_reader.readexactly(len(greeting)) == greeting
        return self

    async def last_words(self) -> bytes:
        return await asyncio.wait_for(self.client_reader.read(), 5)


@pytest.fixture
async def wired() -> AsyncIterator[Wired]:
    wired = await Wired().start()
    yield wired
    wired.client.close()
    wired.backend.close()


async def test_both_ways(wired: Wired) -> None:
    wired.client.write(b"question")
    assert await wired.backend_reader.readexactly(8) == b"question"
    wired.backend.write(b"answer")
    assert await wired.client_reader.readexactly(6) == b"answer"
    assert wired.relay.from_client.received == 8
    assert wired.relay.to_client == 6 + len(ready_for_query())


async def test_compute_lost_while_idle_or_before_it_answered(wired: Wired) -> None:
    wired.client.write(b"Q...")
    await wired.backend_reader.readexactly(4)
    wired.backend.close()
    words = await wired.last_words()
    assert words.startswith(b"E")
    assert b"C57P01\0" in words
    assert wired.ended == [wired.relay]


async def test_compute_lost_in_the_middle_of_a_row(wired: Wired) -> None:
    """What would be read as part of the row is not said."""
    half = frame(b"D", b"x" * 100)[:50]
    wired.backend.write(half)
    assert await wired.client_reader.readexactly(50) == half
    wired.backend.close()
    assert await wired.last_words() == b""


async def test_compute_said_why_itself(wired: Wired) -> None:
    words = error_response("57P01", "terminating connection due to administrator command")
    wired.backend.write(words)
    wired.backend.close()
    assert await wired.last_words() == words


async def test_orderly_end(wired: Wired) -> None:
    wired.client.write(TERMINATE)
    assert await wired.backend_reader.readexactly(5) == TERMINATE
    wired.backend.close()
    assert await wired.last_words() == b""


async def test_client_gone(wired: Wired) -> None:
    wired.client.write(b"last")
    wired.client.close()
    assert await asyncio.wait_for(wired.backend_reader.read(), 5) == b"last"
    assert wired.ended == [wired.relay]


async def test_shut_from_our_side(wired: Wired) -> None:
    wired.relay.terminate("57P01", "bye")
    words = await wired.last_words()
    assert b"Mbye\0" in words
    assert words.count(b"C57P01") == 1


async def test_one_side_is_not_read_while_the_other_does_not_take(wired: Wired) -> None:
    block = b"x" * 65536
    sent = 0
    while True:
        wired.backend.write(block)
        try:
            await asyncio.wait_for(wired.backend.drain(), 0.3)
        except TimeoutError:
            break
        sent += len(block)
        assert sent < 50_000_000, "the relay takes everything"
    assert wired.relay.client.get_write_buffer_size() < 1_000_000
    total = sent + len(block)
    assert len(await wired.client_reader.readexactly(total)) == total
