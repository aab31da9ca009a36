"""The snapshots of schedules as a Control Plane makes them: of what sleeps, runs, is restored, was never started; by one of several, once, whoever is killed or away."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform, Plane
from integration.control_plane.databases.scripted import Agent, Gateway, Sessions
from integration.control_plane.databases.test_branching import END_LSN, kept_platform, pins
from integration.control_plane.databases.test_histories import enrolled as pageserver_enrolled
from kit.waits import until
from spg99.control_plane.databases import snapshot_schedules
from spg99.control_plane.records.actors import SYSTEM
from spg99.errors import Conflict
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.pageserver import MomentVerified, PageserverHeartbeat
from spg99.protocol.tasks import TaskKind
from spg99.resources import SnapshotScheduleSpec

DAY = 86400.0


async def schedule(platform: InProcessPlatform, database: str = "app", **spec: Any) -> None:
    values = {"tenant": "acme", "name": "nightly", "database": database, "cron": "@daily"} | spec
    async with platform.store.transaction() as tx:
        wanted = SnapshotScheduleSpec(**values)
        await snapshot_schedules.create(tx, platform.tenant, wanted, SYSTEM, now=platform.clock.now())


async def row(platform: InProcessPlatform) -> dict[str, Any]:
    (found,) = await platform.sql("select * from snapshot_schedules")
    return found


async def make_due(platform: InProcessPlatform) -> None:
    now = platform.clock.now()
    await platform.sql("update snapshot_schedules set next_snapshot_at = %s, attempt_at = %s, claim = null", now, now)


async def snapshots(platform: InProcessPlatform) -> list[dict[str, Any]]:
    return await platform.sql("select * from snapshots order by created_at")


async def turn(platform: InProcessPlatform, plane: Plane | None = None) -> float:
    return await (plane or platform.plane).life.scheduled_snapshots.turn()


async def test_what_sleeps_gets_one_a_day_and_is_not_woken(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    source = await platform.create_used("app")
    await schedule(platform, keep=2)
    await turn(platform)
    assert await snapshots(platform) == []
    starts = len(agent.orders(TaskKind.COMPUTE_START))
    for number in range(1, 5):
        platform.clock.advance(seconds=DAY)
        await turn(platform)
        await turn(platform)
        made = await snapshots(platform)
        assert len(made) == min(number, 2)
    assert {one["origin"]["point"]["end_of_term"] for one in made} == {source.writer_term}
    assert {one["owner_id"] for one in await pins(platform)} == {one["snapshot_id"] for one in made}
    after = await platform.row(source.db_id)
    assert after is not None and after.state == "stopped"
    assert len(agent.orders(TaskKind.COMPUTE_START)) == starts and not agent.orders(TaskKind.TIMELINE_LOCATE)
    at = await row(platform)
    assert at["last_snapshot_at"] is not None and at["claim"] is None
    assert timedelta(0) < at["next_snapshot_at"] - platform.clock.now() <= timedelta(days=1)
    told = await platform.sql("select event_type from outbox_events where event_type like 'snapshot%%' order by 1")
    counts = {kind: [one["event_type"] for one in told].count(kind) for kind in {one["event_type"] for one in told}}
    assert counts["snapshot.created"] == 4 and counts["snapshot.deleted"] == 2


async def comes_to_be(platform: InProcessPlatform, agent: Agent, plane: Plane | None = None) -> None:
    """A busy machine's node may not answer in time: then it is made a minute later."""

    async def was_made() -> bool:
        await agent.heartbeat()
        await turn(platform, plane)
        platform.clock.advance(seconds=61)
        return (await row(platform))["last_snapshot_at"] is not None

    await until("a snapshot", was_made)


async def test_a_running_one_is_asked_for_its_place(platform: InProcessPlatform) -> None:
    await comes_to_be(platform, await running(platform))
    (made,) = await snapshots(platform)
    assert made["origin"]["point"]["lsn"] == END_LSN


async def test_what_was_missed_is_made_up_for_by_one(platform: InProcessPlatform) -> None:
    await kept_platform(platform)
    await platform.create_used("app")
    await schedule(platform, cron="@hourly")
    platform.clock.advance(seconds=30 * DAY)
    for _ in range(3):
        await turn(platform)
    assert len(await snapshots(platform)) == 1


async def test_of_several_control_planes_one_makes_it(platform: InProcessPlatform) -> None:
    await kept_platform(platform)
    await platform.create_used("app")
    planes = [platform.plane, await platform.another_plane(), await platform.another_plane()]
    for number in range(3):
        await schedule(platform, name=f"s{number}")
    for number in range(1, 5):
        platform.clock.advance(seconds=DAY)
        await asyncio.gather(*(turn(platform, plane) for plane in planes for _ in "12"))
        counts = await platform.sql("select schedule_id, count(*) as n from snapshots group by 1")
        assert [one["n"] for one in counts] == [number] * 3


def asked(agent: Agent) -> tuple[asyncio.Event, asyncio.Event]:
    """From now on the node does not answer at once: when it was asked, and that it may answer."""
    is_asked, may_answer = asyncio.Event(), asyncio.Event()
    answers = agent.hooks[TaskKind.TIMELINE_LOCATE]

    async def slow(task: Task) -> TaskResult | None:
        is_asked.set()
        await may_answer.wait()
        return await answers(task)

    agent.hooks[TaskKind.TIMELINE_LOCATE] = slow
    return is_asked, may_answer


async def running(platform: InProcessPlatform) -> Agent:
    """A database in use with a schedule that is due."""
    agent = await kept_platform(platform)
    await platform.create("app")
    await (await Gateway.enroll(platform)).connect()
    await schedule(platform)
    await make_due(platform)  # not a day later: nobody would be in it any more, and it would sleep
    return agent


async def test_one_that_was_killed_while_it_asked_has_made_none_and_another_makes_one(
    platform: InProcessPlatform,
) -> None:
    agent = await running(platform)
    is_asked, may_answer = asked(agent)
    other = await platform.another_plane()
    attempt = asyncio.create_task(turn(platform))
    await is_asked.wait()
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    may_answer.set()
    await turn(platform, other)
    assert await snapshots(platform) == []  # it is the first one's still, for all that is known
    platform.clock.advance(seconds=61)
    await comes_to_be(platform, agent, other)
    assert len(await snapshots(platform)) == 1


async def test_an_answer_that_comes_when_another_is_at_it_counts_for_nothing(platform: InProcessPlatform) -> None:
    agent = await running(platform)
    is_asked, may_answer = asked(agent)
    attempt = asyncio.create_task(turn(platform))
    await is_asked.wait()
    await platform.sql("update snapshot_schedules set claim = 'claim_of_another'")
    may_answer.set()
    await attempt
    assert await snapshots(platform) == [] and (await row(platform))["claim"] == "claim_of_another"


@pytest.mark.parametrize("commits", [False, True])
async def test_a_commit_whose_answer_is_lost_is_one_snapshot(platform: InProcessPlatform, commits: bool) -> None:
    await kept_platform(platform)
    await platform.create_used("app")
    await schedule(platform)
    platform.clock.advance(seconds=DAY)
    for nth in range(1, 5):
        await platform.sql("delete from timeline_pins")
        await platform.sql("delete from snapshots")
        await make_due(platform)
        platform.plane.store.cut(nth, commits=commits)
        await asyncio.gather(turn(platform), return_exceptions=True)
        platform.plane.store.cut(10**9, commits=False)
        platform.clock.advance(seconds=61)
        await turn(platform)
        assert len(await snapshots(platform)) == 1, nth


async def test_a_node_that_is_away_is_said_and_it_is_tried_again_until_it_is_back(platform: InProcessPlatform) -> None:
    agent = await running(platform)
    agent.kill()
    platform.clock.advance(seconds=40)
    due_at = (await row(platform))["next_snapshot_at"]
    await turn(platform)
    failed = await row(platform)
    assert "has not been heard of" in failed["last_error"] and failed["next_snapshot_at"] == due_at
    assert await snapshots(platform) == []
    await turn(platform)  # not at once
    agent.start()
    platform.clock.advance(seconds=61)
    await comes_to_be(platform, agent)
    after = await row(platform)
    assert after["last_error"] is None and len(await snapshots(platform)) == 1


async def test_what_was_never_started_has_nothing_to_keep_and_that_is_said(platform: InProcessPlatform) -> None:
    await kept_platform(platform)
    fresh = await platform.create("app")
    await schedule(platform)
    await make_due(platform)
    await turn(platform)
    at = await row(platform)
    assert "was never started" in at["last_error"] and await snapshots(platform) == []
    assert at["next_snapshot_at"] > platform.clock.now()
    assert (await platform.row(fresh.db_id)).state == "stopped"  # type: ignore[union-attr]
    await platform.want_running(fresh.db_id)
    await platform.reaches(fresh.db_id, "ready", "idle")
    await make_due(platform)
    await turn(platform)
    assert (await row(platform))["last_error"] is None and len(await snapshots(platform)) == 1


async def test_a_branch_that_was_never_started_is_kept_where_it_begins(platform: InProcessPlatform) -> None:
    await kept_platform(platform)
    source = await platform.create_used("app")
    await platform.branch("preview", "app")
    await schedule(platform, "preview")
    platform.clock.advance(seconds=DAY)
    await turn(platform)
    (made,) = await snapshots(platform)
    assert (made["database"], made["origin"]["timeline_id"]) == ("preview", source.timeline_id)


async def test_while_a_database_goes_back_it_waits_and_keeps_what_it_is_then(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    source = await platform.create_used("app")
    await schedule(platform)
    may_go_on = asyncio.Event()

    async def slow(task: Task) -> TaskResult | None:
        await may_go_on.wait()
        return None

    agent.hooks[TaskKind.COMPUTE_START] = slow
    await platform.want_running(source.db_id)
    await platform.reaches(source.db_id, "booting")
    await platform.restore(source.db_id, lsn="0/1800000")
    platform.clock.advance(seconds=DAY)
    await agent.heartbeat()
    await turn(platform)
    waiting = await row(platform)
    assert (await platform.row(source.db_id)).restore is not None  # type: ignore[union-attr]
    assert waiting["last_error"] is None and await snapshots(platform) == []
    may_go_on.set()

    async def is_back() -> bool:
        now = await platform.row(source.db_id)
        return now is not None and now.restore is None

    await until("the restore", is_back)
    platform.clock.advance(seconds=15)
    await turn(platform)
    (made,) = await snapshots(platform)
    assert made["origin"]["point"]["lsn"] == 0x1800000 and made["db_id"] == source.db_id


async def test_a_clock_that_was_ahead_for_a_while_stops_nothing(platform: InProcessPlatform) -> None:
    await kept_platform(platform)
    await platform.create_used("app")
    await schedule(platform)
    platform.clock.step(seconds=400 * DAY)
    await turn(platform)
    assert len(await snapshots(platform)) == 1  # it seemed to be due
    platform.clock.step(seconds=-400 * DAY)
    await turn(platform)
    platform.clock.advance(seconds=DAY)
    await turn(platform)
    assert len(await snapshots(platform)) == 2
    # And so for one that begins only now.
    await platform.sql("update snapshot_schedules set next_snapshot_at = now() + interval '400 days', attempt_at = now() + interval '400 days'")  # fmt: skip
    other = await platform.another_plane()
    await turn(platform, other)
    assert (await row(platform))["next_snapshot_at"] <= platform.clock.now() + timedelta(days=1)


async def test_many_that_are_due_at_once_are_all_made(platform: InProcessPlatform) -> None:
    await kept_platform(platform)
    await platform.create_used("app")
    for number in range(20):
        await schedule(platform, name=f"s{number}")
    platform.clock.advance(seconds=DAY)
    while await turn(platform) == 0.0:
        pass
    assert len(await snapshots(platform)) == 20
    assert len({one["name"] for one in await snapshots(platform)}) == 20


async def test_a_tenant_that_stays_because_it_is_in_use_has_all_that_was_kept(platform: InProcessPlatform) -> None:
    """Who uses it is known only when its compute was asked, after a commit."""
    agent = await kept_platform(platform)
    source = await platform.create("app")
    gateway = await Gateway.enroll(platform)
    await gateway.connect()
    await schedule(platform)
    await make_due(platform)
    await turn(platform)
    await gateway.report(source.db_id, 0)
    Sessions(agent, 3)  # of which no Gateway has told
    with pytest.raises(Conflict):
        await platform.delete_all()
    assert len(await snapshots(platform)) == 1 and (await row(platform))["name"] == "nightly"
    await platform.delete_all(force=True)
    await platform.is_gone(source.db_id)
    assert await snapshots(platform) == [] and await platform.sql("select * from snapshot_schedules") == []


async def test_what_is_to_be_verified_is_asked_of_the_pageserver_until_it_has_said_what_came_of_it(
    platform: InProcessPlatform,
) -> None:
    await kept_platform(platform)
    pageserver = await pageserver_enrolled(platform)
    source = await platform.create_used("app")
    await schedule(platform, name="plain")
    await schedule(platform, name="read", verify=True, keep=2)

    async def heartbeat(*verified: MomentVerified) -> list[str]:
        answer = await pageserver.pageserver_heartbeat(PageserverHeartbeat(verified=list(verified)))
        assert all(one.origin.timeline_id == source.timeline_id for one in answer.verify)
        return [one.snapshot_id for one in answer.verify]

    async def newest() -> dict[str, Any]:
        found = await platform.sql("select * from snapshots where name like 'read%%' order by created_at desc limit 1")
        return found[0]

    await make_due(platform)
    await turn(platform)
    first = await newest()
    assert await heartbeat() == await heartbeat() == [first["snapshot_id"]]
    # Nobody can tell yet: it says why, and is asked for again.
    later = MomentVerified(snapshot_id=first["snapshot_id"], problem="Too few safekeepers answer.", is_over=False)
    assert await heartbeat(later) == [first["snapshot_id"]]
    assert (await newest())["last_error"] == "Too few safekeepers answer."
    right = MomentVerified(snapshot_id=first["snapshot_id"], verified_at=platform.clock.now())
    assert await heartbeat(right) == []
    after = await newest()
    assert after["last_verified_at"] == right.verified_at and after["last_error"] is None
    # Said once more, after its answer was lost: nothing changes, and one that is gone is nobody's.
    await heartbeat(right, MomentVerified(snapshot_id="snap_gone", problem="?"))
    # A damaged one says so, and takes no place of the whole one.
    ids = []
    for _ in range(4):
        platform.clock.advance(seconds=1)
        await make_due(platform)
        await turn(platform)
        damaged = await newest()
        ids.append(damaged["snapshot_id"])
        wrong = MomentVerified(snapshot_id=damaged["snapshot_id"], problem="Pages are damaged: one.")
        assert await heartbeat(wrong) == []
    left = {
        one["snapshot_id"] for one in await platform.sql("select snapshot_id from snapshots where name like 'read%%'")
    }
    assert left == {first["snapshot_id"], *ids[1:]}
    told = await platform.sql("select event_type from outbox_events where event_type like '%%verified' order by 1")
    assert [one["event_type"] for one in told] == ["snapshot.unverified"] * 5 + ["snapshot.verified"]
