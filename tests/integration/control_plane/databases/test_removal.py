"""Deleting: from every state, twice, and the same name again at once."""

from __future__ import annotations

import asyncio

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from kit.waits import until
from spg99.control_plane.records import operations
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.tenants import rows as tenants
from spg99.errors import Conflict, NotFound
from spg99.protocol.node import LeaseTasks, Task, TaskResult
from spg99.protocol.tasks import TaskKind


async def test_delete_while_running_ends_the_compute_first(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    await gateway.report(row.db_id, 2)
    with pytest.raises(Conflict, match="2 clients are connected"):
        await platform.delete(row.db_id)
    op_id = await platform.delete(row.db_id, force=True)
    await platform.is_gone(row.db_id)
    (stop,) = agent.orders(TaskKind.COMPUTE_STOP)
    assert stop.payload["mode"] == "immediate"
    assert not agent.running and not agent.timelines and not agent.refused
    async with platform.store.transaction() as tx:
        operation = await operations.find(tx, op_id)
    assert operation is not None and operation.status == "succeeded"
    assert await platform.sql("select * from leases") == []
    assert {c["state"] for c in await platform.sql("select state from computes")} == {"ended"}


@pytest.mark.parametrize("kind", [TaskKind.COMPUTE_START, TaskKind.TIMELINE_CREATE])
@pytest.mark.parametrize("succeeds", [True, False])
async def test_delete_while_the_agent_is_at_it_waits_for_the_outcome(
    platform: InProcessPlatform, kind: TaskKind, succeeds: bool
) -> None:
    agent = await Agent.enroll(platform, makes_timelines=kind is TaskKind.COMPUTE_START)
    begun, may_go_on = asyncio.Event(), asyncio.Event()

    async def slowly(task: Task) -> TaskResult | None:
        begun.set()
        await may_go_on.wait()
        return None if succeeds else TaskResult(succeeded=False, attempt=task.attempt, error="No.")

    agent.hooks[kind] = slowly
    row = await platform.create()
    await platform.want_running(row.db_id)
    await asyncio.wait_for(begun.wait(), 5)
    await platform.delete(row.db_id)
    deleting = await platform.reaches(row.db_id, "deleting")
    assert deleting.state == "deleting"
    may_go_on.set()
    await platform.is_gone(row.db_id)
    assert not agent.running and not agent.timelines and not agent.refused


async def test_delete_before_the_agent_has_taken_the_order_withdraws_it(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    row = await platform.create()
    await platform.want_running(row.db_id)

    async def queued() -> bool:
        return bool(await platform.sql("select 1 from node_tasks where status = 'queued'"))

    async def withdrawn() -> bool:
        return bool(await platform.sql("select 1 from node_tasks where kind = 'compute.start' and status = 'failed'"))

    await until("the order is queued", queued)
    await platform.delete(row.db_id)
    await until("the order is withdrawn", withdrawn)
    agent.start()
    await platform.is_gone(row.db_id)
    assert [task.kind for task in agent.done] == [TaskKind.TIMELINE_DELETE], "its node is asked all the same"


async def test_one_that_was_never_started_is_gone_at_once_and_nobody_is_asked(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    row = await platform.create()
    op_id = await platform.delete(row.db_id)
    assert await platform.row(row.db_id) is None
    async with platform.store.transaction() as tx:
        operation = await operations.find(tx, op_id)
    assert operation is not None and operation.status == "succeeded"
    assert await platform.sql("select * from node_tasks") == [] and agent.done == []
    assert await platform.sql("select state from timelines") == [{"state": "gone"}]
    told = await platform.sql("select event_type from outbox_events where subject = %s order by event_seq", row.db_id)
    assert [line["event_type"] for line in told] == [
        "database.creating", "database.stopped", "database.deleting", "database.deleted"
    ]  # fmt: skip
    done = await platform.sql("select action from audit_logs where subject = %s order by audit_id", row.db_id)
    assert [line["action"] for line in done] == ["database.create", "database.delete", "database.removed"]


async def test_one_whose_first_start_was_handed_out_waits_for_what_became_of_it(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    row = await platform.create()
    await platform.want_running(row.db_id)
    (start,) = (await agent.client.lease_tasks(LeaseTasks(wait_seconds=5))).tasks
    await platform.delete(row.db_id, force=True)
    await platform.advance(3600)
    assert (await platform.reaches(row.db_id, "deleting")).compute_id == start.payload["compute_id"]
    await agent.finish(start, succeeded=False, error="The agent was killed in the middle of it.")
    (delete,) = (await agent.client.lease_tasks(LeaseTasks(wait_seconds=5))).tasks
    assert (delete.kind, delete.payload["timeline_id"]) == (TaskKind.TIMELINE_DELETE, row.timeline_id)
    await agent.finish(delete, succeeded=True)
    await platform.is_gone(row.db_id)


async def test_delete_in_error(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)

    async def broken(task: Task) -> TaskResult:
        return TaskResult(succeeded=False, attempt=task.attempt, error="No.", retryable=False)

    agent.hooks[TaskKind.COMPUTE_START] = broken
    row = await platform.create()
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "error")
    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)
    assert not agent.timelines


async def test_delete_twice_is_one_deletion(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    row = await platform.create_used()
    agent.kill()
    first = await platform.delete(row.db_id)
    assert await platform.delete(row.db_id) == first
    agent.start()
    await platform.is_gone(row.db_id)
    assert len(agent.orders(TaskKind.TIMELINE_DELETE)) == 1
    removed = await platform.sql(
        "select 1 from audit_logs where action = 'database.delete' and subject = %s", row.db_id
    )
    assert len(removed) == 1


async def test_the_name_is_free_at_once(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    old = await platform.create_used()
    with pytest.raises(Conflict, match="has a database called 'app' already"):
        await platform.create()
    agent.kill()
    await platform.delete(old.db_id)
    new = await platform.create()
    assert new.db_id != old.db_id and new.timeline_id != old.timeline_id
    agent.start()
    await platform.is_gone(old.db_id)
    assert (await gateway.connect()).db_id == new.db_id
    assert agent.timelines == {new.timeline_id}


async def test_a_protected_database_is_not_deleted(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    row = await platform.create(deletion_protection=True)
    await platform.reaches(row.db_id, "stopped")
    with pytest.raises(Conflict, match="Set deletion_protection to false"):
        await platform.delete(row.db_id, force=True)
    await platform.change(row.db_id, deletion_protection=False)
    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)


async def test_a_removal_that_fails_is_tried_again(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    row = await platform.create_used()
    failures = 2

    async def busy(task: Task) -> TaskResult | None:
        nonlocal failures
        failures -= 1
        return TaskResult(succeeded=False, attempt=9, error="The folder is busy.") if failures >= 0 else None

    agent.hooks[TaskKind.TIMELINE_DELETE] = busy
    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)
    assert len(agent.orders(TaskKind.TIMELINE_DELETE)) == 3


async def test_a_tenant_on_its_way_out_gets_no_new_database_and_goes_with_its_last(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    made = [await platform.create(f"db_{n}") for n in range(3)]
    for row in made:
        await platform.reaches(row.db_id, "stopped")
    async with platform.store.transaction() as tx:
        tenant = await tenants.lock(tx, platform.tenant.tenant_id)
        assert tenant is not None
        await tenants.begin_delete(tx, tenant, SYSTEM, cascade=True)
    await platform.delete_all(force=True)
    with pytest.raises(NotFound):
        await platform.create("late")
    for row in made:
        await platform.is_gone(row.db_id)
    assert await tenants.remove_ended(platform.store) == 1
