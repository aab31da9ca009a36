"""Silence proves nothing: who is not heard of is asked about, and nobody's session ends because a report did not come."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway, Sessions, start_busy
from kit.waits import until
from spg99.control_plane import fleet
from spg99.control_plane.records import operations
from spg99.errors import Unavailable
from spg99.protocol.tasks import TaskKind


async def test_a_gateway_that_cannot_report_for_110_seconds_loses_no_session(platform: InProcessPlatform) -> None:
    agent, gateway, db_id, sessions = await start_busy(platform)
    before = await platform.reaches(db_id, "ready")
    for _ in range(11):
        await platform.advance(10)
        await agent.heartbeat()
    await until("the compute is asked, because nobody else says anything", lambda: _asked(sessions))
    after = await platform.reaches(db_id, "ready", "idle")
    assert not sessions.cut
    assert (after.compute_id, after.writer_term) == (before.compute_id, before.writer_term)
    assert after.last_used_at is not None and before.last_used_at is not None
    assert after.last_used_at > before.last_used_at, "it counts as used when it was found in use"
    # It reports again, as every Gateway does all the time: the lease stands as if nothing had been. (The clock ran on before the compute was
    # asked, so it may be asked once more just now: until it has answered, no report renews anything.)
    await until("its lease stands", lambda: _renewed(gateway, db_id))
    checkout = await gateway.connect()
    assert checkout.writer_term == before.writer_term
    # Nobody is there any more, and nobody says so: now it sleeps.
    sessions.count = 0
    for _ in range(8):  # its lease, its idle timeout, and the grace of the connect
        await platform.advance(10)
        await agent.heartbeat()
    await platform.reaches(db_id, "stopped")


async def test_a_question_is_not_repeated_all_the_time(platform: InProcessPlatform) -> None:
    agent, _, db_id, sessions = await start_busy(platform, idle_timeout_seconds=1)
    await platform.advance(20)
    await until("it is asked", lambda: _asked(sessions))
    await platform.reaches(db_id, "ready", "idle")
    for _ in range(10):
        await platform.advance(1)
        await agent.heartbeat()
    await platform.reaches(db_id, "ready", "idle")
    assert len(sessions.asked) == 1, "a compute in use counts as used for the time of a lease"


async def test_a_client_that_comes_while_the_compute_is_asked_gets_the_same_writer(platform: InProcessPlatform) -> None:
    agent, gateway, db_id, sessions = await start_busy(platform)
    before = await platform.reaches(db_id, "ready")
    await platform.advance(50)
    await agent.heartbeat()
    await until("it is asked", lambda: _asked(sessions))
    checkout = await gateway.connect()
    assert checkout.writer_term == before.writer_term
    assert not sessions.cut


async def test_a_stop_by_the_api_is_the_same_question(platform: InProcessPlatform) -> None:
    _, gateway, db_id, sessions = await start_busy(platform)
    await platform.advance(16)  # the Gateway is not heard of: its lease is over
    await platform.reaches(db_id, "idle")
    op_id = await platform.want_stopped(db_id)
    await until("it is asked", lambda: _asked(sessions))
    await platform.reaches(db_id, "ready", "idle")
    assert not sessions.cut
    async with platform.store.transaction() as tx:
        operation = await operations.find(tx, op_id)
    assert operation is not None and operation.status == "failed" and operation.error is not None
    assert "3 sessions are open." in operation.error["message"]
    assert (await gateway.report(db_id, 3)).renewed == [db_id]


async def test_deleting_stops_it_whoever_uses_it(platform: InProcessPlatform) -> None:
    agent, _, db_id, sessions = await start_busy(platform)
    await platform.delete(db_id, force=True)
    await platform.is_gone(db_id)
    assert sessions.cut and not agent.running


async def _renewed(gateway: Gateway, db_id: str) -> bool:
    return (await gateway.report(db_id, 3)).renewed == [db_id]


async def _asked(sessions: Sessions) -> bool:
    return bool(sessions.asked)


HOURS_2 = 7200.0


@pytest.mark.parametrize("step_seconds", [HOURS_2, -HOURS_2])
async def test_a_step_of_the_clock_stops_nobody(platform: InProcessPlatform, step_seconds: float) -> None:
    """Busy, idle and waiting databases; the wall clock steps by two hours either way while everybody is connected."""
    agent, gateway, busy, sessions = await start_busy(platform, idle_timeout_seconds=300)
    idle = await platform.create("quiet", idle_timeout_seconds=300)
    await gateway.connect("quiet")
    await gateway.report(idle.db_id, 0)
    await platform.reaches(idle.db_id, "idle")
    terms = {db_id: (await platform.reaches(db_id, "ready", "idle")).writer_term for db_id in (busy, idle.db_id)}

    with structlog.testing.capture_logs() as logged:
        platform.clock.step(seconds=step_seconds)
        await platform.advance(0)
        await until("what was written before the step says nothing any more", lambda: _is_retimed(platform))
        for _ in range(4):  # 12 seconds of a day like any other
            await platform.advance(3)
            await agent.heartbeat()
            await gateway.report(busy, 3)

    assert not sessions.asked, "nobody was even asked: there is no reason to"
    assert (await platform.reaches(busy, "ready")).writer_term == terms[busy]
    assert (await platform.reaches(idle.db_id, "idle")).writer_term == terms[idle.db_id]
    assert not agent.orders(TaskKind.COMPUTE_STOP)
    assert [line for line in logged if "the wall clock has stepped" in line["event"]]

    # And silence is silence again, no later than it would have been: the Gateway dies, and the database sleeps.
    sessions.count = 0
    for _ in range(40):  # a lease, the idle timeout, and one look more for each moment that falls between two of ours
        await platform.advance(10)
        await agent.heartbeat()
    await platform.reaches(busy, "stopped")
    await platform.reaches(idle.db_id, "stopped")


@pytest.mark.parametrize("step_seconds", [HOURS_2, -HOURS_2])
async def test_an_order_outlives_a_step_of_the_clock(platform: InProcessPlatform, step_seconds: float) -> None:
    """An agent that is just away for a moment finds its order, and it expires no later than without the step."""
    agent = await Agent.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    agent.kill()
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "booting")
    platform.clock.step(seconds=step_seconds)
    await platform.advance(0)
    await until("orders got their time anew", lambda: _is_retimed(platform))
    await platform.reaches(row.db_id, "booting")
    agent.start()
    await platform.reaches(row.db_id, "ready", "idle")

    agent.kill()
    await agent.heartbeat()
    other = await platform.create("other")
    await platform.want_running(other.db_id)

    async def ordered() -> Any:
        return await platform.sql("select task_id from node_tasks where db_id = %s", other.db_id)

    await until("it is ordered", ordered)
    await platform.advance(61)
    await agent.heartbeat()
    assert (await platform.reaches(other.db_id, "error")).state_reason is not None, "nobody took this order in time"


async def test_nobody_takes_a_nodes_name_because_the_clock_stepped(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    await agent.heartbeat()
    platform.clock.step(seconds=HOURS_2)
    with pytest.raises(Unavailable, match="has not listened for long enough"):
        await Agent.enroll(platform, start=False)
    await agent.heartbeat()
    # Half a minute counts from where the step was put right, which is a turn of the reconciler later.
    await until("the step is put right", lambda: _is_retimed(platform))
    await platform.advance(31)
    await Agent.enroll(platform, start=False)  # it was not heard of for as long as that takes


async def _is_retimed(platform: InProcessPlatform) -> bool:
    reconciler = platform.plane.life.reconciler
    return reconciler.clock.steps == 1 and reconciler.is_hearing


async def test_a_step_is_put_right_whole_or_not_at_all(
    platform: InProcessPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start_busy(platform)
    reconciler = platform.plane.life.reconciler
    failed: list[bool] = []

    async def broken(*_: Any) -> None:
        failed.append(True)
        raise Unavailable("The catalogue has gone away in the middle.")

    with monkeypatch.context() as patched:
        patched.setattr(fleet, "retime_tasks", broken)
        before = await platform.sql("select expires_at from leases")
        platform.clock.step(seconds=HOURS_2)
        await platform.advance(0)
        await until("the second half fails", lambda: bool(failed))
        assert await platform.sql("select expires_at from leases") == before, "the first half is not there either"
    await until("it is put right", lambda: reconciler.is_hearing)
    assert await platform.sql("select expires_at from leases") != before
