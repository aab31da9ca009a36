"""What cannot be undone is asked where the answer is known: whatever made the Gateways silent, nothing in use is deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway, start_busy
from kit.waits import until
from spg99.control_plane.records import operations
from spg99.errors import Conflict, Spg99Error
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import TaskKind

LONGER_THAN_A_LEASE = 60


async def control_plane_away(platform: InProcessPlatform, agent: Agent, gateway: Gateway) -> None:
    await platform.plane.end()
    platform.clock.advance(seconds=LONGER_THAN_A_LEASE)
    platform.plane = await platform.another_plane()
    agent.client = platform.plane.client(agent.identity.bearer_token)
    agent.forget()
    await agent.heartbeat()


async def gateway_cut_off(platform: InProcessPlatform, agent: Agent, gateway: Gateway) -> None:
    for _ in range(6):
        await platform.advance(LONGER_THAN_A_LEASE / 6)
        await agent.heartbeat()

    async def written_off() -> bool:
        return not await platform.sql("select * from leases")

    await until("its lease is over", written_off)


async def clock_stepped(platform: InProcessPlatform, agent: Agent, gateway: Gateway) -> None:
    platform.clock.step(seconds=LONGER_THAN_A_LEASE)
    await agent.heartbeat()


Silence = Callable[[InProcessPlatform, Agent, Gateway], Awaitable[None]]
SILENCES: list[Silence] = [control_plane_away, gateway_cut_off, clock_stepped]


async def delete(platform: InProcessPlatform, db_id: str) -> None:
    await platform.delete(db_id)


async def delete_with_its_tenant(platform: InProcessPlatform, db_id: str) -> None:
    await platform.delete_all()


async def stop(platform: InProcessPlatform, db_id: str) -> None:
    op_id = await platform.want_stopped(db_id)

    async def over() -> operations.OperationRow | None:
        async with platform.store.transaction() as tx:
            found = await operations.find(tx, op_id)
        return found if found is not None and found.status != "running" else None

    ended = await until("the stop has ended", over)
    if ended.status == "failed":
        raise Conflict(ended.error["message"])


Request = Callable[[InProcessPlatform, str], Awaitable[None]]
REQUESTS: list[Request] = [delete, delete_with_its_tenant, stop]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.__name__)
@pytest.mark.parametrize("silence", SILENCES, ids=lambda silence: silence.__name__)
async def test_nothing_in_use_ends_because_nobody_was_heard(
    platform: InProcessPlatform, silence: Silence, request_: Request
) -> None:
    agent, gateway, db_id, sessions = await start_busy(platform, idle_timeout_seconds=300)
    other = await platform.create("asleep")
    await platform.reaches(other.db_id, "stopped")
    before = await platform.reaches(db_id, "ready")
    await silence(platform, agent, gateway)
    with pytest.raises(Conflict, match=r"connect|in use|sessions are open"):
        await request_(platform, db_id)
    after = await platform.reaches(db_id, "ready", "idle")
    assert not sessions.cut and after.compute_id == before.compute_id
    assert not agent.orders(TaskKind.TIMELINE_DELETE)
    assert (await platform.reaches(other.db_id, "stopped")).state == "stopped", "all go or none"


@pytest.mark.parametrize("request_", REQUESTS[:2], ids=lambda request: request.__name__)
@pytest.mark.parametrize("silence", SILENCES, ids=lambda silence: silence.__name__)
async def test_what_nobody_uses_is_deleted_when_its_compute_has_said_so(
    platform: InProcessPlatform, silence: Silence, request_: Request
) -> None:
    agent, gateway, db_id, sessions = await start_busy(platform, idle_timeout_seconds=300)
    await silence(platform, agent, gateway)
    sessions.count = 0
    await gateway.report(db_id, 0) if silence is clock_stepped else None
    if silence is control_plane_away:
        gateway.client = platform.plane.client(gateway.identity.bearer_token)
        await gateway.report(db_id, 0)
    await request_(platform, db_id)
    await platform.is_gone(db_id)
    (asked,) = sessions.asked
    assert asked.payload["only_if_unused"] is True
    assert not agent.running and not agent.refused


async def test_forced_while_the_compute_is_still_asked_ends_it_all_the_same(platform: InProcessPlatform) -> None:
    agent, gateway, db_id, _sessions = await start_busy(platform, idle_timeout_seconds=300)
    await gateway_cut_off(platform, agent, gateway)
    asked, may_answer = [], []

    async def slowly(task: Task) -> TaskResult | None:
        asked.append(task)
        if task.payload["only_if_unused"]:
            await until("it may answer", lambda: bool(may_answer))
            result = {"stopped": False, "sessions": 3, "reason": "3 sessions are open."}
            return TaskResult(succeeded=True, attempt=task.attempt, result=result)
        return None

    agent.hooks[TaskKind.COMPUTE_STOP] = slowly
    with pytest.raises(Conflict, match="has not said yet"):
        await platform.delete(db_id, answer_seconds=0.2)
    await platform.delete(db_id, force=True)
    await platform.reaches(db_id, "deleting")
    may_answer.append(True)
    await platform.is_gone(db_id)
    assert [task.payload["only_if_unused"] for task in asked] == [True, False]
    assert not agent.running and not agent.refused, "its files were not taken away under a running compute"


async def test_while_the_node_is_away_nobody_can_tell(platform: InProcessPlatform) -> None:
    agent, _gateway, db_id, _sessions = await start_busy(platform, idle_timeout_seconds=300)
    agent.kill()
    (running,) = [agent.seen(task) for task in agent.running.values()]
    await agent.heartbeat(computes=[running.model_copy(update={"connections": 3})])
    await platform.advance(LONGER_THAN_A_LEASE)

    async def unheard() -> bool:
        return not await platform.sql("select * from leases")

    await until("the lease is over", unheard)
    for request in (delete, delete_with_its_tenant):
        with pytest.raises(Spg99Error, match="nobody can tell whether clients are connected .it counted 3 last"):
            await request(platform, db_id)
    assert (await platform.reaches(db_id, "ready", "idle")).has_writer, "it still serves whoever connects"
