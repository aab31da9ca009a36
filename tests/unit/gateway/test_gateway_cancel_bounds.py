"""Cancel requests cost little, however many come: true ones at their compute, forged ones across all Gateways."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from spg99.gateway.backend import Place
from spg99.gateway.cancel import Cancels, CancelTarget
from spg99.gateway.metrics import Metrics
from spg99.gateway.registry import FORWARD_BURST, FORWARD_SECONDS, SessionRegistry
from spg99.protocol.gateway import CancelForward, SlowedLogins
from spg99.wire.startup import cancel_request


class Compute:
    """Takes cancel requests as PostgreSQL does: a connection each, closed without a word."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.most_at_once = self._at_once = 0
        self.holds = asyncio.Event()
        self.holds.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.requests.append(await reader.readexactly(len(cancel_request(1, b"abcd"))))
        await self.holds.wait()
        self._at_once -= 1
        writer.close()


@pytest.fixture
def folder(data_dir: Path) -> Path:
    return data_dir


async def test_a_flood_for_one_session_is_one_connection_at_a_time_and_the_last_one_counts(folder: Path) -> None:
    compute, cancels = Compute(), Cancels()
    server = await asyncio.start_unix_server(compute.serve, folder / ".s.PGSQL.5432")
    target = CancelTarget(Place(str(folder), 5432), 1, b"abcd")
    async with server:
        compute.holds.clear()
        first = asyncio.create_task(cancels.cancel(target))
        async with asyncio.timeout(10):
            while not compute.requests:
                await asyncio.sleep(0.001)
        flood = [asyncio.create_task(cancels.cancel(target)) for _ in range(500)]
        await asyncio.sleep(0)
        compute.holds.set()
        await asyncio.wait_for(asyncio.gather(first, *flood), 10)
        assert len(compute.requests) == 2, (
            "who came while one was under way meant what runs now: one more for all of them"
        )
        await cancels.cancel(target)
        assert len(compute.requests) == 3
    assert compute.most_at_once == 1


class Platform:
    """Some Gateways and what the Control Plane is asked to hand on to all of them."""

    def __init__(self, gateways: int) -> None:
        self.seconds = 0.0
        self.forwarded: list[str] = []
        self.registries = [self._registry() for _ in range(gateways)]

    def _registry(self) -> SessionRegistry:
        unused: Any = None
        registry = SessionRegistry(unused, unused, Metrics(), lambda: self.seconds)
        registry.api = self
        return registry

    async def forward_cancel(self, forward: CancelForward) -> None:
        self.forwarded.append(forward.key_hash)

    async def report_slowed_logins(self, report: SlowedLogins) -> None:
        raise AssertionError("nobody logs in here")

    async def forge(self, number: int, secret: int) -> None:
        await self.registries[number].open_for(0)["cancel"](pid=4711, secret=secret.to_bytes(4).hex())


@pytest.mark.parametrize("gateways", [1, 5])
async def test_forged_cancels_at_all_gateways_are_bounded_work_for_each(gateways: int) -> None:
    """A hundred a second at every one of them, for ten seconds: what all hear is a few a second for each that is attacked."""
    platform = Platform(gateways)
    for i in range(1000):
        platform.seconds = i / 100
        for number in range(gateways):
            await platform.forge(number, i)
    assert len(platform.forwarded) <= gateways * (FORWARD_BURST + 10 / FORWARD_SECONDS + 1)
    before = len(platform.forwarded)
    platform.seconds += 2 * FORWARD_SECONDS
    await platform.forge(0, 10_001)
    assert len(platform.forwarded) == before + 1, "when the flood is over, a true one is handed on at once"
