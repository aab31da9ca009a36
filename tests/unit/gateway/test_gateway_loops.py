"""What keeps a Gateway honest is seen to fail: the stream of changes, the lease reports, its standing, its workers. Here: each of
them as a loop, with a Control Plane that fails in every way. Not here: what they do when all is well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from kit.waits import until
from spg99.clock import FrozenClock
from spg99.config import GatewaySettings
from spg99.errors import Conflict, Forbidden, Internal, Spg99Error, Unauthorized, Unavailable, Unreachable
from spg99.gateway.changes import ChangeFeed
from spg99.gateway.checkouts import Checkouts
from spg99.gateway.credentials import CredentialsCache
from spg99.gateway.leases import Leases
from spg99.gateway.standing import REFUSED_SECONDS_MAX, NotKnownAnyMore, Standing
from spg99.gateway.worker_processes import WorkerProcesses
from spg99.processes import Loops, loop_failures
from spg99.processes.health import UNHEALTHY_AFTER_SECONDS
from spg99.processes.identity import Applicant
from spg99.protocol.gateway import Change
from unit.gateway.control_plane_api_fake import ControlPlaneApiFake, Monotonic

LONG_SECONDS = 2 * UNHEALTHY_AFTER_SECONDS
FAILURES: list[Exception] = [
    Unreachable(), Unavailable("It restarts."), Internal(), Forbidden(), Unauthorized(), Conflict("too old"),
    RuntimeError("nobody has thought of this"), ValueError("no JSON"), TimeoutError(), OSError(24, "Too many open files"),
]  # fmt: skip


class ChangesFake:
    """A stream of nothing; `failing` is raised instead of one, and at the end of one."""

    def __init__(self) -> None:
        self.failing: Exception | None = None
        self.standing = 0
        self.end = asyncio.Event()

    async def changes(
        self, after: int | None, *, on_open: Callable[[], None] | None = None
    ) -> AsyncIterator[tuple[int, Change]]:
        if self.failing is not None:
            raise self.failing
        assert on_open is not None
        on_open()
        self.standing += 1
        await self.end.wait()
        self.end.clear()
        return
        yield


class GatewayUnderTest:
    """The loops of a gateway, wired as server.py does."""

    def __init__(self, path: Path) -> None:
        self.now = Monotonic()
        self.registry = CollectorRegistry()
        self.api, self.changes = ControlPlaneApiFake(), ChangesFake()
        checkouts = Checkouts(self.api, monotonic=self.now)
        self.credentials = CredentialsCache(self.api, monotonic=self.now)
        self.leases = Leases(self.api, checkouts, self.now, self._nothing)
        self.feed = ChangeFeed(self.changes, self.credentials, checkouts, self.now)
        self.loops = Loops(
            failures=loop_failures(self.registry), fatal=(NotKnownAnyMore,), monotonic=self.now, chance=lambda: 0.0
        )
        applicant = Applicant(
            "gateway", "gw", path / "gw.json", None, cast(Any, None), lambda token: None, cast(Any, None)
        )
        self.feed.on_open = self.loops.keep("changes", self.feed.run, says_when_well=True)
        self.standing = Standing(applicant, self.leases.turn, self.now)
        self.loops.repeat("leases", self.standing.turn, wakeup=self.leases.due)

    async def _nothing(self) -> None:
        return

    def fail(self, error: Exception | None) -> None:
        self.changes.failing, self.api.failing = error, cast(Spg99Error, error)
        if error is not None:
            self.changes.end.set()

    def failures(self, name: str) -> float:
        return self.registry.get_sample_value("spg99_loop_failures_total", {"loop": name}) or 0.0

    def unwell(self) -> set[str]:
        return {each.loop for each in self.loops.unhealthy()}


@pytest.fixture
async def gateway(tmp_path: Path) -> GatewayUnderTest:
    return GatewayUnderTest(tmp_path)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
async def test_a_control_plane_that_does_not_do_its_part_is_told_by_readyz_and_healing_is_too(
    gateway: GatewayUnderTest, error: Exception
) -> None:
    async with gateway.loops:
        await until("both work", lambda: gateway.changes.standing and gateway.api.reports)
        gateway.now.seconds += LONG_SECONDS
        assert gateway.unwell() == set()
        gateway.fail(error)
        gateway.now.seconds += 2 * REFUSED_SECONDS_MAX  # an idle gateway has not much to report
        gateway.leases.due.wake()
        await until("both have failed", lambda: gateway.failures("changes") and gateway.failures("leases"))
        gateway.now.seconds += LONG_SECONDS
        assert gateway.unwell() == {"changes", "leases"}
        assert gateway.credentials.watched_since is None
        gateway.fail(None)
        await until("both work again", lambda: gateway.unwell() == set())


async def test_a_stream_that_hangs_before_it_fails_is_not_well_because_it_hangs(gateway: GatewayUnderTest) -> None:
    """As in a network that is cut: an attempt takes longer than a loop has to run to count as settled."""
    gateway.changes.failing = Unreachable()
    async with gateway.loops:
        for _ in range(3):
            before = gateway.failures("changes")
            await until("it has failed once more", lambda before=before: gateway.failures("changes") > before)
            gateway.now.seconds += LONG_SECONDS
            assert "changes" in gateway.unwell()


async def test_failures_without_end_do_not_overflow(gateway: GatewayUnderTest) -> None:
    gateway.changes.failing = Unreachable()
    async with gateway.loops:
        await until("it has failed", lambda: gateway.failures("changes"))
        loop = gateway.loops._loops["changes"]
        loop.course = loop.course.__class__(failures=100_000, failing_since=0.0, reason="Unreachable")
        await until("it tries again", lambda: gateway.failures("changes") > 1, seconds=15)


async def test_changes_that_were_missed_are_forgotten_and_the_stream_begins_anew(gateway: GatewayUnderTest) -> None:
    gateway.feed.position = 7
    gateway.changes.failing = Conflict("too old")
    async with gateway.loops:
        await until("it was told", lambda: gateway.failures("changes"))
        assert gateway.feed.position is None
        gateway.changes.failing = None
        await until("it stands", lambda: gateway.changes.standing)


async def test_a_gateway_whose_identity_is_revoked_ends_but_not_for_one_refusal(gateway: GatewayUnderTest) -> None:
    async with gateway.loops:
        waits = asyncio.create_task(gateway.loops.wait())
        for _ in range(2):  # each time it starts counting anew
            gateway.api.failing = Unauthorized()
            before = gateway.failures("leases")
            gateway.leases.due.wake()
            gateway.now.seconds += REFUSED_SECONDS_MAX
            await until("it was refused", lambda before=before: gateway.failures("leases") > before)
            assert not waits.done()
            gateway.api.failing = None
            gateway.api.reports.clear()
            await until("it is known again", lambda: gateway.api.reports)
        gateway.api.failing = Unauthorized()
        gateway.now.seconds += REFUSED_SECONDS_MAX
        gateway.leases.due.wake()
        before = gateway.failures("leases")
        await until("it was refused", lambda: gateway.failures("leases") > before)
        gateway.now.seconds += REFUSED_SECONDS_MAX
        with pytest.raises(NotKnownAnyMore, match=r"no longer knows this gateway \('gw'.*enrolment token"):
            await asyncio.wait_for(waits, 10)


@pytest.mark.parametrize("step", [timedelta(), timedelta(days=-1), timedelta(days=1)], ids=str)
def test_a_worker_that_is_down_is_told_whichever_way_the_wall_clock_steps(step: timedelta) -> None:
    now, wall = Monotonic(), FrozenClock(datetime(2026, 1, 1, tzinfo=UTC))
    workers = WorkerProcesses(
        cast(GatewaySettings, SimpleNamespace()), cast(Any, None), mock_secret=b"", clock=wall, monotonic=now
    )
    workers._down_since[0] = now()
    wall.advance(seconds=step.total_seconds())
    assert workers.unhealthy() == []
    now.seconds += UNHEALTHY_AFTER_SECONDS + 1
    (told,) = workers.unhealthy()
    assert told.loop == "worker 0" and wall.now() - told.since == timedelta(seconds=UNHEALTHY_AFTER_SECONDS + 1)
