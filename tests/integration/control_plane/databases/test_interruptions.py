"""The whole path again and again, each time with another transaction lost, or committed and not heard of: it must arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from spg99.errors import Unavailable

T = TypeVar("T")
TRANSACTIONS = 18
"""More than the path has; the ones beyond it are cut in the waits between two steps."""


async def stubbornly(call: Callable[[], Awaitable[T]]) -> T:
    """What every client of ours does when the Control Plane says it cannot right now."""
    while True:
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("commits", [False, True], ids=["lost", "committed"])
async def test_the_path_arrives_whichever_transaction_is_cut(platform: InProcessPlatform, commits: bool) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    cuts = 0
    for nth in range(1, TRANSACTIONS + 1):
        platform.plane.store.cut(nth, commits=commits)
        row = await platform.create(f"db_{nth}", idle_timeout_seconds=1)
        await platform.reaches(row.db_id, "stopped")
        checkout = await stubbornly(lambda nth=nth: gateway.connect(f"db_{nth}"))
        assert checkout.writer_term == 1, f"a second start, cut at {nth}"
        await stubbornly(lambda row=row: gateway.report(row.db_id, 1))
        await stubbornly(lambda row=row: gateway.report(row.db_id, 0))
        await platform.reaches(row.db_id, "idle", "stopping", "stopped")
        await platform.advance(1.0)
        await platform.reaches(row.db_id, "stopped")
        await platform.delete(row.db_id)
        await platform.is_gone(row.db_id)
        await stubbornly(agent.heartbeat)
        cuts += platform.plane.store.was_cut
    assert cuts >= 12, "most cuts were on the path"
    assert not agent.running and not agent.timelines and not agent.refused
    kinds = await platform.sql("select kind, count(*) from node_tasks group by kind")
    assert {line["count"] for line in kinds} == {TRANSACTIONS}, f"no order twice: {kinds}"
