"""Pageservers as the Control Plane knows them: which timelines they care for, what they say of them, which of two works."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from integration.control_plane.databases.test_safekeepers import enrolled as enrolled_safekeeper
from integration.control_plane.databases.test_safekeepers import kept_of
from spg99.client import InternalClient
from spg99.control_plane.databases.resource import as_json
from spg99.protocol import Enrolment
from spg99.protocol.pageserver import PageserverHeartbeat, TimelineHistory
from spg99.protocol.tasks import TaskKind


async def enrolled(platform: InProcessPlatform, name: str = "ps-1") -> InternalClient:
    """A pageserver's client."""
    client = platform.plane.client()
    token = await platform.enrolment_token("pageserver")
    identity = await client.enroll_pageserver(Enrolment(enrolment_token=token, name=name))
    client.authenticate(identity.bearer_token)
    return client


async def test_an_agent_hears_that_a_pageserver_has_joined_when_it_asks(platform: InProcessPlatform) -> None:
    """Also of a compute whose order said that there is none."""
    agent = await Agent.enroll(platform)
    assert not (await agent.client.archiving()).is_on
    await enrolled(platform)
    assert (await agent.client.archiving()).is_on


async def test_it_cares_for_what_safekeepers_keep_until_the_store_has_nothing_of_it(
    platform: InProcessPlatform,
) -> None:
    safekeeper_id, _ = await enrolled_safekeeper(platform)
    client = await enrolled(platform)
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    await platform.create("plain")
    await gateway.connect("plain")
    await platform.set_policy("storage.safekeepers", 1)
    row = await platform.create()
    await gateway.connect()
    answer = await client.pageserver_heartbeat(PageserverHeartbeat())
    (timeline,) = answer.timelines
    assert answer.is_active and timeline.timeline_id == row.timeline_id and not timeline.is_gone
    assert timeline.kept.addresses == {safekeeper_id: "/run/sk-1"} and timeline.kept.tenant_id == row.tenant_id
    assert timeline.history_seconds == 604800 and timeline.image_wal_bytes == 64 << 20
    kept = kept_of(agent, TaskKind.COMPUTE_START)[1]
    assert kept is not None and kept["is_archived"]
    said = TimelineHistory(timeline_id=row.timeline_id, archived_lsn=7, is_swept=True)  # a mistake: it is in use
    assert len((await client.pageserver_heartbeat(PageserverHeartbeat(histories=[said]))).timelines) == 1
    await platform.delete(row.db_id, force=True)
    await platform.is_gone(row.db_id)
    (timeline,) = (await client.pageserver_heartbeat(PageserverHeartbeat())).timelines
    assert timeline.is_gone and timeline.kept.tenant_id == row.tenant_id
    assert (await client.pageserver_heartbeat(PageserverHeartbeat(histories=[said]))).timelines == []


async def test_one_of_two_works(platform: InProcessPlatform) -> None:
    clients = [await enrolled(platform, "ps-1"), await enrolled(platform, "ps-2")]
    for client in clients:
        await client.pageserver_heartbeat(PageserverHeartbeat())
    active = [(await client.pageserver_heartbeat(PageserverHeartbeat())).is_active for client in clients]
    assert sorted(active) == [False, True]
    other = clients[active.index(False)]
    platform.clock.advance(seconds=40)
    assert (await other.pageserver_heartbeat(PageserverHeartbeat())).is_active


async def test_users_see_from_when_on_a_database_can_come_back(platform: InProcessPlatform) -> None:
    await enrolled_safekeeper(platform)
    client = await enrolled(platform)
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    await platform.set_policy("storage.safekeepers", 1)
    row = await platform.create()
    await gateway.connect()
    now = platform.clock.now()

    async def said(**facts: Any) -> Any:
        history = TimelineHistory(timeline_id=row.timeline_id, **facts)
        await client.pageserver_heartbeat(PageserverHeartbeat(histories=[history]))
        found = await platform.row(row.db_id)
        assert found is not None
        return as_json(tenant_name="acme", pg_user="u", password=None, gateway_host="h", gateway_port=1, now=now)(found)

    before = await said()
    assert before["recoverable_from"] is before["recoverable_until"] is before["last_verified_at"] is None
    long_ago = now - timedelta(days=3)
    whole = await said(recoverable_from=long_ago, last_verified_at=now)
    assert whole["recoverable_from"] == whole["created_at"] or whole["recoverable_from"].startswith(
        str(long_ago.date())
    )
    assert whole["recoverable_until"] == whole["last_verified_at"]
    failed = await said(problem="The store takes nothing.")
    platform.clock.advance(seconds=60)
    again = await said(problem="The store takes nothing.")
    assert failed["recoverable_until"] == again["recoverable_until"] is not None
    assert again["recoverable_from"] == whole["recoverable_from"]
