"""The Control Plane's own absence is nobody's silence: what waited while it was away gets its time when it is back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent
from kit.waits import until
from spg99.errors import Conflict, Unavailable
from spg99.protocol.tasks import TASKS, TaskKind

AWAY_SECONDS = 2 * 86400.0
"""Longer than any order waits."""


async def create(platform: InProcessPlatform, agent: Agent) -> None:
    agent.makes_timelines = False
    await agent.heartbeat()
    await start(platform, agent)


async def start(platform: InProcessPlatform, agent: Agent) -> None:
    row = await platform.create()
    agent.kill()
    await platform.want_running(row.db_id)


async def stop(platform: InProcessPlatform, agent: Agent) -> None:
    row = await platform.create()
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "ready", "idle")
    agent.kill()
    await platform.want_stopped(row.db_id)


async def delete(platform: InProcessPlatform, agent: Agent) -> None:
    row = await platform.create_used()
    agent.kill()
    await platform.delete(row.db_id)


ORDERS: dict[TaskKind, Callable[[InProcessPlatform, Agent], Awaitable[None]]] = {
    TaskKind.TIMELINE_CREATE: create,
    TaskKind.COMPUTE_START: start,
    TaskKind.COMPUTE_STOP: stop,
    TaskKind.TIMELINE_DELETE: delete,
}


def test_every_kind_of_order_is_here() -> None:
    # Where a timeline's WAL ends is asked by a request that waits some seconds (test_branching.py), and members change by steps of the timeline's row,
    # each an order that is given again (test_safekeepers.py): no state of a database hangs on the answer.
    # An export that no node has taken in time waits for another one (test_exporting.py).
    apart = {TaskKind.TIMELINE_LOCATE, TaskKind.TIMELINE_MEMBERS, TaskKind.TIMELINE_EXPORT}
    assert ORDERS.keys() == TASKS.keys() - apart


async def leave_and_come_back(platform: InProcessPlatform, agent: Agent) -> None:
    await platform.plane.end()
    platform.clock.advance(seconds=AWAY_SECONDS)
    platform.plane = await platform.another_plane()
    agent.client = platform.plane.client(agent.identity.bearer_token)


@pytest.mark.parametrize("kind", ORDERS, ids=lambda kind: kind.value)
async def test_an_order_that_nobody_could_take_waits_for_its_agent(platform: InProcessPlatform, kind: TaskKind) -> None:
    agent = await Agent.enroll(platform)
    await ORDERS[kind](platform, agent)

    async def ordered() -> bool:
        return bool(await platform.sql("select 1 from node_tasks where kind = %s and status = 'queued'", kind.value))

    await until("the order is queued", ordered)
    await leave_and_come_back(platform, agent)
    # Whoever looks at it meanwhile decides nothing by the time that has passed, and the agent needs a while as well.
    await platform.sql("update databases set reconcile_at = now() + interval '1 day'")
    await platform.sql("notify spg99_reconcile")
    await platform.advance(20)
    assert await ordered(), "nobody has given it up"
    agent.start()

    async def done() -> bool:
        return bool(await platform.sql("select 1 from node_tasks where kind = %s and status = 'completed'", kind.value))

    await until("the agent has carried it out", done)
    assert await platform.sql("select error from node_tasks where status = 'failed'") == []
    assert await platform.sql("select error from operations where status = 'failed'") == []


async def test_an_order_is_given_up_once_its_agent_could_have_taken_it(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    await start(platform, agent)

    async def ordered() -> bool:
        return bool(await platform.sql("select 1 from node_tasks where status = 'queued'"))

    await until("the order is queued", ordered)
    await leave_and_come_back(platform, agent)
    await until("the new one hears", lambda: platform.plane.life.reconciler.is_hearing)
    await platform.advance(31)

    async def given_up() -> bool:
        return bool(await platform.sql("select 1 from node_tasks where error like '%%did not answer in time%%'"))

    await until("nobody took it in time", given_up)


async def test_nobody_takes_a_nodes_name_because_the_control_plane_was_away(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    row = await platform.create(idle_timeout_seconds=0)
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "ready", "idle")
    await leave_and_come_back(platform, agent)
    with pytest.raises(Unavailable, match="has not listened for long enough"):
        await Agent.enroll(platform, start=False)
    await agent.heartbeat()
    await until("the new one hears", lambda: platform.plane.life.reconciler.is_hearing)
    await platform.advance(31)
    await agent.heartbeat()
    with pytest.raises(Conflict, match="is alive"):
        await Agent.enroll(platform, start=False)
    assert (await platform.reaches(row.db_id, "ready", "idle")).writer_term == 1
    await platform.advance(31)
    await Agent.enroll(platform, start=False)  # now it was silent for as long as that takes
