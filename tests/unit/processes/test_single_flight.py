"""One flight of a call: the contract of `single_flight.py`, line by line, for both ways of joining."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from spg99.processes import SingleFlight, StillUnderWay

BOTH = pytest.mark.parametrize("joins_under_way", [True, False])


class Calls:
    """A call that ends when it is told to; each flight answers its number."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.gates: list[asyncio.Event] = []
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        self.ended += 1
        if self.error is not None:
            raise self.error
        return number


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0)


def waiter(flights: SingleFlight[str, int], call: Any, **how: Any) -> asyncio.Task[int]:
    return asyncio.create_task(flights.call("app", call, **how))


@BOTH
async def test_who_comes_before_a_flight_begins_shares_it(joins_under_way: bool) -> None:
    flights, calls = SingleFlight[str, int](joins_under_way=joins_under_way), Calls()
    waiters = [waiter(flights, calls) for _ in range(5)]
    other = asyncio.create_task(flights.call("other", calls))
    await until(lambda: calls.begun == 2)
    for gate in calls.gates:
        gate.set()
    assert await asyncio.gather(*waiters) == [1] * 5
    assert await other == 2
    assert len(flights) == 0


@BOTH
async def test_who_comes_while_it_is_under_way(joins_under_way: bool) -> None:
    flights, calls = SingleFlight[str, int](joins_under_way=joins_under_way), Calls()
    first = waiter(flights, calls)
    await until(lambda: calls.begun == 1)
    late = [waiter(flights, calls) for _ in range(3)]
    await asyncio.sleep(0)
    assert calls.begun == 1, "two flights of a key never run at once"
    calls.gates[0].set()
    assert await first == 1
    if joins_under_way:
        assert await asyncio.gather(*late) == [1] * 3
    else:
        await until(lambda: calls.begun == 2)
        calls.gates[1].set()
        assert await asyncio.gather(*late) == [2] * 3
    assert len(flights) == 0


@BOTH
@pytest.mark.parametrize("leaves", ["cancelled", "out of time"])
async def test_a_waiter_that_leaves_leaves_the_flight_to_the_others(joins_under_way: bool, leaves: str) -> None:
    flights, calls = SingleFlight[str, int](joins_under_way=joins_under_way), Calls()
    leaver = waiter(flights, calls, wait_seconds=None if leaves == "cancelled" else 0.01)
    stayer = waiter(flights, calls)
    await until(lambda: calls.begun == 1)
    if leaves == "cancelled":
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
    else:
        with pytest.raises(StillUnderWay):
            await leaver
    calls.gates[0].set()
    assert await stayer == 1


@BOTH
async def test_a_flight_goes_to_its_end_when_nobody_waits(joins_under_way: bool) -> None:
    flights, calls = SingleFlight[str, int](joins_under_way=joins_under_way), Calls()
    only = waiter(flights, calls)
    await until(lambda: calls.begun == 1)
    only.cancel()
    await asyncio.gather(only, return_exceptions=True)
    flights.leave_behind()
    gc.collect()  # nobody but the tool holds it now
    calls.gates[0].set()
    await until(lambda: len(flights) == 0)
    assert calls.ended == 1


@BOTH
async def test_an_error_is_for_those_who_shared_the_flight_and_for_nobody_after(joins_under_way: bool) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    flights, calls = SingleFlight[str, int](joins_under_way=joins_under_way), Calls()
    calls.error = LookupError("gone")
    waiters = [waiter(flights, calls) for _ in range(2)]
    await until(lambda: calls.begun == 1)
    calls.gates[0].set()
    assert [type(error) for error in await asyncio.gather(*waiters, return_exceptions=True)] == [LookupError] * 2
    # One whose error nobody is left to hear.
    unheard = waiter(flights, calls)
    await until(lambda: calls.begun == 2)
    unheard.cancel()
    calls.gates[1].set()
    await until(lambda: len(flights) == 0)
    calls.error = None
    after = waiter(flights, calls)
    await until(lambda: calls.begun == 3)
    calls.gates[2].set()
    assert await after == 3
    del waiters, unheard, after
    gc.collect()
    assert complaints == []


@BOTH
async def test_a_result_is_kept_no_longer_than_the_flight(joins_under_way: bool) -> None:
    flights = SingleFlight[str, int](joins_under_way=joins_under_way)
    begun = 0

    async def call() -> int:
        nonlocal begun
        begun += 1
        return begun

    assert [await flights.call("app", call) for _ in range(3)] == [1, 2, 3]


@BOTH
async def test_after_a_change_nobody_shares_what_began_before_it(joins_under_way: bool) -> None:
    flights, calls = SingleFlight[str, int](joins_under_way=joins_under_way), Calls()
    before = waiter(flights, calls)
    await until(lambda: calls.begun == 1)
    flights.leave_behind()
    after = waiter(flights, calls)
    if joins_under_way:
        await until(lambda: calls.begun == 2)  # beside the old one: its answer may be long in coming
        calls.gates[1].set()
        assert await after == 2
        calls.gates[0].set()
        assert await before == 1
    else:
        calls.gates[0].set()
        assert await before == 1
        await until(lambda: calls.begun == 2)
        calls.gates[1].set()
        assert await after == 2
    assert len(flights) == 0


async def test_a_row_of_flights_is_one_at_a_time_and_in_order() -> None:
    flights = SingleFlight[str, int](joins_under_way=False)
    running, most, number = 0, 0, 0

    async def call() -> int:
        nonlocal running, most, number
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        number += 1
        return number

    waiters = []
    for _ in range(30):
        waiters.append(asyncio.create_task(flights.call("app", call)))
        await asyncio.sleep(0)
    answers = await asyncio.gather(*waiters)
    assert most == 1 and answers == sorted(answers) and len(set(answers)) > 2
    assert len(flights) == 0
