"""Server-Sent Events as both streams are written: what a reader can count on, whoever feeds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from spg99.control_plane.serving import sse
from spg99.control_plane.serving.sse import Batch, Message
from spg99.errors import Unavailable
from spg99.processes import wakeup


class Source:
    """Gives the batches it was handed, then waits; remembers what was asked of it."""

    def __init__(self, *batches: Batch | Exception) -> None:
        self.batches = list(batches)
        self.given = 0
        self.is_closed = False

    async def run(self) -> AsyncGenerator[Batch, None]:
        try:
            for batch in self.batches:
                if isinstance(batch, Exception):
                    raise batch
                self.given += 1
                yield batch
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


async def read(stream: AsyncGenerator[bytes, None], count: int) -> list[str]:
    return [(await asyncio.wait_for(anext(stream), 5)).decode() for _ in range(count)]


async def test_the_first_line_tells_where_the_stream_begins_and_messages_where_they_are() -> None:
    source = Source(Batch(8, [Message('{"a":1}', 7, "database.ready"), Message("{}", 8)]), Batch(8, [Message("{}")]))
    stream = sse.stream(source.run(), 5, is_closing=lambda: False)
    assert await read(stream, 4) == [
        ": connected\nid: 5\n\n",
        'id: 7\nevent: database.ready\ndata: {"a":1}\n\n',
        "id: 8\ndata: {}\n\n",
        "data: {}\n\n",
    ]
    await stream.aclose()
    assert source.is_closed


async def test_a_keep_alive_tells_the_position_also_while_others_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.0)
    source = Source(Batch(6, [Message("{}", 6)]), Batch(9))
    stream = sse.stream(source.run(), 5, is_closing=lambda: False)
    assert (await read(stream, 4))[2:] == [": keep-alive\nid: 6\n\n", ": keep-alive\nid: 9\n\n"]
    await stream.aclose()


async def test_a_slow_reader_is_not_written_ahead_of() -> None:
    source = Source(*(Batch(n, [Message("{}", n)]) for n in range(1, 100)))
    stream = sse.stream(source.run(), 0, is_closing=lambda: False)
    await read(stream, 3)
    assert source.given == 2
    await stream.aclose()


@pytest.mark.parametrize("why", ["closing", "not allowed", "catalogue away"])
async def test_a_stream_ends_and_lets_its_source_go(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.0)
    is_closing = False

    async def is_allowed() -> bool:
        return why != "not allowed"

    source = Source(Batch(1, [Message("{}", 1)]), Unavailable("away"))
    stream = sse.stream(source.run(), 0, is_closing=lambda: is_closing, is_allowed=is_allowed)
    await read(stream, 2)
    is_closing = why == "closing"
    rest = [part.decode() async for part in stream]
    assert rest == ([] if why == "not allowed" else [": keep-alive\nid: 1\n\n"])
    assert source.is_closed


def test_a_bell_that_nobody_looks_at_holds_no_more_than_it_may() -> None:
    wakeup_of_one = wakeup.Wakeup()
    for number in range(wakeup.PAYLOADS_MAX + 1):
        wakeup_of_one.wake(str(number))
    wakeup_of_one.wake("later")
    assert wakeup_of_one.clear() == set()
    wakeup_of_one.wake("again")
    assert wakeup_of_one.clear() == {"again"}
