"""Small rules of the gateway: cancel keys, the channel between its processes."""

from __future__ import annotations

import asyncio
import socket

import pytest

from spg99.errors import Internal, NotFound, Unavailable
from spg99.gateway.backend import Place
from spg99.gateway.cancel import CancelKeys, CancelTarget
from spg99.gateway.channel import Channel


def test_cancel_keys() -> None:
    keys, target = CancelKeys(), CancelTarget(Place("/run", 5432), 4711, b"real")
    short, long = keys.give(target, long=False), keys.give(target, long=True)
    assert (short[0], len(short[1]), len(long[1])) == (4711, 4, 32)
    assert keys.find(*short) == keys.find(*long) == target
    assert keys.find(4711, b"real") is None, "the compute's own secret opens nothing here"
    keys.take_back(short)
    assert keys.find(*short) is None


async def test_channel() -> None:
    async def double(number: int) -> int:
        return number * 2

    async def refuse() -> None:
        raise NotFound("no such thing", details={"id": 7})

    async def crash() -> None:
        raise RuntimeError("a secret inside")

    async def hang() -> None:
        await asyncio.Event().wait()

    ours, theirs = Channel({}), Channel({"double": double, "refuse": refuse, "crash": crash, "hang": hang})
    left, right = socket.socketpair()
    await ours.open(left)
    await theirs.open(right)
    serving = [asyncio.create_task(ours.serve()), asyncio.create_task(theirs.serve())]
    assert await asyncio.gather(*(ours.call("double", number=i) for i in range(100))) == [i * 2 for i in range(100)]
    with pytest.raises(NotFound, match="no such thing") as caught:
        await ours.call("refuse")
    assert caught.value.details == {"id": 7}
    with pytest.raises(Internal) as crashed:
        await ours.call("crash")
    assert "secret" not in str(crashed.value)
    hanging = asyncio.create_task(ours.call("hang"))
    await asyncio.sleep(0.01)
    theirs.close()
    with pytest.raises(Unavailable, match="shutting down"):
        await hanging
    await asyncio.gather(*serving)
    with pytest.raises(Unavailable):
        await ours.call("double", number=1)
    ours.notify("double", number=1)  # nobody listens, nothing happens
