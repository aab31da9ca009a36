"""Notifications that never arrive: the slow tick alone moves databases along, one step later at most."""

from __future__ import annotations

import time

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from spg99.control_plane.store import Transaction

TICK_SECONDS = 0.3


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nobody hears that a reconciler should look; what was not sent is listed."""
    missing: list[str] = []
    notify = Transaction.notify

    async def deaf(self: Transaction, channel: str, payload: str = "", **how: bool) -> None:
        if channel == "spg99_reconcile":
            missing.append(payload)
        else:
            await notify(self, channel, payload, **how)

    monkeypatch.setattr(Transaction, "notify", deaf)
    return missing


async def test_a_whole_life_without_a_single_notification(platform: InProcessPlatform, lost: list[str]) -> None:
    await platform.plane.end()
    plane = await platform.another_plane(tick_seconds=TICK_SECONDS)
    agent, gateway = await Agent.enroll(platform, plane=plane), await Gateway.enroll(platform, plane=plane)
    row = await platform.create(idle_timeout_seconds=30)
    began = time.monotonic()
    await platform.reaches(row.db_id, "stopped")
    assert time.monotonic() - began < 10 * TICK_SECONDS
    await gateway.connect()
    await gateway.report(row.db_id, 0)
    await platform.reaches(row.db_id, "idle")
    platform.clock.advance(seconds=31)
    await agent.heartbeat()
    await platform.reaches(row.db_id, "stopped")
    await platform.want_running(row.db_id)
    assert (await platform.reaches(row.db_id, "ready", "idle")).writer_term == 2
    await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopped")
    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)
    assert row.db_id in lost and not agent.refused


async def test_a_lease_that_ends_is_seen_without_a_notification(platform: InProcessPlatform, lost: list[str]) -> None:
    await platform.plane.end()
    plane = await platform.another_plane(tick_seconds=TICK_SECONDS)
    agent, gateway = await Agent.enroll(platform, plane=plane), await Gateway.enroll(platform, plane=plane)
    row = await platform.create(idle_timeout_seconds=1)
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    await gateway.report(row.db_id, 1)
    platform.clock.advance(seconds=40)  # past the lease, and past the time a fresh Control Plane gives its Gateways
    await agent.heartbeat()
    await platform.reaches(row.db_id, "stopped")
    assert lost
