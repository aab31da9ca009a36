"""Leases: what they keep running, when they end, and what happens when nobody could hear the Gateways."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from kit.waits import until
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict
from spg99.protocol.gateway import LeaseReport, LeaseUse


async def running(platform: InProcessPlatform, gateway: Gateway, **spec: object) -> DatabaseRow:
    row = await platform.create(**spec)
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    return await platform.reaches(row.db_id, "ready")


async def test_a_live_lease_keeps_a_database_running_however_long(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await running(platform, gateway, idle_timeout_seconds=1)
    for _ in range(5):
        answer = await gateway.report(row.db_id, 1)
        assert answer.renewed == [row.db_id] and answer.lost == [] and answer.renew_seconds == 5
        await platform.advance(10)
        await agent.heartbeat()
    assert (await platform.reaches(row.db_id, "ready")).writer_term == 1
    await gateway.report(row.db_id, 1)
    with pytest.raises(Conflict, match="1 client is connected"):
        await platform.want_stopped(row.db_id)


async def test_a_report_of_a_gateway_that_nobody_uses_is_a_sign_of_life(platform: InProcessPlatform) -> None:
    gateway = await Gateway.enroll(platform)
    await platform.advance(60)
    await gateway.client.report_leases(LeaseReport(leases=[]))
    (seen,) = await platform.sql("select last_seen_at from gateways")
    assert (platform.clock.now() - seen["last_seen_at"]).total_seconds() < 30


async def test_the_lease_of_a_dead_gateway_ends_and_those_of_others_stay(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    dead, alive = await Gateway.enroll(platform, "dead"), await Gateway.enroll(platform, "alive")
    await platform.advance(20)  # the time a fresh Control Plane gives its Gateways
    await agent.heartbeat()
    row = await running(platform, dead, idle_timeout_seconds=1)
    await dead.report(row.db_id, 3)
    await alive.connect()
    await alive.report(row.db_id, 1)
    await platform.advance(14)
    await agent.heartbeat()
    assert (await alive.report(row.db_id, 1)).renewed == [row.db_id]
    await platform.advance(2)  # the dead one's lease is 16 s old

    async def only_the_living() -> bool:
        found = await platform.sql("select gateway_id from leases")
        return [line["gateway_id"] for line in found] == [alive.identity.identity_id]

    await until("the dead gateway's lease is gone", only_the_living)
    assert (await platform.reaches(row.db_id, "ready")).active_connections == 1
    await platform.advance(16)
    await agent.heartbeat()
    await platform.reaches(row.db_id, "stopped")


async def test_a_control_plane_that_comes_back_does_not_stop_what_it_could_not_hear_of(
    platform: InProcessPlatform,
) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await running(platform, gateway, idle_timeout_seconds=1)
    await gateway.report(row.db_id, 1)
    await platform.plane.end()
    platform.clock.advance(seconds=120)
    back = await platform.another_plane()
    for speaker in (agent, gateway):
        speaker.client = back.client(speaker.identity.bearer_token)
    await agent.heartbeat()
    await platform.sql("update databases set reconcile_at = now()")
    await platform.sql("notify spg99_reconcile")

    async def looked() -> bool:
        found = await platform.row(row.db_id)
        return found is not None and found.reconcile_at is None

    await until("the reconciler has looked", looked)
    assert (await platform.reaches(row.db_id, "ready")).writer_term == 1
    assert (await gateway.report(row.db_id, 1)).renewed == [row.db_id]
    await platform.advance(17)
    await platform.reaches(row.db_id, "idle", "stopping", "stopped")


async def test_a_lease_for_what_no_longer_runs_is_lost(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    row = await running(platform, gateway)
    await gateway.report(row.db_id, 0)
    await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopped")
    assert (await gateway.report(row.db_id, 2)).lost == [row.db_id]
    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)
    assert (await gateway.report(row.db_id, 2)).lost == [row.db_id]


async def test_a_report_brings_a_released_lease_back(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    row = await running(platform, gateway)
    await gateway.report(row.db_id, 0)
    await platform.reaches(row.db_id, "idle")
    assert (await gateway.report(row.db_id, 1)).renewed == [row.db_id]
    await platform.reaches(row.db_id, "ready")


async def test_a_report_from_before_a_checkout_does_not_put_the_database_to_sleep(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    row = await running(platform, gateway, idle_timeout_seconds=1)
    stale = LeaseUse(db_id=row.db_id, active_connections=0, last_used_at=platform.clock.now())
    await gateway.connect()
    await gateway.client.report_leases(LeaseReport(leases=[stale]))
    found = await platform.row(row.db_id)
    assert found is not None and found.wanted_until is not None and found.wanted_until > platform.clock.now()


async def test_one_report_of_many_databases_is_one_statement(
    platform: InProcessPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    used, left, asleep = [await platform.create(name, idle_timeout_seconds=300) for name in ("used", "left", "asleep")]
    for row in (used, left, asleep):
        await platform.reaches(row.db_id, "stopped")
    for name in ("used", "left"):
        await gateway.connect(name)
    await platform.advance(3)  # a report after the time for which a checkout itself keeps the database
    statements: list[str] = []
    run = Transaction._run

    async def counted(self: Transaction, query: str, values: dict[str, Any]) -> Any:
        statements.append(query)
        return await run(self, query, values)

    now = platform.clock.now()
    report = LeaseReport(
        leases=[
            LeaseUse(db_id=used.db_id, active_connections=2, last_used_at=now),
            LeaseUse(db_id=left.db_id, active_connections=0, last_used_at=now),
            LeaseUse(db_id=asleep.db_id, active_connections=1, last_used_at=now),
            LeaseUse(db_id="db_unknown", active_connections=1, last_used_at=now),
        ]
    )
    with monkeypatch.context() as watched:
        watched.setattr(Transaction, "_run", counted)
        answer = await gateway.client.report_leases(report)
    assert statements.count("report_leases") == 1
    assert not [name for name in statements if "lease" in name and name != "report_leases"]
    assert answer.renewed == [used.db_id] and answer.lost == sorted([asleep.db_id, "db_unknown"])
    leases = await platform.sql("select db_id, active_connections, expires_at > %s as lives from leases", now)
    assert leases == [{"db_id": used.db_id, "active_connections": 2, "lives": True}]
    await platform.reaches(left.db_id, "idle")
    assert (await platform.reaches(used.db_id, "ready")).last_used_at == now
    assert (await platform.reaches(asleep.db_id, "stopped")).writer_term == 0


async def test_leases_and_stops_never_pass_each_other(platform: InProcessPlatform) -> None:
    """Clients come and go at the very moment the idle clock runs out: whoever has a checkout has a compute that runs."""
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await running(platform, gateway, idle_timeout_seconds=1)
    for turn in range(25):
        await gateway.report(row.db_id, 0)
        await platform.advance(0.9 + 0.01 * turn)
        checkout, _ = await asyncio.gather(gateway.connect(), platform.advance(0.1))
        assert checkout.compute_id in agent.running, f"turn {turn}"
        answer = await gateway.report(row.db_id, 1)
        assert answer.renewed == [row.db_id], f"turn {turn}"
        await agent.heartbeat()
    assert not agent.refused
