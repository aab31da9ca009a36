"""However the stream of events ends, whoever waits knows that there is none. Here: a client whose stream fails. Not here:
what is waited for (tests/conformance)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from spg99.bridges.shared import waiting
from spg99.bridges.shared.waiting import Waiter
from spg99.client import Client
from spg99.errors import Forbidden, Unavailable

SEEN_SECONDS_MAX = 10.0


class Streams:
    """Each stream stands, and then ends in the same way."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.opened = 0
        self.end = asyncio.Event()

    async def follow_events(self) -> AsyncIterator[Any]:
        self.opened += 1
        yield None
        await self.end.wait()
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (None, True),
        (Unavailable(), True),
        (Forbidden(), False),
        (RuntimeError("what?"), True),
        (ValueError("no JSON"), True),
        (OSError(24, "Too many open files"), True),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_nobody_believes_in_a_stream_that_has_ended(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, again: bool
) -> None:
    monkeypatch.setattr(waiting, "STREAM_AGAIN_SECONDS", 0.01)
    streams = Streams(error)
    waiter = Waiter(cast(Client, streams))
    looks = 0
    settled = False

    async def look() -> bool:
        nonlocal looks
        looks += 1
        return settled

    waits = asyncio.create_task(waiter.until(look, bool, uid="db_1", seconds_max=30, progress=lambda *_: None))
    deadline = time.monotonic() + SEEN_SECONDS_MAX

    async def until(condition: Any) -> None:
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)

    await until(lambda: waiter._stream_stands and looks)
    before = looks
    streams.end.set()
    await until(lambda: looks > before)  # woken, although nothing was told
    if again:
        await until(lambda: streams.opened > 1)
    else:
        await until(lambda: waiter._stream is not None and waiter._stream.done())
        assert not waiter._stream_stands and streams.opened == 1
    settled = True
    waiter._wake_all()
    assert await waits
    await waiter.aclose()
