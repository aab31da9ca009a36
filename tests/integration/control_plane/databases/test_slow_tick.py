"""Notifications that never arrive: the slow tick alone moves databases along, one step later at most."""

from __future__ import annotations

import time

import pytest

from integration.control_plane.databases.house_of_one import House
from integration.control_plane.databases.scripted import Agent, Gateway
from spg99.control_plane.store import Transaction

TICK_SECONDS = 0.3


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nobody hears that a reconciler should look; what was not sent is listed."""
    missing: list[str] = []
    notify = Transaction.notify

    async def deaf(self: Transaction, channel: str, payload: str = "") -> None:
        if channel == "spg99_reconcile":
            missing.append(payload)
        else:
            await notify(self, channel, payload)

    monkeypatch.setattr(Transaction, "notify", deaf)
    return missing


async def test_a_whole_life_without_a_single_notification(house: House, lost: list[str]) -> None:
    await house.plane.end()
    plane = await house.another_plane(tick_seconds=TICK_SECONDS)
    agent, gateway = await Agent.enroll(house, plane=plane), await Gateway.enroll(house, plane=plane)
    row = await house.create(idle_timeout_seconds=30)
    began = time.monotonic()
    await house.reaches(row.db_id, "stopped")
    assert time.monotonic() - began < 10 * TICK_SECONDS
    await gateway.connect()
    await gateway.report(row.db_id, 0)
    await house.reaches(row.db_id, "idle")
    house.clock.advance(seconds=31)
    await agent.heartbeat()
    await house.reaches(row.db_id, "stopped")
    await house.want_running(row.db_id)
    assert (await house.reaches(row.db_id, "ready", "idle")).writer_term == 2
    await house.want_stopped(row.db_id)
    await house.reaches(row.db_id, "stopped")
    await house.delete(row.db_id)
    await house.is_gone(row.db_id)
    assert row.db_id in lost and not agent.refused


async def test_a_lease_that_ends_is_seen_without_a_notification(house: House, lost: list[str]) -> None:
    await house.plane.end()
    plane = await house.another_plane(tick_seconds=TICK_SECONDS)
    agent, gateway = await Agent.enroll(house, plane=plane), await Gateway.enroll(house, plane=plane)
    row = await house.create(idle_timeout_seconds=1)
    await house.reaches(row.db_id, "stopped")
    await gateway.connect()
    await gateway.report(row.db_id, 1)
    house.clock.advance(seconds=40)  # past the lease, and past the time a fresh Control Plane gives its Gateways
    await agent.heartbeat()
    await house.reaches(row.db_id, "stopped")
    assert lost
