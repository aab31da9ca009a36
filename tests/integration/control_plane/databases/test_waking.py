"""What a client meets that connects to a sleeper: one start for all, patience, and a reason when it cannot be."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from kit.waits import until
from spg99.errors import CannotWake, NotFound
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import TaskKind


async def test_a_hundred_connects_at_once_are_one_start(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    other_plane = await platform.another_plane()
    gateways = [await Gateway.enroll(platform), await Gateway.enroll(platform, "gateway-2", other_plane)]
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")

    began = time.monotonic()
    checkouts = await asyncio.gather(*(gateways[n % 2].connect() for n in range(100)))
    took = time.monotonic() - began

    assert {(c.compute_id, c.writer_term) for c in checkouts} == {(checkouts[0].compute_id, 1)}
    assert len(agent.orders(TaskKind.COMPUTE_START)) == 1
    assert await platform.sql("select count(*) from computes") == [{"count": 1}]
    assert len(await platform.sql("select * from leases")) == 2
    assert took < 5, f"{took:.2f} s"


async def test_who_waits_here_is_answered_by_the_transaction_that_finds_it_ready(
    platform: InProcessPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    readings: list[object] = []
    waker = platform.plane.life.waker
    read = waker._status_once

    async def counted(*arguments: Any) -> Any:
        readings.append(arguments)
        return await read(*arguments)

    monkeypatch.setattr(waker, "_status_once", counted)
    checkout = await gateway.connect()
    assert len(readings) == 1 and checkout.woke and len(agent.orders(TaskKind.COMPUTE_START)) == 1
    (lease,) = await platform.sql("select db_id, gateway_id from leases")
    assert lease == {"db_id": row.db_id, "gateway_id": gateway.identity.identity_id}
    assert not waker._waiting and not waker._joined


async def test_a_client_that_comes_while_the_database_stops_is_served_when_it_is_up_again(
    platform: InProcessPlatform,
) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create(idle_timeout_seconds=1)
    await platform.reaches(row.db_id, "stopped")
    first = await gateway.connect()
    may_stop = asyncio.Event()

    async def slowly(_: Task) -> None:
        await may_stop.wait()

    agent.hooks[TaskKind.COMPUTE_STOP] = slowly
    await gateway.report(row.db_id, 0)
    await platform.reaches(row.db_id, "stopping")

    waiting = [asyncio.create_task(gateway.connect()) for _ in range(10)]
    await until("somebody waits", lambda: _wanted(platform, row.db_id))
    assert not any(connect.done() for connect in waiting)
    may_stop.set()

    second = await asyncio.gather(*waiting)
    assert {c.writer_term for c in second} == {first.writer_term + 1}
    assert all(c.compute_id != first.compute_id and c.woke for c in second)


async def test_a_client_that_comes_while_the_database_is_created_is_served(platform: InProcessPlatform) -> None:
    gateway = await Gateway.enroll(platform)
    row = await platform.create()
    connect = asyncio.create_task(gateway.connect())
    await until("somebody waits", lambda: _wanted(platform, row.db_id))
    agent = await Agent.enroll(platform)
    assert (await connect).db_id == row.db_id
    assert len(agent.orders(TaskKind.COMPUTE_START)) == 1


async def test_an_unknown_database_and_one_that_is_deleted_are_not_found(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    with pytest.raises(NotFound, match='database "nothing" does not exist'):
        await gateway.connect("nothing")
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    agent.kill()
    await platform.delete(row.db_id)
    with pytest.raises(NotFound):
        await gateway.connect()


async def test_a_client_learns_that_its_database_was_deleted_while_it_waited(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    agent.kill()
    connect = asyncio.create_task(gateway.connect())
    await platform.reaches(row.db_id, "booting")
    await platform.delete(row.db_id)
    with pytest.raises(NotFound):
        await connect


async def test_a_start_that_fails_tells_the_waiting_client_why_and_is_tried_again(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")

    async def no_disk(task: Task) -> TaskResult:
        return TaskResult(succeeded=False, attempt=task.attempt, error="The disk of the node is full.")

    agent.hooks[TaskKind.COMPUTE_START] = no_disk
    began = time.monotonic()
    with pytest.raises(CannotWake, match="The disk of the node is full."):
        await gateway.connect()
    assert time.monotonic() - began < 3, "it waits no longer than the failure takes"
    failed = await platform.reaches(row.db_id, "error")
    assert failed.state_reason == "The disk of the node is full."
    assert failed.attempt_count == 1 and failed.retry_at is not None
    assert (failed.current_scale, failed.target_scale) == (0, 1)

    del agent.hooks[TaskKind.COMPUTE_START]
    await platform.reaches(row.db_id, "ready", "idle")  # by itself
    served = await gateway.connect()
    assert served.writer_term == 2


async def test_the_back_off_grows_and_a_new_client_does_not_wait_for_it(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")

    async def broken(task: Task) -> TaskResult:
        return TaskResult(succeeded=False, attempt=task.attempt, error="No.")

    agent.hooks[TaskKind.COMPUTE_START] = broken
    for attempt_count in range(1, 6):
        with pytest.raises(CannotWake, match=r"No\."):
            await gateway.connect()
        await platform.advance(1.1)
        failed = await platform.row(row.db_id)
        assert failed is not None and failed.attempt_count >= attempt_count

    failed = await platform.reaches(row.db_id, "error")
    assert failed.retry_at is not None
    assert (failed.retry_at - platform.clock.now()).total_seconds() > 5
    del agent.hooks[TaskKind.COMPUTE_START]
    assert (await gateway.connect()).woke


async def test_after_the_last_attempt_only_a_client_tries_again(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    await platform.set_policy("database.start_retry_max", 1)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")

    async def broken(task: Task) -> TaskResult:
        return TaskResult(succeeded=False, attempt=task.attempt, error="No.")

    agent.hooks[TaskKind.COMPUTE_START] = broken
    with pytest.raises(CannotWake):
        await gateway.connect()
    failed = await platform.reaches(row.db_id, "error")
    assert failed.retry_at is None and failed.reconcile_at is None
    del agent.hooks[TaskKind.COMPUTE_START]
    assert (await gateway.connect()).woke


async def test_a_node_that_is_silent_is_named(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform, "alpha"), await Gateway.enroll(platform)
    row = await platform.create_used()
    agent.kill()
    await platform.advance(40)
    with pytest.raises(
        CannotWake, match="Node alpha, which keeps the files of the database, has not been heard of for 4"
    ):
        await gateway.connect(wait_seconds=0.3)
    agent.start()
    await agent.heartbeat()
    assert (await gateway.connect()).db_id == row.db_id


async def test_a_client_whose_time_is_over_learns_where_the_database_stands(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    agent.kill()
    with pytest.raises(CannotWake, match="still in state 'booting'"):
        await gateway.connect(wait_seconds=0.2)


async def _wanted(platform: InProcessPlatform, db_id: str) -> bool:
    row = await platform.row(db_id)
    return row is not None and row.wanted_until is not None and row.wanted_until > platform.clock.now()
