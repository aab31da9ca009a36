"""What the Control Plane is told about use, and what follows from its answer."""

from __future__ import annotations

import asyncio

import pytest

from spg99.clock import FrozenClock
from spg99.errors import Unreachable
from spg99.gateway.connect import Checkouts
from spg99.gateway.leases import LINGER_SECONDS, Leases
from unit.gateway.gateway_doors import START, Door, Monotonic, checkout


class Desk:
    """A gateway's counting, with nothing around it."""

    def __init__(self) -> None:
        self.now = Monotonic()
        self.clock = FrozenClock(START)
        self.door = Door({("ten_1", "app"): checkout()})
        self.checkouts = Checkouts(self.door, monotonic=self.now)
        self.leases = Leases(self.door, self.checkouts, self.clock, self.now, self.collect)

    async def collect(self) -> None:
        return

    async def connect(self) -> None:
        await self.checkouts.take("ten_1", "app", seconds=5)
        self.leases.opened("db_1")

    def pass_seconds(self, seconds: float) -> None:
        self.now.seconds += seconds
        self.clock.advance(seconds=seconds)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


def batch(desk: Desk) -> tuple[int, dict[str, int]]:
    egress = desk.door.reports[-1].egress
    assert egress is not None and egress.run_id == desk.leases.run_id
    return egress.batch, egress.sent_bytes


async def test_counts_and_bytes(desk: Desk) -> None:
    await desk.connect()
    await desk.connect()
    desk.leases.sent_to_clients("db_1", 700)
    await desk.leases.report()
    (use,) = desk.door.reports[-1].leases
    assert (use.db_id, use.active_connections) == ("db_1", 2)
    assert batch(desk) == (1, {"db_1": 700})
    desk.leases.sent_to_clients("db_1", 5)
    await desk.leases.report()
    assert batch(desk) == (2, {"db_1": 5})
    await desk.leases.report()
    assert desk.door.reports[-1].egress is None
    assert desk.leases.renew_seconds == 3


async def test_a_gateway_that_nobody_uses_is_heard_of_all_the_same(desk: Desk) -> None:
    for _ in range(24):
        await desk.leases.report()
        desk.pass_seconds(5)
    assert [report.leases for report in desk.door.reports] == [[]] * 4, "120 s, one report in 30"
    await desk.leases.report(release_all=True)
    assert len(desk.door.reports) == 4, "nothing to release: the end is not held up"


async def test_renewal_keeps_the_checkout(desk: Desk) -> None:
    await desk.connect()
    for _ in range(10):
        desk.pass_seconds(8)
        await desk.leases.report()
    await desk.connect()
    assert desk.door.asked.count("connect app") == 1


async def test_released_after_a_moment_with_the_time_of_the_last_use(desk: Desk) -> None:
    await desk.connect()
    desk.pass_seconds(30)
    desk.leases.closed("db_1")
    left_at = desk.clock.now()
    await desk.leases.report()
    assert desk.door.reports == [] or desk.door.reports[-1].leases == [], "whoever comes right back needs no question"
    desk.pass_seconds(LINGER_SECONDS)
    await desk.leases.report()
    (use,) = desk.door.reports[-1].leases
    assert (use.active_connections, use.last_used_at) == (0, left_at)
    assert desk.leases.uses == {}
    await desk.connect()
    assert desk.door.asked.count("connect app") == 2


async def test_comes_right_back(desk: Desk) -> None:
    await desk.connect()
    desk.leases.closed("db_1")
    desk.pass_seconds(LINGER_SECONDS / 2)
    await desk.leases.report()
    await desk.connect()
    desk.pass_seconds(LINGER_SECONDS)
    await desk.leases.report()
    assert desk.door.reports[-1].leases[0].active_connections == 1
    assert desk.door.asked.count("connect app") == 1


async def test_comes_while_the_release_is_on_its_way(desk: Desk) -> None:
    await desk.connect()
    desk.leases.closed("db_1")
    desk.pass_seconds(LINGER_SECONDS)
    desk.door.gate = asyncio.Event()
    reporting = asyncio.create_task(desk.leases.report())
    await asyncio.sleep(0.01)
    coming = asyncio.create_task(desk.connect())
    await asyncio.sleep(0.01)
    assert desk.door.asked[-1] == "leases", "the question waits for the answer to the release"
    desk.door.gate.set()
    await asyncio.gather(reporting, coming)
    assert desk.leases.uses["db_1"].sessions == 1
    await desk.leases.report()
    assert desk.door.reports[-1].leases[0].active_connections == 1


async def test_outage_loses_no_bytes(desk: Desk) -> None:
    await desk.connect()
    desk.leases.sent_to_clients("db_1", 100)
    desk.door.failing = Unreachable()
    with pytest.raises(Unreachable):
        await desk.leases.report()
    desk.door.failing = None
    desk.leases.sent_to_clients("db_1", 11)
    await desk.leases.report()
    assert batch(desk) == (1, {"db_1": 100}), "it may have been counted already: told again as it was"
    await desk.leases.report()
    assert batch(desk) == (2, {"db_1": 11})


async def test_bytes_of_a_session_that_has_left_are_told_all_the_same(desk: Desk) -> None:
    await desk.connect()
    desk.leases.closed("db_1")
    desk.pass_seconds(LINGER_SECONDS)
    await desk.leases.report()
    assert desk.door.reports[-1].egress is None
    desk.leases.sent_to_clients("db_1", 9)  # its worker was asked a moment too early
    await desk.leases.report()
    assert desk.door.reports[-1].leases == [] and batch(desk) == (1, {"db_1": 9})


async def test_the_end_tells_what_an_answer_that_was_lost_held_up(desk: Desk) -> None:
    await desk.connect()
    desk.leases.sent_to_clients("db_1", 100)
    desk.door.failing = Unreachable()
    with pytest.raises(Unreachable):
        await desk.leases.report()
    desk.door.failing = None
    desk.leases.sent_to_clients("db_1", 11)
    desk.leases.closed("db_1")
    for _ in range(3):
        await desk.leases.report(release_all=True)
    assert [(r.egress.batch, r.egress.sent_bytes) for r in desk.door.reports if r.egress] == [
        (1, {"db_1": 100}), (2, {"db_1": 11}),
    ]  # fmt: skip
    assert len(desk.door.reports) == 2


async def test_release_in_an_outage_is_made_up_for(desk: Desk) -> None:
    await desk.connect()
    desk.leases.closed("db_1")
    desk.pass_seconds(LINGER_SECONDS)
    desk.door.failing = Unreachable()
    with pytest.raises(Unreachable):
        await desk.leases.report()
    assert (await desk.checkouts.take("ten_1", "app", seconds=1)).compute_id == "cmp_1", "grace"
    desk.door.failing = None
    await desk.leases.report()
    assert desk.door.reports[-1].leases[0].active_connections == 0


async def test_lost_lease_is_asked_for_again(desk: Desk) -> None:
    await desk.connect()
    desk.door.lost = ["db_1"]
    await desk.leases.report()
    await desk.connect()
    assert desk.door.asked.count("connect app") == 2


async def test_reports_at_once_when_the_first_comes_and_the_last_has_left(desk: Desk) -> None:
    running = asyncio.create_task(desk.leases.run())
    try:
        await desk.connect()
        async with asyncio.timeout(2):
            while not desk.door.reports:
                await asyncio.sleep(0.005)
        desk.leases.closed("db_1")
        desk.pass_seconds(LINGER_SECONDS)
        async with asyncio.timeout(LINGER_SECONDS + 2):
            while desk.door.reports[-1].leases[0].active_connections:
                await asyncio.sleep(0.005)
    finally:
        running.cancel()
