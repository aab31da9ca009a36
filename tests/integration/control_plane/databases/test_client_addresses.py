"""The true address of a client in events: who woke a database, and from where a password is guessed."""

from __future__ import annotations

from typing import Any

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from spg99.protocol.gateway import ConnectRequest, SlowedLogin, SlowedLogins

HERE = "203.0.113.7"


async def payloads(platform: InProcessPlatform, event_type: str) -> list[dict[str, Any]]:
    found = await platform.sql(
        "select envelope -> 'payload' as payload from outbox_events where event_type = %s order by created_at, event_id",
        event_type,
    )
    return [row["payload"] for row in found]


async def test_who_woke_a_database(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    ask = ConnectRequest(tenant_id=platform.tenant.tenant_id, database="app", client_addr=HERE)
    await gateway.client.connect(ask)
    (booting,) = await payloads(platform, "database.booting")
    assert (booting["db_id"], booting["client_addr"]) == (row.db_id, HERE)
    for event_type in ("database.creating", "database.stopped", "database.ready"):
        assert ["client_addr" in payload for payload in await payloads(platform, event_type)] == [False], event_type


async def test_a_gateway_that_does_not_say_it(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    assert ["client_addr" in payload for payload in await payloads(platform, "database.booting")] == [False]


async def test_where_a_password_is_guessed(platform: InProcessPlatform) -> None:
    gateway = await Gateway.enroll(platform)
    users = [platform.tenant.pg_user, "tnt_nobody"]
    await gateway.client.report_slowed_logins(
        SlowedLogins(logins=[SlowedLogin(pg_user=user, client_addr=HERE) for user in users])
    )
    assert await payloads(platform, "tenant.logins_slowed") == [
        {
            "tenant_id": platform.tenant.tenant_id,
            "tenant": platform.tenant.name,
            "pg_user": platform.tenant.pg_user,
            "client_addr": HERE,
        }
    ]
