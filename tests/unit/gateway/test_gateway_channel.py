"""Two processes of a Gateway that talk: calls are answered, errors come across, and one who does not read is given up. Here: the
channel alone. Not here: what is asked."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from kit.waits import until
from spg99.errors import NotFound, Spg99Error, Unavailable
from spg99.gateway import channel as channel_module
from spg99.gateway.channel import Channel


async def echo(text: str) -> str:
    return text


async def refuse() -> None:
    raise NotFound("There is none.")


async def pair() -> tuple[Channel, Channel]:
    channels = Channel({}), Channel({"echo": echo, "refuse": refuse})
    for each, sock in zip(channels, socket.socketpair(), strict=True):
        await each.open(sock)
    return channels


async def test_many_large_calls_at_once_are_answered_and_errors_come_across() -> None:
    here, there = await pair()
    tasks = [asyncio.create_task(each.serve()) for each in (here, there)]
    texts = [str(number) * 200_000 for number in range(10)]
    assert await asyncio.gather(*(here.call("echo", text=text) for text in texts)) == texts
    with pytest.raises(NotFound, match="There is none"):
        await here.call("refuse")
    here.close()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("way", ["notify", "call"])
async def test_one_who_does_not_read_is_given_up_and_memory_is_not_filled(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(channel_module, "BACKLOG_BYTES_MAX", 1 << 20)
    here, _there = await pair()  # nobody serves there
    serving = asyncio.create_task(here.serve())
    text = "x" * 100_000
    calls: list[asyncio.Task[Any]] = []
    largest = 0

    def send() -> bool:
        nonlocal largest
        assert here._writer is not None
        if here._writer.is_closing():
            return True
        if way == "notify":
            here.notify("echo", text=text)
        else:
            calls.append(asyncio.create_task(here.call("echo", text=text)))
        largest = max(largest, here._writer.transport.get_write_buffer_size())
        return False

    await until("it is given up", send, every=0)
    assert largest < (1 << 20) + 4 * len(text)
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, Unavailable)
    with pytest.raises(Spg99Error):
        await here.call("echo", text="")
    serving.cancel()
