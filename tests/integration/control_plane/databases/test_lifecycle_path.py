"""The path every database goes: created, asleep, woken, idle, asleep, deleted."""

from __future__ import annotations

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from spg99.protocol.tasks import TaskKind


async def test_a_database_is_created_woken_put_to_sleep_and_deleted(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create(idle_timeout_seconds=1)
    assert row.state == "stopped" and not agent.done
    assert (row.current_scale, row.target_scale, row.writer_term) == (0, 0, 0)

    checkout = await gateway.connect()
    assert checkout.woke and checkout.db_id == row.db_id and checkout.writer_term == 1
    row = await platform.reaches(row.db_id, "ready")
    assert (row.current_scale, row.target_scale, row.current_profile) == (1, 1, "L1")
    assert not (await gateway.connect()).woke

    await gateway.report(row.db_id, 1)
    await gateway.report(row.db_id, 0)
    await platform.reaches(row.db_id, "idle")
    row = await platform.reaches(row.db_id, "stopped")
    assert (row.current_scale, row.target_scale, row.current_profile, row.compute_id) == (0, 0, None, None)
    assert row.compute_milliseconds > 0 and not agent.running

    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)
    assert not agent.timelines
    assert [task.kind for task in agent.done] == [
        TaskKind.COMPUTE_START,
        TaskKind.COMPUTE_STOP,
        TaskKind.TIMELINE_DELETE,
    ]
    assert not agent.refused
