"""The relay between two real socket pairs: bytes, ends, last words."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.examples import examples
from spg99.gateway import relay as relay_module
from spg99.gateway.relay import HIGH_WATER_BYTES, Relay
from spg99.wire.messages import TERMINATE, error_response, frame, ready_for_query


class Wired:
    """A relay, and the far ends of its two connections."""

    def __init__(self) -> None:
        self.ended: list[Relay] = []

    async def start(
        self, greeting: bytes = ready_for_query(), *, late: tuple[bytes, bytes] = (b"", b""), buffer_bytes: int = 0
    ) -> Wired:
        loop = asyncio.get_running_loop()
        (client, near_client), (backend, near_backend) = socket.socketpair(), socket.socketpair()
        for sock in (client, near_client, backend, near_backend) if buffer_bytes else ():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        transports = []
        for near in (near_client, near_backend):
            transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, near)
            transport.pause_reading()
            transports.append(transport)
        self.relay = Relay(transports[0], transports[1], on_end=self.ended.append)
        self.relay.start(greeting, late_from_client=late[0], late_from_backend=late[1])
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


def under_each_loop(walk: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(walk())
    uvloop.run(walk())


def test_what_the_compute_said_last_arrives_where_a_question_met_its_end() -> None:
    """The question is written before its words are read, as on a busy machine: the write fails, the words are there."""
    words = error_response("57P01", "terminating connection due to administrator command")

    async def walk() -> None:
        wired = await Wired().start()
        backend = wired.backend.get_extra_info("socket").fileno()
        os.write(backend, words)
        socket.socket(fileno=os.dup(backend)).shutdown(socket.SHUT_RDWR)
        wired.relay.from_client.data_received(b"Q...")
        assert await wired.last_words() == words
        wired.client.close()
        wired.backend.close()

    under_each_loop(walk)


async def test_of_what_lies_unread_at_an_end_met_by_writing_only_so_much_is_read(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody holds it back any more, so a client that takes nothing would have it all in memory."""
    monkeypatch.setattr(relay_module, "HIGH_WATER_BYTES", 4096)
    half = met_by_writing(wired, b"x" * 50_000)
    half.connection_lost(ConnectionResetError())
    assert await wired.last_words() == b"x" * 4096


async def test_a_client_that_went_first_gets_nothing_of_what_lies_unread(wired: Wired) -> None:
    half = met_by_writing(wired, b"x" * 50)
    before = wired.relay.to_client
    wired.relay.client.close()
    wired.relay.client_lost()
    half.connection_lost(ConnectionResetError())
    assert wired.ended == [wired.relay]
    assert wired.relay.to_client == before, "what is counted after on_end is counted nowhere"


@pytest.mark.parametrize("facts", [{"socket": None}, {"ssl_object": object()}])
async def test_of_a_compute_behind_tls_nothing_is_read_that_is_not_its_words(
    wired: Wired, facts: dict[str, Any]
) -> None:
    """Its machine was killed: the end was met by writing, the session stayed open for ever, and ciphertext would have gone to the client."""
    half = met_by_writing(wired, b"ciphertext")

    class OverTls:
        def get_extra_info(self, name: str) -> Any:
            return facts[name] if name in facts else backend.get_extra_info(name)

        def close(self) -> None:
            backend.close()

    backend = wired.relay.backend
    wired.relay.backend = OverTls()  # type: ignore[assignment]
    half.connection_lost(ConnectionResetError())
    words = await wired.last_words()
    assert words == error_response(*relay_module.COMPUTE_LOST)
    assert wired.ended == [wired.relay]


def met_by_writing(wired: Wired, unread: bytes) -> asyncio.BaseProtocol:
    """The half that reads the compute, which has said this and was not read since."""
    wired.relay.backend.pause_reading()
    os.write(wired.backend.get_extra_info("socket").fileno(), unread)
    return wired.relay.backend.get_protocol()


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


CHUNKS = st.lists(st.binary(min_size=1, max_size=70_000), max_size=12)
STREAM_BYTES = 256 * 1024
"""What a connection's own reader takes without being asked (asyncio's limit of 64 KiB, twice), and the kernel's buffers."""


@given(to_compute=CHUNKS, to_client=CHUNKS, late=st.tuples(st.binary(max_size=50), st.binary(max_size=50)))
@settings(max_examples=examples(40), deadline=None)
def test_order_and_wholeness_in_both_directions(
    to_compute: list[bytes], to_client: list[bytes], late: tuple[bytes, bytes]
) -> None:
    """Both sides send at once, through small buffers, so that each is held back many times."""

    async def scenario() -> None:
        wired = await Wired().start(b"greeting", late=late, buffer_bytes=4096)

        async def send(writer: asyncio.StreamWriter, chunks: list[bytes]) -> None:
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()

        all_to_compute, all_to_client = late[0] + b"".join(to_compute), late[1] + b"".join(to_client)
        async with asyncio.timeout(20):
            _, _, at_compute, at_client = await asyncio.gather(
                send(wired.client, to_compute),
                send(wired.backend, to_client),
                wired.backend_reader.readexactly(len(all_to_compute)),
                wired.client_reader.readexactly(len(all_to_client)),
            )
            assert at_compute == all_to_compute
            assert at_client == all_to_client
            assert wired.relay.from_client.received == len(all_to_compute)
            assert wired.relay.to_client == len(b"greeting") + len(all_to_client)
            wired.client.close()
            assert await wired.backend_reader.read() == b"", "nobody puts a word in towards the compute"
        assert wired.ended == [wired.relay]

    asyncio.run(scenario())


@pytest.mark.parametrize("slow", ["client", "compute"])
async def test_held_back_in_one_direction_only(wired: Wired, slow: str) -> None:
    """A side that takes nothing stops the other from being read; what it says itself still arrives. And it all comes out."""
    into, out_of = (wired.backend, wired.client_reader) if slow == "client" else (wired.client, wired.backend_reader)
    back, heard = (wired.client, wired.backend_reader) if slow == "client" else (wired.backend, wired.client_reader)
    block, sent = b"x" * 65536, 0
    while True:
        into.write(block)
        sent += len(block)
        try:
            await asyncio.wait_for(into.drain(), 0.3)
        except TimeoutError:
            break
        assert sent < 50_000_000, "the relay takes everything"
    near = wired.relay.client if slow == "client" else wired.relay.backend
    assert near.get_write_buffer_size() <= HIGH_WATER_BYTES + STREAM_BYTES
    back.write(b"still here")
    assert await asyncio.wait_for(heard.readexactly(10), 5) == b"still here"
    assert len(await asyncio.wait_for(out_of.readexactly(sent), 20)) == sent
    into.write(b"and on")
    assert await asyncio.wait_for(out_of.readexactly(6), 5) == b"and on"


async def test_what_the_compute_said_last_arrives_also_at_a_slow_client(wired: Wired) -> None:
    """Its connection ends while megabytes wait for the client: they come first, then the reason, then the end."""
    rows = frame(b"D", b"x" * 50_000) * 40 + ready_for_query()
    wired.backend.write(rows)
    wired.backend.close()
    async with asyncio.timeout(10):
        received = await wired.client_reader.read(-1)
    assert received.startswith(rows)
    assert received[len(rows) :].startswith(b"E")
    assert b"C57P01\0" in received[len(rows) :]
    assert wired.ended == [wired.relay]


@pytest.mark.parametrize("first", ["client", "compute", "terminate"])
@pytest.mark.parametrize("second", ["client", "compute", "terminate"])
async def test_it_ends_once_in_whatever_order(wired: Wired, first: str, second: str) -> None:
    ways = {
        "client": wired.client.close,
        "compute": wired.backend.close,
        "terminate": lambda: wired.relay.terminate("57P01", "bye"),
    }
    ways[first]()
    ways[second]()
    async with asyncio.timeout(5):
        while not wired.ended:
            await asyncio.sleep(0.001)
        while not (wired.relay.client.is_closing() and wired.relay.backend.is_closing()):
            await asyncio.sleep(0.001)
    ways[second]()
    assert wired.ended == [wired.relay]


@given(
    stream=st.lists(st.tuples(st.sampled_from(b"DCZNS"), st.binary(max_size=30)), min_size=1, max_size=6),
    data=st.data(),
)
@settings(max_examples=examples(60), deadline=None)
def test_the_last_word_never_lands_inside_a_message(stream: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """Whole messages, cut anywhere: the reason follows only where a client reads a new message."""
    whole = b"".join(frame(bytes([kind]), body) for kind, body in stream)
    cut = data.draw(st.integers(1, len(whole)))
    boundaries = {0}
    for kind, body in stream:
        boundaries.add(max(boundaries) + 5 + len(body))
        del kind

    async def scenario() -> None:
        wired = await Wired().start(b"")
        wired.backend.write(whole[:cut])
        wired.backend.close()
        async with asyncio.timeout(5):
            received = await wired.client_reader.read(-1)
        wired.client.close()
        assert received.startswith(whole[:cut])
        if cut not in boundaries:
            assert received == whole[:cut]
        else:
            assert received[cut:].startswith(b"E"), "it is said where it can be"

    asyncio.run(scenario())
