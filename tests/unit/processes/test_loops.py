"""Loops that run: whatever a turn does, the loop goes on, is counted and told, and ends when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import structlog
from prometheus_client import CollectorRegistry

from kit.waits import until
from spg99.clock import FrozenClock
from spg99.errors import Unauthorized, Unavailable
from spg99.processes import Loops, Wakeup, loop_failures

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Platform:
    """Loops with a clock of their own; pauses after failures are the shortest ones."""

    def __init__(self, *, fatal: tuple[type[Exception], ...] = ()) -> None:
        self.registry = CollectorRegistry()
        self.seconds = 0.0
        self.clock = FrozenClock(NOON)
        self.loops = Loops(
            failures=loop_failures(self.registry),
            fatal=fatal,
            clock=self.clock,
            monotonic=lambda: self.seconds,
            chance=lambda: 0.0,
        )

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.clock.advance(seconds=seconds)

    def counted(self, name: str) -> float | None:
        return self.registry.get_sample_value("spg99_loop_failures_total", {"loop": name})


async def cancelled_inside() -> None:
    """What a turn meets when a task that it waits for is cancelled by somebody else."""
    other = asyncio.create_task(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(other.cancel)
    await other


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


FAILURES = {
    "an outage": raising(Unavailable("The catalogue is away.")),
    "a column that is not there": raising(KeyError("reconcile_at")),
    "an assertion": raising(AssertionError("does not settle")),
    "a group": raising(ExceptionGroup("both", [ValueError("a"), OSError("b")])),
    "a recursion": raising(RecursionError("deep")),
    "memory": raising(MemoryError()),
    "a cancelled helper": cancelled_inside,
    "a time-out": raising(TimeoutError()),
}


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("how", ["repeat", "keep"])
async def test_whatever_a_turn_raises_the_loop_goes_on_is_counted_and_told(kind: str, how: str) -> None:
    platform = Platform()
    broken, turns = True, 0

    async def turn() -> float:
        nonlocal turns
        turns += 1
        if broken:
            await FAILURES[kind]()
        if how == "keep":
            await asyncio.Event().wait()
        return 3600.0

    if how == "repeat":
        platform.loops.repeat("reconciler", turn)
    else:
        platform.loops.keep("reconciler", turn)  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as lines:
        async with platform.loops:
            await until(
                "three failures", lambda: turns >= 3 and platform.counted("reconciler") == turns
            )  # between two turns
            assert platform.loops.unhealthy() == [], "a moment is no reason to worry"
            platform.advance(6)
            (told,) = platform.loops.unhealthy()
            assert (told.loop, told.since) == ("reconciler", NOON)
            assert "in a row" in told.reason
            broken = False
            before = turns
            await until("another turn", lambda: turns > before)
            platform.advance(6)
            assert platform.loops.unhealthy() == []
    assert platform.counted("reconciler") == turns - 1
    said = [line for line in lines if line["event"] == "a turn failed"]
    assert len(said) == 1 and said[0]["loop"] == "reconciler", "once, not at every turn"
    assert said[0].get("reason") or said[0].get("exc_info"), "with its cause"


async def test_a_loop_that_comes_to_an_end_is_begun_again_and_told() -> None:
    platform, runs = Platform(), 0

    async def run() -> None:
        nonlocal runs
        runs += 1

    platform.loops.keep("wakeups", run)
    async with platform.loops:
        await until("three runs", lambda: runs >= 3)
        platform.advance(10)
        assert [told.loop for told in platform.loops.unhealthy()] == ["wakeups"]


async def test_one_loop_that_fails_is_named_and_the_others_go_on() -> None:
    platform, turns = Platform(), 0

    async def well() -> float:
        nonlocal turns
        turns += 1
        return 0.0

    async def ill() -> float:
        raise ValueError("no")

    platform.loops.repeat("well", well)
    platform.loops.repeat("ill", ill)
    async with platform.loops:
        await until("two failures", lambda: platform.counted("ill") == 2)
        platform.advance(60)
        before = turns
        await until("ten more turns", lambda: turns > before + 10)
        assert [told.loop for told in platform.loops.unhealthy()] == ["ill"]
    assert platform.counted("well") == 0


async def test_a_turn_that_hangs_is_told() -> None:
    platform = Platform()
    hanging = asyncio.Event()

    async def turn() -> float:
        hanging.set()
        await asyncio.Event().wait()
        return 0.0

    platform.loops.repeat("janitor", turn, turn_seconds_max=30)
    async with platform.loops:
        await hanging.wait()
        platform.advance(31)
        (told,) = platform.loops.unhealthy()
        assert told.sentence() == "janitor, since 2026-01-01T12:00:00Z: its turn has not come to an end for 31 s"


async def test_a_wakeup_reaches_a_loop_that_waits_and_not_one_that_pauses_after_a_failure() -> None:
    platform, wakeup, turns, broken = Platform(), Wakeup(), 0, False

    async def turn() -> float:
        nonlocal turns
        turns += 1
        if broken:
            wakeup.wake()  # as a neighbour would who rings all the time
            raise ValueError("no")
        return 3600.0

    platform.loops.repeat("relay", turn, wakeup=wakeup)
    async with platform.loops:
        await until("the first turn", lambda: turns == 1)
        wakeup.wake()
        await until("the second turn", lambda: turns == 2)
        broken = True
        began = asyncio.get_running_loop().time()
        wakeup.wake()
        await until("six turns", lambda: turns >= 6)
        # 0.05 + 0.1 + 0.2 s: without the pauses it would have been there in no time.
        assert asyncio.get_running_loop().time() - began >= 0.34


async def test_a_wakeup_is_taken_down_with_its_loop() -> None:
    platform, taken_down = Platform(), False

    @contextmanager
    def waiter() -> Iterator[Wakeup]:
        nonlocal taken_down
        try:
            yield Wakeup()
        finally:
            taken_down = True

    async def turn() -> float:
        return 3600.0

    platform.loops.repeat("relay", turn, wakeup=waiter())
    async with platform.loops:
        await asyncio.sleep(0)
    assert taken_down


async def test_an_end_is_clean_even_for_a_turn_that_swallows_its_cancellation() -> None:
    platform, turns = Platform(), 0

    async def turn() -> float:
        nonlocal turns
        turns += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return 0.0
        return 0.0

    platform.loops.repeat("stubborn", turn)
    with structlog.testing.capture_logs() as lines:
        async with platform.loops:
            await until("the first turn", lambda: turns == 1)
    assert turns == 1
    assert lines == []
    assert platform.counted("stubborn") == 0
    assert len(asyncio.all_tasks()) == 1


async def test_a_fatal_error_ends_its_loop_and_is_raised_to_whoever_waits() -> None:
    platform = Platform(fatal=(Unauthorized,))
    told = asyncio.Event()

    async def beat() -> float:
        await told.wait()
        raise Unauthorized("The Control Plane no longer knows this node.")

    async def other() -> float:
        return 0.0

    platform.loops.repeat("beat", beat)
    platform.loops.repeat("other", other)
    async with platform.loops:
        told.set()
        with pytest.raises(Unauthorized, match="no longer knows"):
            await asyncio.wait_for(platform.loops.wait(), 10)
        assert platform.loops.unhealthy()[0].reason == "it has ended (The Control Plane no longer knows this node.)"


async def test_what_is_told_of_an_error_that_is_not_ours_is_its_class_only() -> None:
    platform = Platform()

    async def turn() -> float:
        raise ValueError("password=hunter2")

    platform.loops.repeat("relay", turn)
    async with platform.loops:
        await until("a failure", lambda: platform.counted("relay") == 1)
        platform.advance(10)
        (told,) = platform.loops.unhealthy()
    assert told.reason == "failed once (ValueError)"
