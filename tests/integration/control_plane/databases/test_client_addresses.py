"""The true address of a client in events: who woke a database, and from where a password is guessed."""

from __future__ import annotations

from typing import Any

from integration.control_plane.databases.house_of_one import House
from integration.control_plane.databases.scripted import Agent, Gateway
from spg99.protocol.gateway import ConnectRequest, SlowedLogin, SlowedLogins

HERE = "203.0.113.7"


async def payloads(house: House, event_type: str) -> list[dict[str, Any]]:
    found = await house.sql(
        "select envelope -> 'payload' as payload from outbox_events where event_type = %s order by created_at, event_id",
        event_type,
    )
    return [row["payload"] for row in found]


async def test_who_woke_a_database(house: House) -> None:
    await Agent.enroll(house)
    gateway = await Gateway.enroll(house)
    row = await house.create()
    await house.reaches(row.db_id, "stopped")
    ask = ConnectRequest(tenant_id=house.tenant.tenant_id, database="app", client_addr=HERE)
    await gateway.client.connect(ask)
    (booting,) = await payloads(house, "database.booting")
    assert (booting["db_id"], booting["client_addr"]) == (row.db_id, HERE)
    for event_type in ("database.creating", "database.stopped", "database.ready"):
        assert ["client_addr" in payload for payload in await payloads(house, event_type)] == [False], event_type


async def test_a_gateway_that_does_not_say_it(house: House) -> None:
    await Agent.enroll(house)
    gateway = await Gateway.enroll(house)
    row = await house.create()
    await house.reaches(row.db_id, "stopped")
    await gateway.connect()
    assert ["client_addr" in payload for payload in await payloads(house, "database.booting")] == [False]


async def test_where_a_password_is_guessed(house: House) -> None:
    gateway = await Gateway.enroll(house)
    users = [house.tenant.pg_user, "tnt_nobody"]
    await gateway.client.report_slowed_logins(
        SlowedLogins(logins=[SlowedLogin(pg_user=user, client_addr=HERE) for user in users])
    )
    assert await payloads(house, "tenant.logins_slowed") == [
        {
            "tenant_id": house.tenant.tenant_id,
            "tenant": house.tenant.name,
            "pg_user": house.tenant.pg_user,
            "client_addr": HERE,
        }
    ]
