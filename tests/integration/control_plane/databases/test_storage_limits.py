"""Storage limits as the Control Plane keeps them: which one holds, how a node hears of it, what the world is told."""

from __future__ import annotations

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from spg99.control_plane.databases.resource import as_json
from spg99.control_plane.fleet import nodes
from spg99.protocol.node import Heartbeat, HeartbeatAnswer, StorageSeen
from spg99.protocol.tasks import TaskKind
from spg99.resources import StorageHeldBy, StorageState

GB = 1 << 30


async def tell(
    agent: Agent,
    *,
    limit: int,
    state: StorageState = StorageState.OK,
    by: StorageHeldBy = StorageHeldBy.LIBRARY,
    short: bool = False,
    given_up: bool = False,
) -> HeartbeatAnswer:
    """A heartbeat of an agent that holds `limit` for all that runs there."""
    storage = StorageSeen(limit_bytes=limit, used_bytes=1, held_by=by, state=state)
    seen = [agent.seen(task).model_copy(update={"storage": storage}) for task in agent.running.values()]
    return await agent.client.heartbeat(
        Heartbeat(computes=seen, disk_free_bytes=100 << 20, disk_is_short=short, reserve_is_given_up=given_up)
    )


async def test_the_own_limit_holds_and_else_the_policy_of_the_size(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    plain = await platform.create("plain")
    own = await platform.create("own", storage_limit_bytes=3 * GB)
    await platform.set_policy("database.storage_limit_bytes.L2", 5 * GB)
    larger = await platform.create("larger", size="L2")
    for row in (plain, own, larger):
        await platform.reaches(row.db_id, "stopped")
        await gateway.connect(row.name)
    limits = {
        task.payload["db_id"]: task.payload["storage_limit_bytes"] for task in agent.orders(TaskKind.COMPUTE_START)
    }
    assert limits == {plain.db_id: 8 * GB, own.db_id: 3 * GB, larger.db_id: 5 * GB}


async def test_a_node_hears_of_another_limit_with_its_next_heartbeat(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    assert (await tell(agent, limit=8 * GB)).storage_limits_bytes == {}
    await platform.change(row.db_id, storage_limit_bytes=2 * GB)
    assert (await tell(agent, limit=8 * GB)).storage_limits_bytes == {row.timeline_id: 2 * GB}
    assert (await tell(agent, limit=2 * GB)).storage_limits_bytes == {}
    await platform.change(row.db_id, storage_limit_bytes=None, size="L2")
    assert (await tell(agent, limit=2 * GB)).storage_limits_bytes == {row.timeline_id: 16 * GB}


async def test_who_may_not_grow_is_told_once_and_heals(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    states = [StorageState.LIMIT_REACHED, StorageState.LIMIT_REACHED, StorageState.NODE_FULL, StorageState.OK]
    for state in states:
        await tell(agent, limit=8 * GB, state=state)
        seen = await platform.row(row.db_id)
        assert seen is not None and seen.storage_state == state
    told = await platform.sql(
        "select event_type from outbox_events where event_type like 'database.storage%%' order by created_at, event_id"
    )
    assert [one["event_type"].removeprefix("database.storage_") for one in told] == ["limit_reached", "node_full", "ok"]


async def test_an_owner_sees_what_holds_the_limit(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    before = await platform.reaches(row.db_id, "stopped")
    assert before.storage_held_by is None, "nothing has held it yet"
    await gateway.connect()
    for by in (StorageHeldBy.WATCHER, StorageHeldBy.LIBRARY, StorageHeldBy.LIBRARY):
        await tell(agent, limit=8 * GB, by=by)
        seen = await platform.row(row.db_id)
        assert seen is not None and seen.storage_held_by == by
        now = platform.clock.now()
        shown = as_json(tenant_name="acme", pg_user="u", password=None, gateway_host="h", gateway_port=1, now=now)(seen)
        assert shown["storage_held_by"] == by
    assert seen is not None and seen.version == before.version, "what moves by itself is no change of the database"


async def test_a_node_without_room_is_named_and_gets_no_new_database(platform: InProcessPlatform) -> None:
    full, roomy = await Agent.enroll(platform, "node-1"), await Agent.enroll(platform, "node-2")
    await roomy.heartbeat(free=1 << 20)
    await tell(full, limit=0, short=True, given_up=True)
    async with platform.store.transaction() as tx:
        said = await nodes.short_of_disk(tx, platform.clock.now())
    assert said is not None and "node-1 (100 MB free, reserve given up)" in said and "node-2" not in said
    row = await platform.create_used()
    assert row.timeline_id in roomy.timelines
