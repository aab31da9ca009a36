"""A restore in place as the Control Plane carries it out: what stays, what is exchanged, who runs on what, in each state it may come in."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Gateway
from integration.control_plane.databases.test_branching import FROM_LSN, kept_platform, pins
from kit.waits import until
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.errors import BadRequest, Conflict
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import TaskKind

LSN = "0/1800000"


async def ended_well(platform: InProcessPlatform, op_id: str) -> None:
    async def over() -> bool:
        (op,) = await platform.sql("select status from operations where op_id = %s", op_id)
        return bool(op["status"] == "succeeded")

    await until("the restore to be carried out", over)


async def before_of(platform: InProcessPlatform, row: DatabaseRow) -> DatabaseRow:
    (found,) = await platform.sql("select db_id from databases where name like %s", f"{row.name}_before_%")
    before = await platform.row(found["db_id"])
    assert before is not None
    return before


async def test_a_sleeper_has_another_history_and_the_former_one_stays_beside_it(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    row = await platform.create_used("app")
    await ended_well(platform, await platform.restore(row.db_id, lsn=LSN))
    after, before = await platform.row(row.db_id), await before_of(platform, row)
    assert after is not None and after.name == "app" and after.state == "stopped"
    assert before.timeline_id == row.timeline_id != after.timeline_id and before.state == "stopped"
    assert (before.name_in_files, after.name_in_files) == ("app", "app")
    days = (before.expires_at - platform.clock.now()) if before.expires_at else timedelta()
    assert timedelta(days=6) < days <= timedelta(days=7)
    # The former history is needed until the new one has begun.
    with pytest.raises(Conflict, match="'app' begins in it"):
        await platform.delete(before.db_id, force=True)
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "ready", "idle")
    start = agent.orders(TaskKind.COMPUTE_START)[-1].payload
    assert start["origin"]["timeline_id"] == row.timeline_id and start["origin"]["point"]["lsn"] == 0x1800000
    assert start["writer_term"] == row.writer_term + 1 and start["makes_timeline"]
    assert await pins(platform) == []
    # And it wakes under its new name, by the one that it has in its files.
    await platform.want_running(before.db_id)
    await platform.reaches(before.db_id, "ready", "idle")
    order = agent.orders(TaskKind.COMPUTE_START)[-1].payload
    assert (order["timeline_id"], order["database_name"], order["origin"]) == (row.timeline_id, "app", None)
    await platform.delete(before.db_id, force=True)
    await platform.is_gone(before.db_id)
    assert await platform.row(row.db_id) is not None


async def test_who_runs_goes_with_the_former_history_and_is_ended(platform: InProcessPlatform) -> None:
    agent, gateway = await kept_platform(platform), await Gateway.enroll(platform)
    row = await platform.create("app")
    checkout = await gateway.connect()
    await gateway.report(row.db_id, 3)
    ready = await platform.row(row.db_id)
    assert ready is not None
    await ended_well(platform, await platform.restore(row.db_id, lsn=LSN))
    before = await before_of(platform, row)
    await platform.reaches(before.db_id, "stopped")
    (stop,) = agent.orders(TaskKind.COMPUTE_STOP)
    assert (stop.payload["compute_id"], stop.payload["only_if_unused"]) == (checkout.compute_id, False)
    # What Gateways knew is void, and its clients come to the new one.
    again = await gateway.connect()
    assert again.compute_id != checkout.compute_id and again.lease_control_epoch > ready.lease_control_epoch
    assert again.database == "app"
    assert len(agent.running) == 1


async def test_one_that_is_being_started_or_stopped_goes_back_after_that(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    row = await platform.create_used("app")
    may_go_on = asyncio.Event()

    async def slow(task: Task) -> TaskResult | None:
        await may_go_on.wait()
        return None

    agent.hooks[TaskKind.COMPUTE_START] = slow
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "booting")
    op_id = await platform.restore(row.db_id, lsn=LSN)
    assert (await platform.reaches(row.db_id, "booting")).timeline_id == row.timeline_id
    may_go_on.set()
    await ended_well(platform, op_id)
    before = await before_of(platform, row)
    assert before.timeline_id == row.timeline_id
    await platform.reaches(before.db_id, "stopped")


async def test_twice_is_two_states_before_and_the_second_begins_where_the_first_does(
    platform: InProcessPlatform,
) -> None:
    await kept_platform(platform)
    row = await platform.create_used("app")
    await ended_well(platform, await platform.restore(row.db_id, lsn=LSN))
    with pytest.raises(BadRequest, match="not allowed") as refused:
        await platform.restore(row.db_id, lsn=LSN)  # its new history has not begun
    assert "no history yet" in refused.value.fields["lsn"]
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "ready", "idle")
    await ended_well(platform, await platform.restore(row.db_id, lsn=LSN))
    names = await platform.sql("select name from databases where name like 'app_before_%%' order by name")
    assert len({one["name"] for one in names}) == 2


async def test_a_moment_outside_of_the_window_changes_nothing(platform: InProcessPlatform) -> None:
    await kept_platform(platform)
    row = await platform.create_used("app")
    with pytest.raises(BadRequest) as refused:
        await platform.restore(row.db_id, lsn=f"0/{FROM_LSN - 1:X}")
    assert "from 0/1000000 to 0/2000000" in refused.value.fields["lsn"]
    after = await platform.row(row.db_id)
    assert after is not None and (after.timeline_id, after.restore) == (row.timeline_id, None)


async def test_a_deletion_comes_before_a_restore_that_waits(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    row = await platform.create_used("app")
    agent.kill()
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "booting")
    agent.start()
    op_id = await platform.restore(row.db_id, lsn=LSN)
    await platform.delete(row.db_id, force=True)
    await platform.is_gone(row.db_id)
    (op,) = await platform.sql("select status from operations where op_id = %s", op_id)
    assert op["status"] in ("failed", "succeeded")
