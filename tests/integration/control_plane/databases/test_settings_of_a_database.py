"""What changes in place, and what start and stop do."""

from __future__ import annotations

import asyncio

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from kit.waits import until
from spg99.control_plane.databases.resource import as_json
from spg99.control_plane.records import operations
from spg99.errors import WrongState
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import TaskKind


async def test_a_new_size_is_the_profile_of_the_next_start(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    asleep = await platform.change(row.db_id, size="L2")
    assert (asleep.target_profile, asleep.current_profile, asleep.version) == ("L2", None, row.version + 1)
    await gateway.connect()
    running = await platform.change(row.db_id, size="L3")
    assert (running.target_profile, running.current_profile) == ("L3", "L2")
    await gateway.report(row.db_id, 0)
    await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    assert (await platform.reaches(row.db_id, "ready")).current_profile == "L3"
    assert [task.payload["profile"] for task in agent.orders(TaskKind.COMPUTE_START)] == ["L2", "L3"]


async def test_a_new_idle_timeout_moves_the_end_of_the_idle_clock(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    row = await platform.create(idle_timeout_seconds=3600)
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    await gateway.report(row.db_id, 0)
    idle = await platform.reaches(row.db_id, "idle")
    assert idle.idle_since is not None and idle.reconcile_at is not None
    assert (idle.reconcile_at - idle.idle_since).total_seconds() == pytest.approx(3600, abs=0.1)
    await platform.change(row.db_id, idle_timeout_seconds=0)
    await asyncio.sleep(0)
    await platform.change(row.db_id, idle_timeout_seconds=1)
    await platform.reaches(row.db_id, "stopped")


async def test_the_default_idle_time_is_a_policy(platform: InProcessPlatform) -> None:
    await platform.set_policy("database.idle_timeout_seconds", 77)
    assert (await platform.create("a")).idle_timeout_seconds == 77
    assert (await platform.create("b", idle_timeout_seconds=300)).idle_timeout_seconds == 300


async def test_start_and_stop_are_operations(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    start = await platform.want_running(row.db_id)
    started = await platform.reaches(row.db_id, "ready", "idle")
    assert (started.target_scale, started.current_scale) == (1, 1)
    assert await _status(platform, start) == "succeeded"
    assert await _status(platform, await platform.want_running(row.db_id)) == "succeeded"
    stop = await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopped")
    assert await _status(platform, stop) == "succeeded"
    assert await _status(platform, await platform.want_stopped(row.db_id)) == "succeeded"


async def test_a_start_wished_while_creating_or_stopping_comes_to_pass(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    row = await platform.create()
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "ready", "idle")
    may_stop = asyncio.Event()

    async def slowly(_: object) -> None:
        await may_stop.wait()

    agent.hooks[TaskKind.COMPUTE_STOP] = slowly
    await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopping")
    await platform.want_running(row.db_id)
    may_stop.set()
    assert (await platform.reaches(row.db_id, "ready", "idle")).writer_term == 2


async def test_a_stop_wished_while_booting_comes_to_pass(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    may_start = asyncio.Event()

    async def slowly(_: object) -> None:
        await may_start.wait()

    agent.hooks[TaskKind.COMPUTE_START] = slowly
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "booting")
    stop = await platform.want_stopped(row.db_id)
    may_start.set()
    await platform.reaches(row.db_id, "stopped")
    assert await _status(platform, stop) == "succeeded"


async def test_a_start_that_fails_fails_its_operation_with_the_reason(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)

    async def broken(task: Task) -> TaskResult:
        return TaskResult(succeeded=False, attempt=task.attempt, error="The port is taken.", retryable=False)

    agent.hooks[TaskKind.COMPUTE_START] = broken
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    start = await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "error")
    async with platform.store.transaction() as tx:
        operation = await operations.find(tx, start)
    assert operation is not None and operation.status == "failed"
    assert operation.error is not None and operation.error["message"] == "The port is taken."
    await platform.want_running(row.db_id)  # nothing is tried by itself any more, but the API may ask again

    async def tried_again() -> bool:
        return len(agent.orders(TaskKind.COMPUTE_START)) == 2

    await until("another attempt", tried_again)
    await platform.reaches(row.db_id, "error")
    stop = await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopped")
    assert await _status(platform, stop) == "succeeded"


async def test_what_is_being_deleted_cannot_be_changed(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    row = await platform.create_used()
    agent.kill()
    await platform.delete(row.db_id)
    for refused in (
        platform.want_running(row.db_id),
        platform.want_stopped(row.db_id),
        platform.change(row.db_id, size="L2"),
    ):
        with pytest.raises(WrongState):
            await refused


async def test_compute_time_counts_while_it_runs_and_stays_when_it_ends(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    running = await platform.reaches(row.db_id, "ready")
    assert running.compute_started_at is not None and running.compute_milliseconds == 0
    later = running.compute_started_at.replace(year=running.compute_started_at.year + 1)
    shown = as_json(tenant_name="acme", pg_user="t", password=None, gateway_host="h", gateway_port=1, now=later)(
        running
    )
    assert shown["compute_seconds"] >= 365 * 86400 and shown["worker_id"] == running.compute_id
    await gateway.report(row.db_id, 0)
    await platform.want_stopped(row.db_id)
    asleep = await platform.reaches(row.db_id, "stopped")
    assert asleep.compute_milliseconds > 0 and asleep.compute_started_at is None


async def _status(platform: InProcessPlatform, op_id: str) -> str:
    async with platform.store.transaction() as tx:
        operation = await operations.find(tx, op_id)
    assert operation is not None
    return operation.status
