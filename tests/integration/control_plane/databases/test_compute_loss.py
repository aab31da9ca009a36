"""Computes that end by themselves, agents that come back, computes that nobody wants."""

from __future__ import annotations

import asyncio

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from kit.waits import until
from spg99.protocol.node import ComputeSeen
from spg99.protocol.tasks import TaskKind
from spg99.resources import Size


async def in_use(platform: InProcessPlatform, gateway: Gateway) -> str:
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    await gateway.report(row.db_id, 1)
    await platform.reaches(row.db_id, "ready")
    return row.db_id


async def test_a_compute_that_dies_in_use_is_replaced_with_a_higher_term(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    db_id = await in_use(platform, gateway)
    before = await gateway.connect()
    await agent.compute_dies()
    after = await gateway.connect()
    assert after.db_id == before.db_id and after.compute_id != before.compute_id
    assert after.writer_term > before.writer_term
    assert after.lease_control_epoch > before.lease_control_epoch
    ended = await platform.sql("select state, exit_reason from computes where compute_id = %s", before.compute_id)
    assert ended == [{"state": "ended", "exit_reason": "PostgreSQL was killed by signal 9."}]
    told = await platform.sql("select event_type from outbox_events where subject = %s order by event_seq", db_id)
    assert "database.compute_changed" in [line["event_type"] for line in told]
    starts = agent.orders(TaskKind.COMPUTE_START)
    assert starts[0].payload["timeline_id"] == starts[1].payload["timeline_id"]


async def test_a_compute_that_dies_unused_leaves_a_sleeper(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    db_id = await in_use(platform, gateway)
    await gateway.report(db_id, 0)
    await platform.reaches(db_id, "idle")
    await agent.compute_dies()
    asleep = await platform.reaches(db_id, "stopped")
    assert (asleep.current_scale, asleep.target_scale, asleep.attempt_count) == (0, 0, 0)
    assert len(agent.orders(TaskKind.COMPUTE_START)) == 1
    assert (await gateway.connect()).writer_term == 2


async def test_a_compute_that_keeps_dying_ends_in_error_with_the_reason(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    db_id = await in_use(platform, gateway)
    for _ in range(3):
        await until("a compute runs", lambda: _one_runs(platform, agent, db_id))
        await agent.compute_dies("The server's memory is exhausted.")
    failed = await platform.reaches(db_id, "error")
    assert failed.state_reason is not None
    assert "3 times in a row: The server's memory is exhausted." in failed.state_reason
    await platform.advance(60)
    await agent.heartbeat()
    await platform.reaches(db_id, "ready", "idle")


async def test_a_compute_missing_in_a_heartbeat_counts_as_ended_but_not_while_it_is_young(
    platform: InProcessPlatform,
) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    db_id = await in_use(platform, gateway)
    await agent.heartbeat(computes=[])
    assert (await platform.reaches(db_id, "ready")).writer_term == 1
    agent.running.clear()
    platform.clock.advance(seconds=11)
    await agent.heartbeat(computes=[])
    replaced = await platform.reaches(db_id, "booting", "ready", "stopped")
    assert replaced.writer_term in (1, 2)
    assert (await gateway.connect()).writer_term == 2


async def test_a_heartbeat_does_not_touch_what_is_being_started_or_stopped(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    may_go_on = asyncio.Event()

    async def slowly(_: object) -> None:
        await may_go_on.wait()

    agent.hooks = {TaskKind.COMPUTE_START: slowly, TaskKind.COMPUTE_STOP: slowly}
    connect = asyncio.create_task(gateway.connect())
    booting = await platform.reaches(row.db_id, "booting")
    assert booting.compute_id is not None
    started = ComputeSeen(
        compute_id=booting.compute_id,
        timeline_id=row.timeline_id,
        db_id=row.db_id,
        writer_term=1,
        profile=Size.L1,
        running=True,
    )
    platform.clock.advance(seconds=15)
    assert (await agent.heartbeat(computes=[started])).stop_compute_ids == []
    assert (await agent.heartbeat(computes=[])).stop_compute_ids == []
    may_go_on.set()
    await connect
    may_go_on.clear()
    await gateway.report(row.db_id, 0)
    await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopping")
    assert (await agent.heartbeat(computes=[started])).stop_compute_ids == []
    await agent.heartbeat(computes=[])
    may_go_on.set()
    assert (await platform.reaches(row.db_id, "stopped")).writer_term == 1


async def test_a_compute_nobody_ordered_is_stopped_and_files_of_the_deleted_are_forgotten(
    platform: InProcessPlatform,
) -> None:
    agent = await Agent.enroll(platform)
    row = await platform.create_used()
    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)
    stranger = ComputeSeen(
        compute_id="cmp_stranger",
        timeline_id=row.timeline_id,
        db_id=row.db_id,
        writer_term=9,
        profile=Size.L1,
        running=True,
    )
    agent.timelines = {row.timeline_id, "tl_of_a_restored_catalogue"}
    answer = await agent.heartbeat(computes=[stranger])
    assert answer.stop_compute_ids == ["cmp_stranger"]
    assert answer.forget_timeline_ids == [row.timeline_id], "what the catalogue never heard of may be an only copy"


async def test_an_agent_that_is_killed_and_comes_back_restarts_nothing(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    db_id = await in_use(platform, gateway)
    before = await gateway.connect()
    agent.forget()
    answer = await agent.heartbeat()
    assert answer.stop_compute_ids == []
    assert await gateway.connect() == before
    assert len(agent.orders(TaskKind.COMPUTE_START)) == 1
    assert (await platform.reaches(db_id, "ready")).writer_term == 1


async def test_an_agent_killed_in_the_middle_of_a_start_begins_it_again(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    stuck = asyncio.Event()

    async def never(_: object) -> None:
        stuck.set()
        await asyncio.Event().wait()

    agent.hooks[TaskKind.COMPUTE_START] = never
    connect = asyncio.create_task(gateway.connect())
    await asyncio.wait_for(stuck.wait(), 5)
    del agent.hooks[TaskKind.COMPUTE_START]
    agent.forget()
    checkout = await connect
    assert checkout.writer_term == 1
    (start,) = agent.orders(TaskKind.COMPUTE_START)
    assert start.attempt == 2


async def test_what_an_agent_counts_is_kept(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    db_id = await in_use(platform, gateway)
    (task,) = agent.running.values()
    await agent.heartbeat(computes=[agent.seen(task).model_copy(update={"connections": 7})])
    assert await platform.sql("select connections from computes") == [{"connections": 7}]
    found = await platform.row(db_id)
    assert found is not None and found.storage_bytes == 8_000_000


async def _one_runs(platform: InProcessPlatform, agent: Agent, db_id: str) -> bool:
    row = await platform.row(db_id)
    return len(agent.running) == 1 and row is not None and row.state == "ready"
