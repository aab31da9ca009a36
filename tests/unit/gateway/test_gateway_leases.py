"""What the Control Plane is told about use, and what follows from its answer."""

from __future__ import annotations

import asyncio

import pytest

from spg99.errors import Unreachable
from spg99.gateway.checkouts import Checkouts
from spg99.gateway.leases import LINGER_SECONDS, Leases
from spg99.processes import Loops
from unit.gateway.control_plane_api_fake import ControlPlaneApiFake, Monotonic, checkout


class SessionRegistry:
    """A gateway's counting, with nothing around it."""

    def __init__(self) -> None:
        self.now = Monotonic()
        self.api = ControlPlaneApiFake({("ten_1", "app"): checkout()})
        self.checkouts = Checkouts(self.api, monotonic=self.now)
        self.leases = Leases(self.api, self.checkouts, self.now, self.collect)

    async def collect(self) -> None:
        return

    async def connect(self) -> None:
        await self.checkouts.take("ten_1", "app", seconds=5)
        self.leases.opened("db_1")

    def pass_seconds(self, seconds: float) -> None:
        self.now.seconds += seconds


@pytest.fixture
async def registry() -> SessionRegistry:
    return SessionRegistry()


def batch(registry: SessionRegistry) -> tuple[int, dict[str, int]]:
    egress = registry.api.reports[-1].egress
    assert egress is not None and egress.run_id == registry.leases.run_id
    return egress.batch, egress.sent_bytes


async def test_counts_and_bytes(registry: SessionRegistry) -> None:
    await registry.connect()
    await registry.connect()
    registry.leases.sent_to_clients("db_1", 700)
    await registry.leases.report()
    (use,) = registry.api.reports[-1].leases
    assert (use.db_id, use.active_connections) == ("db_1", 2)
    assert batch(registry) == (1, {"db_1": 700})
    registry.leases.sent_to_clients("db_1", 5)
    await registry.leases.report()
    assert batch(registry) == (2, {"db_1": 5})
    await registry.leases.report()
    assert registry.api.reports[-1].egress is None
    assert registry.leases.renew_seconds == 3


async def test_a_gateway_that_nobody_uses_is_heard_of_all_the_same(registry: SessionRegistry) -> None:
    for _ in range(24):
        await registry.leases.report()
        registry.pass_seconds(5)
    assert [report.leases for report in registry.api.reports] == [[]] * 4, "120 s, one report in 30"
    await registry.leases.report(release_all=True)
    assert len(registry.api.reports) == 4, "nothing to release: the end is not held up"


async def test_renewal_keeps_the_checkout(registry: SessionRegistry) -> None:
    await registry.connect()
    for _ in range(10):
        registry.pass_seconds(8)
        await registry.leases.report()
    await registry.connect()
    assert registry.api.asked.count("connect app") == 1


async def test_released_after_a_moment_with_the_time_of_the_last_use(registry: SessionRegistry) -> None:
    await registry.connect()
    registry.pass_seconds(30)
    registry.leases.closed("db_1")
    await registry.leases.report()
    assert registry.api.reports == [] or registry.api.reports[-1].leases == [], (
        "whoever comes right back needs no question"
    )
    registry.pass_seconds(LINGER_SECONDS)
    await registry.leases.report()
    (use,) = registry.api.reports[-1].leases
    assert (use.active_connections, use.idle_seconds) == (0, LINGER_SECONDS)
    assert registry.leases.uses == {}
    await registry.connect()
    assert registry.api.asked.count("connect app") == 2


async def test_comes_right_back(registry: SessionRegistry) -> None:
    await registry.connect()
    registry.leases.closed("db_1")
    registry.pass_seconds(LINGER_SECONDS / 2)
    await registry.leases.report()
    await registry.connect()
    registry.pass_seconds(LINGER_SECONDS)
    await registry.leases.report()
    assert registry.api.reports[-1].leases[0].active_connections == 1
    assert registry.api.asked.count("connect app") == 1


async def test_comes_while_the_release_is_on_its_way(registry: SessionRegistry) -> None:
    await registry.connect()
    registry.leases.closed("db_1")
    registry.pass_seconds(LINGER_SECONDS)
    registry.api.gate = asyncio.Event()
    reporting = asyncio.create_task(registry.leases.report())
    await asyncio.sleep(0.01)
    coming = asyncio.create_task(registry.connect())
    await asyncio.sleep(0.01)
    assert registry.api.asked[-1] == "leases", "the question waits for the answer to the release"
    registry.api.gate.set()
    await asyncio.gather(reporting, coming)
    assert registry.leases.uses["db_1"].sessions == 1
    await registry.leases.report()
    assert registry.api.reports[-1].leases[0].active_connections == 1


async def test_outage_loses_no_bytes(registry: SessionRegistry) -> None:
    await registry.connect()
    registry.leases.sent_to_clients("db_1", 100)
    registry.api.failing = Unreachable()
    with pytest.raises(Unreachable):
        await registry.leases.report()
    registry.api.failing = None
    registry.leases.sent_to_clients("db_1", 11)
    await registry.leases.report()
    assert batch(registry) == (1, {"db_1": 100}), "it may have been counted already: told again as it was"
    await registry.leases.report()
    assert batch(registry) == (2, {"db_1": 11})


async def test_bytes_of_a_session_that_has_left_are_told_all_the_same(registry: SessionRegistry) -> None:
    await registry.connect()
    registry.leases.closed("db_1")
    registry.pass_seconds(LINGER_SECONDS)
    await registry.leases.report()
    assert registry.api.reports[-1].egress is None
    registry.leases.sent_to_clients("db_1", 9)  # its worker was asked a moment too early
    await registry.leases.report()
    assert registry.api.reports[-1].leases == [] and batch(registry) == (1, {"db_1": 9})


async def test_the_end_tells_what_an_answer_that_was_lost_held_up(registry: SessionRegistry) -> None:
    await registry.connect()
    registry.leases.sent_to_clients("db_1", 100)
    registry.api.failing = Unreachable()
    with pytest.raises(Unreachable):
        await registry.leases.report()
    registry.api.failing = None
    registry.leases.sent_to_clients("db_1", 11)
    registry.leases.closed("db_1")
    for _ in range(3):
        await registry.leases.report(release_all=True)
    assert [(r.egress.batch, r.egress.sent_bytes) for r in registry.api.reports if r.egress] == [
        (1, {"db_1": 100}), (2, {"db_1": 11}),
    ]  # fmt: skip
    assert len(registry.api.reports) == 2


async def test_release_in_an_outage_is_made_up_for(registry: SessionRegistry) -> None:
    await registry.connect()
    registry.leases.closed("db_1")
    registry.pass_seconds(LINGER_SECONDS)
    registry.api.failing = Unreachable()
    with pytest.raises(Unreachable):
        await registry.leases.report()
    assert (await registry.checkouts.take("ten_1", "app", seconds=1)).compute_id == "cmp_1", "grace"
    registry.api.failing = None
    await registry.leases.report()
    assert registry.api.reports[-1].leases[0].active_connections == 0


async def test_lost_lease_is_asked_for_again(registry: SessionRegistry) -> None:
    await registry.connect()
    registry.api.lost = ["db_1"]
    await registry.leases.report()
    await registry.connect()
    assert registry.api.asked.count("connect app") == 2


async def test_reports_at_once_when_the_first_comes_and_the_last_has_left(registry: SessionRegistry) -> None:
    loops = Loops()
    loops.repeat("leases", registry.leases.turn, wakeup=registry.leases.due)
    async with loops:
        async with asyncio.timeout(2):
            while not registry.api.reports:
                await asyncio.sleep(0.005)
        registry.api.reports.clear()
        await registry.connect()
        async with asyncio.timeout(2):
            while not registry.api.reports:
                await asyncio.sleep(0.005)
        registry.leases.closed("db_1")
        registry.pass_seconds(LINGER_SECONDS)
        async with asyncio.timeout(LINGER_SECONDS + 2):
            while registry.api.reports[-1].leases[0].active_connections:
                await asyncio.sleep(0.005)


async def test_a_report_that_fails_unforeseen_is_not_the_last(registry: SessionRegistry) -> None:
    """Before, it ended the gateway and every session with it."""
    failing = True

    async def collect() -> None:
        if failing:
            raise RuntimeError("nobody has thought of this")

    registry.leases.collect = collect
    loops = Loops(chance=lambda: 0.0)
    loops.repeat("leases", registry.leases.turn, wakeup=registry.leases.due)
    async with loops:
        await registry.connect()
        async with asyncio.timeout(5):
            while not loops._loops["leases"].course.failures:
                await asyncio.sleep(0.005)
        failing = False
        async with asyncio.timeout(10):
            while not registry.api.reports:
                registry.leases.due.wake()
                await asyncio.sleep(0.005)
    assert registry.api.reports[-1].leases[0].active_connections == 1


async def test_how_long_ago_is_measured_by_a_clock_that_does_not_step(registry: SessionRegistry) -> None:
    await registry.connect()
    registry.leases.closed("db_1")
    registry.pass_seconds(LINGER_SECONDS + 7)
    await registry.leases.report()
    (use,) = registry.api.reports[-1].leases
    assert use.idle_seconds == LINGER_SECONDS + 7
    assert use.last_used_at is None, "no wall clock is in it"
