"""A database is a row and a timeline until its first start: what that start brings, fails with, and leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from spg99.errors import CannotWake
from spg99.protocol.node import TaskResult
from spg99.protocol.tasks import TaskKind


async def timeline_of(platform: InProcessPlatform, db_id: str) -> dict[str, Any]:
    return (await platform.sql("select state, node_id from timelines where db_id = %s", db_id))[0]


async def operations_of(platform: InProcessPlatform, db_id: str) -> list[tuple[str, str]]:
    lines = await platform.sql("select kind, status from operations where db_id = %s order by created_at", db_id)
    return [(line["kind"], line["status"]) for line in lines]


async def test_a_create_is_done_with_its_transaction_and_needs_no_node(platform: InProcessPlatform) -> None:
    row = await platform.create()
    found = await platform.row(row.db_id)
    assert found is not None and (found.state, found.reconcile_at, found.storage_bytes) == ("stopped", None, 0)
    assert await timeline_of(platform, row.db_id) == {"state": "creating", "node_id": None}
    assert await operations_of(platform, row.db_id) == [("database.create", "succeeded")]
    told = await platform.sql("select event_type from outbox_events where subject = %s order by event_seq", row.db_id)
    assert [line["event_type"] for line in told] == ["database.creating", "database.stopped"]


async def test_the_first_start_is_one_order_and_no_later_one_makes_files(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    assert (await gateway.connect()).woke
    assert await timeline_of(platform, row.db_id) == {"state": "present", "node_id": agent.identity.identity_id}
    await gateway.report(row.db_id, 0)
    await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopped")
    agent.timelines.clear()  # a disk is lost: nobody may take that for a database that was never filled
    with pytest.raises(CannotWake, match="not on this node"):
        await gateway.connect()
    assert [task.kind for task in agent.done[:2]] == [TaskKind.COMPUTE_START, TaskKind.COMPUTE_STOP]
    starts = [task.payload["makes_timeline"] for task in agent.orders(TaskKind.COMPUTE_START)]
    assert starts[0] is True and not any(starts[1:])
    assert agent.timelines == set()


async def test_a_first_start_that_failed_is_tried_where_there_is_room_and_leaves_nothing(
    platform: InProcessPlatform,
) -> None:
    first, gateway = await Agent.enroll(platform, "node-1"), await Gateway.enroll(platform)
    row = await platform.create()

    async def full(task: Any) -> TaskResult:
        first.timelines.add(task.payload["timeline_id"])  # files were made, and then it failed
        await second.heartbeat(free=10**12)
        return TaskResult(succeeded=False, attempt=task.attempt, error="The node has no memory left.")

    second = await Agent.enroll(platform, "node-2")
    await second.heartbeat(free=1)
    first.hooks[TaskKind.COMPUTE_START] = full
    with pytest.raises(CannotWake, match="no memory left"):
        await gateway.connect()
    assert (await timeline_of(platform, row.db_id))["node_id"] == first.identity.identity_id
    checkout = await gateway.connect()
    assert checkout.writer_term == 2 and set(second.running) == {checkout.compute_id}
    # Safekeepers know by it whose WAL they may put aside.
    (attempt,), (start,) = (agent.orders(TaskKind.COMPUTE_START) for agent in (first, second))
    assert attempt.payload["attempts"] == []
    assert start.payload["attempts"] == [attempt.payload["compute_id"]]
    await platform.sql("update computes set ended_at = ended_at - interval '400 days'")
    await platform.sql("update timelines set state = 'creating'")
    await platform.plane.life.delete_old()
    assert len(await platform.sql("select 1 from computes")) == 2  # all attempts are remembered until one has succeeded
    await platform.delete(row.db_id, force=True)
    await platform.is_gone(row.db_id)
    assert second.timelines == set()
    assert (await first.heartbeat()).forget_timeline_ids == [row.timeline_id]


async def test_an_agent_of_an_older_version_gets_the_order_for_the_files_before(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform, makes_timelines=False), await Gateway.enroll(platform)
    row = await platform.create()
    assert (await gateway.connect()).writer_term == 1
    assert [task.kind for task in agent.done] == [TaskKind.TIMELINE_CREATE, TaskKind.COMPUTE_START]
    assert (await timeline_of(platform, row.db_id))["state"] == "present" and not agent.refused


@pytest.mark.parametrize("status", [None, "queued", "dispatched", "failed"])
async def test_what_an_older_version_left_in_the_middle_of_a_create_comes_to_rest(
    platform: InProcessPlatform, status: str | None
) -> None:
    agent, gateway = await Agent.enroll(platform, start=False), await Gateway.enroll(platform)
    row = await platform.create()
    state = "error" if status == "failed" else "creating"
    await platform.sql("update operations set status = 'running', finished_at = null where db_id = %s", row.db_id)
    if status is not None:
        await platform.sql("update timelines set node_id = %s where db_id = %s", agent.identity.identity_id, row.db_id)
        await platform.sql(
            "insert into node_tasks (node_id, kind, payload, db_id, status, expires_at, finished_at, leased_until) values "
            "(%s, 'timeline.create', jsonb_build_object('timeline_id', %s::text, 'database_name', 'app', 'pg_user', 'u'), %s, %s, "
            "now() + interval '1 minute', case when %s = 'failed' then now() end, case when %s = 'dispatched' then now() end)",
            agent.identity.identity_id, row.timeline_id, row.db_id, status, status, status,
        )  # fmt: skip
    await platform.sql(
        "update databases set state = %s, state_reason = %s, reconcile_at = now() where db_id = %s",
        state, "The disk is full." if state == "error" else None, row.db_id,
    )  # fmt: skip
    await platform.sql("notify spg99_reconcile")
    await platform.reaches(row.db_id, "stopped")
    assert await operations_of(platform, row.db_id) == [("database.create", "succeeded")]
    agent.start()
    assert (await gateway.connect()).writer_term == 1
    await platform.delete(row.db_id, force=True)
    await platform.is_gone(row.db_id)
    assert agent.timelines == set() and not agent.running
