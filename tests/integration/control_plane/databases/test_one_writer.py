"""At most one writer: tries to break it, by hand against the catalogue and by chance against the whole."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import psycopg
import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from integration.control_plane.databases.test_interruptions import stubbornly
from spg99.errors import CannotWake, Conflict
from spg99.protocol.node import Task, TaskResult


async def test_the_catalogue_refuses_a_second_writer_and_a_lower_term(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    copy = """insert into computes (compute_id, db_id, timeline_id, node_id, writer_term, profile, state)
              select 'cmp_second', db_id, timeline_id, node_id, writer_term + %s, profile, %s from computes"""
    with pytest.raises(psycopg.errors.UniqueViolation, match="computes_one_writer"):
        await platform.sql(copy, 1, "starting")
    with pytest.raises(psycopg.errors.UniqueViolation, match="writer_term"):
        await platform.sql(
            copy.replace("profile, state)", "profile, state, ended_at)").replace("%s from", "%s, now() from"),
            0,
            "ended",
        )
    with pytest.raises(psycopg.errors.CheckViolation, match="may not fall"):
        await platform.sql("update databases set writer_term = writer_term - 1")
    with pytest.raises(psycopg.errors.CheckViolation, match="may not fall"):
        await platform.sql("update databases set lease_control_epoch = 0")


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_there_is_one_writer_and_it_settles(platform: InProcessPlatform, seed: int) -> None:
    """Deaths, kills, slow and failing orders, clients, stops, time; two Control Planes. The agent watches for two writers."""
    chance = random.Random(seed)
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    other = await Gateway.enroll(platform, "gateway-2", await platform.another_plane())
    row = await platform.create(idle_timeout_seconds=1)
    await platform.reaches(row.db_id, "stopped")

    async def sometimes(task: Task) -> TaskResult | None:
        await asyncio.sleep(chance.random() * 0.05)
        if chance.random() < 0.15:
            return TaskResult(succeeded=False, attempt=task.attempt, error="By chance.")
        return None

    agent.hooks = dict.fromkeys(("compute.start", "compute.stop"), sometimes)
    terms: list[int] = []

    async def connect(door: Gateway) -> None:
        with suppress(CannotWake):  # any other error fails the test
            terms.append((await door.connect(wait_seconds=3)).writer_term)

    async def stop() -> None:
        with suppress(Conflict):
            await platform.want_stopped(row.db_id)

    async def die() -> None:
        if len(agent.running) == 1:
            await agent.compute_dies()

    async def restart() -> None:
        agent.forget()
        await agent.heartbeat()

    async def pass_time() -> None:
        await platform.advance(chance.choice((0.5, 1.5, 16.0)))
        await agent.heartbeat()

    deeds = [
        lambda: connect(gateway),
        lambda: connect(other),
        lambda: gateway.report(row.db_id, chance.randrange(2)),
        lambda: other.report(row.db_id, chance.randrange(2)),
        stop,
        die,
        restart,
        pass_time,
    ]
    for _ in range(40):
        await asyncio.gather(*(chance.choice(deeds)() for _ in range(3)))
    agent.hooks = {}
    assert not agent.refused
    assert len(terms) > 5
    for door in (gateway, other):
        await door.report(row.db_id, 0)
    served = await stubbornly(gateway.connect)  # an attempt that fails by chance may still be under way
    assert served.compute_id in agent.running and list(agent.running) == [served.compute_id]
    assert served.writer_term >= max(terms)
    assert await platform.sql("select 1 from computes where state <> 'ended' offset 1") == []
