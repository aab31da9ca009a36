"""Deleted databases that can come back, as the Control Plane carries it out: what stays of one, for how long, and what ends it before."""

from __future__ import annotations

import asyncio

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from integration.control_plane.databases.test_branching import kept_platform, pins
from kit.waits import until
from spg99.control_plane.databases import undeleting
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.records.actors import SYSTEM
from spg99.errors import Conflict, LimitExceeded, NotFound, WrongState
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import TaskKind

WEEK = 7 * 86_400


async def undelete(platform: InProcessPlatform, db_id: str, name: str | None = None) -> DatabaseRow:
    async with platform.locked(db_id) as (tx, row):
        return await undeleting.undelete(tx, row, name or row.name, SYSTEM, platform.clock.now())


async def deleted(platform: InProcessPlatform, name: str = "app") -> DatabaseRow:
    row = await platform.create_used(name)
    await platform.delete(row.db_id)
    return await platform.reaches(row.db_id, "deleted")


async def test_one_that_was_deleted_comes_back_as_it_was_and_wakes_with_its_history(
    platform: InProcessPlatform,
) -> None:
    agent, gateway = await kept_platform(platform, undelete_seconds=WEEK), await Gateway.enroll(platform)
    row = await platform.create_used("app", size="L2")
    op_id = await platform.delete(row.db_id)
    gone = await platform.reaches(row.db_id, "deleted")
    (op,) = await platform.sql("select status from operations where op_id = %s", op_id)
    assert op["status"] == "succeeded" and gone.undelete_until is not None
    assert gone.undelete_until.timestamp() == pytest.approx(platform.clock.now().timestamp() + WEEK, abs=60)
    with pytest.raises(NotFound):
        await gateway.connect("app")
    back = await undelete(platform, row.db_id)
    assert (back.state, back.undelete_until, back.timeline_id, back.size) == ("stopped", None, row.timeline_id, "L2")
    checkout = await gateway.connect("app")
    start = agent.orders(TaskKind.COMPUTE_START)[-1].payload
    assert (checkout.db_id, start["timeline_id"], start["makes_timeline"]) == (row.db_id, row.timeline_id, False)
    assert start["writer_term"] == row.writer_term + 1
    assert agent.orders(TaskKind.TIMELINE_DELETE) == []


async def test_who_runs_is_ended_as_for_a_sleep_and_a_restore_that_waits_comes_to_nothing(
    platform: InProcessPlatform,
) -> None:
    agent, gateway = await kept_platform(platform, undelete_seconds=WEEK), await Gateway.enroll(platform)
    row = await platform.create("app")
    await gateway.connect()
    await gateway.report(row.db_id, 3)
    await platform.sql(
        'update databases set restore = \'{"timeline_id": "tl_x", "database_name": "app", "point": {}}\' where db_id = %s',
        row.db_id,
    )
    await platform.delete(row.db_id, force=True)
    gone = await platform.reaches(row.db_id, "deleted")
    (stop,) = agent.orders(TaskKind.COMPUTE_STOP)
    assert (stop.payload["mode"], stop.payload["only_if_unused"]) == ("fast", False)
    assert agent.running == {} and gone.restore is None and gone.compute_id is None


async def test_while_the_deletion_is_under_way_it_does_not_come_back_and_after_that_only_once(
    platform: InProcessPlatform,
) -> None:
    agent, gateway = await kept_platform(platform, undelete_seconds=WEEK), await Gateway.enroll(platform)
    row = await platform.create("app")
    await gateway.connect()
    may_go_on = asyncio.Event()

    async def slow(_: Task) -> TaskResult | None:
        await may_go_on.wait()
        return None

    agent.hooks[TaskKind.COMPUTE_STOP] = slow
    await platform.delete(row.db_id, force=True)
    with pytest.raises(Conflict, match="still under way"):
        await undelete(platform, row.db_id)
    may_go_on.set()
    await platform.reaches(row.db_id, "deleted")
    found = await asyncio.gather(*(undelete(platform, row.db_id) for _ in range(2)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["Conflict", "DatabaseRow"]


async def test_when_the_time_is_over_it_cannot_come_back_and_its_data_go(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform, undelete_seconds=WEEK)
    gone = await deleted(platform)
    expiry = platform.plane.life.expiry
    platform.clock.advance(seconds=WEEK - 60)
    await agent.heartbeat()
    await expiry.turn()
    assert (await platform.reaches(gone.db_id, "deleted")).timeline_id == gone.timeline_id
    platform.clock.advance(seconds=120)
    with pytest.raises(NotFound, match="could come back until"):
        await undelete(platform, gone.db_id)
    await agent.heartbeat()
    await expiry.turn()
    await platform.is_gone(gone.db_id)
    (order,) = agent.orders(TaskKind.TIMELINE_DELETE)
    assert order.payload["timeline_id"] == gone.timeline_id
    told = await platform.sql("select event_type from outbox_events where subject = %s", gone.db_id)
    assert [one["event_type"] for one in told].count("database.deleted") == 1


async def test_a_clock_that_has_stepped_ends_nothing(platform: InProcessPlatform) -> None:
    await kept_platform(platform, undelete_seconds=WEEK)
    gone = await deleted(platform)
    platform.clock.step(seconds=2 * WEEK)
    await platform.plane.life.expiry.turn()
    await platform.advance(1)
    assert (await platform.reaches(gone.db_id, "deleted")).db_id == gone.db_id


async def test_what_is_still_needed_when_the_time_is_over_stays_until_nobody_needs_it(
    platform: InProcessPlatform,
) -> None:
    agent = await kept_platform(platform, undelete_seconds=60)
    gone = await deleted(platform)
    pin = "insert into timeline_pins (timeline_id, owner_id, reason, at) values (%s, 'snap_1', 'snapshot', now())"
    await platform.sql(pin, gone.timeline_id)
    platform.clock.advance(seconds=120)
    await agent.heartbeat()
    expiry = platform.plane.life.expiry
    await expiry.turn()
    assert (await platform.row(gone.db_id)).state == "deleted"  # type: ignore[union-attr]
    await platform.sql("delete from timeline_pins")
    await expiry.turn()
    await platform.is_gone(gone.db_id)


@pytest.mark.parametrize("safekeepers", [0, 1])
async def test_without_safekeepers_or_a_time_to_come_back_it_is_as_it_was(
    platform: InProcessPlatform, safekeepers: int
) -> None:
    agent = await kept_platform(platform, undelete_seconds=0 if safekeepers else WEEK)
    await platform.set_policy("storage.safekeepers", safekeepers)
    row = await platform.create_used("app")
    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)
    assert len(agent.orders(TaskKind.TIMELINE_DELETE)) == 1


async def test_the_name_is_free_and_who_comes_back_takes_another(platform: InProcessPlatform) -> None:
    await kept_platform(platform, undelete_seconds=WEEK)
    gateway = await Gateway.enroll(platform)
    first, second = await deleted(platform), await deleted(platform)
    taken = await platform.create("app")
    with pytest.raises(Conflict, match="another database called 'app'"):
        await undelete(platform, first.db_id)
    assert (await platform.reaches(first.db_id, "deleted")).name == "app"
    back = await undelete(platform, first.db_id, "old")
    assert (back.name, back.name_in_files) == ("old", "app")
    assert ((await gateway.connect("old")).db_id, (await gateway.connect("app")).db_id) == (first.db_id, taken.db_id)
    # Deleted once more, it comes back by the name that it has by then.
    await platform.delete(first.db_id, force=True)
    await platform.reaches(first.db_id, "deleted")
    assert (await undelete(platform, first.db_id)).name_in_files == "app"
    assert (await platform.row(second.db_id)).state == "deleted"  # type: ignore[union-attr]


async def test_what_is_deleted_does_not_count_and_who_comes_back_does(platform: InProcessPlatform) -> None:
    await kept_platform(platform, undelete_seconds=WEEK)
    gone = await deleted(platform)
    await platform.set_policy("limits.databases_max", 1)
    taken = await platform.create("other")
    with pytest.raises(LimitExceeded):
        await undelete(platform, gone.db_id)
    await platform.delete(taken.db_id)
    assert (await undelete(platform, gone.db_id)).state == "stopped"


async def test_all_of_a_tenant_goes_for_good_with_what_was_deleted_before_or_is_being_so(
    platform: InProcessPlatform,
) -> None:
    agent = await kept_platform(platform, undelete_seconds=WEEK)
    gone, row = await deleted(platform), await platform.create_used("other")
    going = await platform.create_used("going")
    await platform.want_running(going.db_id)
    await platform.reaches(going.db_id, "ready", "idle")
    may_go_on = asyncio.Event()

    async def slow(_: Task) -> TaskResult | None:
        await may_go_on.wait()
        return None

    agent.hooks[TaskKind.COMPUTE_STOP] = slow
    await platform.delete(going.db_id, force=True)
    await platform.delete_all(force=True)
    assert (await platform.reaches(going.db_id, "deleting")).leaves is None
    may_go_on.set()
    for one in (gone, row, going):
        await platform.is_gone(one.db_id)
    assert await pins(platform) == []
    removed = {order.payload["timeline_id"] for order in agent.orders(TaskKind.TIMELINE_DELETE)}
    assert removed == {gone.timeline_id, row.timeline_id, going.timeline_id}


async def test_what_has_expired_can_come_back_and_then_stays(platform: InProcessPlatform) -> None:
    from datetime import timedelta

    agent: Agent = await kept_platform(platform, undelete_seconds=WEEK)
    row = await platform.create_used("app", expires_at=platform.clock.now() + timedelta(minutes=1))
    platform.clock.advance(seconds=120)
    await agent.heartbeat()
    expiry = platform.plane.life.expiry
    await expiry.turn()
    await platform.reaches(row.db_id, "deleted")
    assert (await undelete(platform, row.db_id)).expires_at is None
    await expiry.turn()
    assert (await platform.row(row.db_id)).state == "stopped"  # type: ignore[union-attr]


async def test_a_second_control_plane_or_a_node_that_comes_back_changes_nothing_of_it(
    platform: InProcessPlatform,
) -> None:
    agent = await kept_platform(platform, undelete_seconds=WEEK)
    gone = await deleted(platform)
    plane = await platform.another_plane()
    await plane.life.reconciler.reconcile_one(gone.db_id)
    await agent.heartbeat()
    after = await platform.row(gone.db_id)
    assert after is not None and (after.state, after.undelete_until) == ("deleted", gone.undelete_until)

    async def still() -> bool:
        (line,) = await platform.sql("select state from timelines where timeline_id = %s", gone.timeline_id)
        return bool(line["state"] == "present")

    await until("its timeline to be there", still)


async def test_what_was_deleted_is_neither_changed_nor_started_nor_stopped_nor_restored(
    platform: InProcessPlatform,
) -> None:
    await kept_platform(platform, undelete_seconds=WEEK)
    gone = await deleted(platform)
    for attempt in (
        platform.change(gone.db_id, idle_timeout_seconds=7),
        platform.want_running(gone.db_id),
        platform.want_stopped(gone.db_id),
        platform.restore(gone.db_id, lsn="0/1800000"),
    ):
        with pytest.raises((WrongState, Conflict)):
            await attempt
    after = await platform.row(gone.db_id)
    assert after is not None and (after.state, after.target_scale, after.version) == ("deleted", 0, gone.version)
