"""Many requests at once: each lane takes a few, and no lane is made that is not needed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx

from spg99.client.lanes import LANES_MAX, REQUESTS_MAX, Lanes


async def test_a_lane_is_filled_before_another_is_made_and_used_again() -> None:
    made: list[httpx.AsyncClient] = []

    def make() -> httpx.AsyncClient:
        made.append(httpx.AsyncClient())
        return made[-1]

    lanes = Lanes(make)
    async with AsyncExitStack() as stack:
        first = [await stack.enter_async_context(lanes.one()) for _ in range(REQUESTS_MAX)]
        assert set(first) == {lanes.first} == set(made)
        second = await stack.enter_async_context(lanes.one())
        assert second is made[1] and second is not lanes.first
        for _ in range(REQUESTS_MAX * LANES_MAX):
            await stack.enter_async_context(lanes.one())
        assert len(made) == LANES_MAX, "what comes beyond shares"
    async with lanes.one() as again:
        assert again in made and len(made) == LANES_MAX
    await lanes.aclose()
    assert all(client.is_closed for client in made)


async def test_a_failed_request_frees_its_place() -> None:
    lanes = Lanes(httpx.AsyncClient)

    async def fail() -> None:
        async with lanes.one():
            raise ValueError

    results = await asyncio.gather(*(fail() for _ in range(REQUESTS_MAX * 3)), return_exceptions=True)
    assert all(isinstance(result, ValueError) for result in results)
    async with AsyncExitStack() as stack:
        used = {await stack.enter_async_context(lanes.one()) for _ in range(REQUESTS_MAX)}
    assert len(used) == 1
    await lanes.aclose()
