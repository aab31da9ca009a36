"""Branches as the Control Plane writes them down: where one begins, what its first start is told, what stays for it, when its time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from integration.control_plane.databases.test_histories import enrolled as pageserver_enrolled
from integration.control_plane.databases.test_safekeepers import enrolled, kept_of
from kit.waits import until
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.errors import BadRequest, Conflict, Unavailable
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import TaskKind

FROM_LSN, END_LSN = 0x1000000, 0x2000000


async def kept_platform(platform: InProcessPlatform, *, undelete_seconds: int = 0) -> Agent:
    """With a safekeeper, a pageserver and an agent; unless a test says otherwise, what is deleted is gone."""
    await enrolled(platform)
    await pageserver_enrolled(platform)
    await platform.set_policy("storage.safekeepers", 1)
    await platform.set_policy("storage.undelete_seconds", undelete_seconds)
    agent = await Agent.enroll(platform)

    async def locate(task: Task) -> TaskResult:
        result = {
            "timeline_id": task.payload["timeline_id"],
            "from_lsn": FROM_LSN,
            "from_time": (platform.clock.now() - timedelta(hours=1)).isoformat(),
            "end_lsn": END_LSN,
        }
        return TaskResult(succeeded=True, attempt=task.attempt, result=result)

    agent.hooks[TaskKind.TIMELINE_LOCATE] = locate
    return agent


async def pins(platform: InProcessPlatform) -> list[dict[str, Any]]:
    return await platform.sql("select timeline_id, owner_id, reason, lsn from timeline_pins order by owner_id")


async def first_start(platform: InProcessPlatform, agent: Agent, row: DatabaseRow) -> dict[str, Any]:
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "ready", "idle")
    (order,) = [task for task in agent.orders(TaskKind.COMPUTE_START) if task.payload["db_id"] == row.db_id]
    return order.payload


async def test_a_branch_of_a_sleeping_database_is_a_row_and_its_first_start_knows_where_it_begins(
    platform: InProcessPlatform,
) -> None:
    agent = await kept_platform(platform)
    source = await platform.create_used("app")
    branch = await platform.branch("preview", "app")
    assert branch.state == "stopped" and not agent.orders(TaskKind.TIMELINE_LOCATE)
    assert [(one["timeline_id"], one["owner_id"]) for one in await pins(platform)] == [
        (source.timeline_id, branch.db_id)
    ]
    origin = (await first_start(platform, agent, branch))["origin"]
    (kept, *_) = kept_of(agent, TaskKind.COMPUTE_START)
    point = {"lsn": None, "time": None, "end_of_term": source.writer_term}
    assert origin == {
        "timeline_id": source.timeline_id,
        "point": point,
        "database_name": "app",
        "kept": kept,
        "schema_only": False,
    }
    assert await pins(platform) == []  # from its first image on it needs nobody
    await platform.want_stopped(branch.db_id)
    await platform.reaches(branch.db_id, "stopped")
    await platform.want_running(branch.db_id)
    await platform.reaches(branch.db_id, "ready", "idle")
    assert agent.orders(TaskKind.COMPUTE_START)[-1].payload["origin"] is None


async def test_now_is_asked_of_the_node_while_the_source_runs(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    source, gateway = await platform.create("app"), await Gateway.enroll(platform)
    await gateway.connect()
    branch = await platform.branch("preview", "app")
    assert branch.branch_lsn == END_LSN
    assert (await platform.row(source.db_id)).state == "ready"  # type: ignore[union-attr]
    assert (await first_start(platform, agent, branch))["origin"]["point"]["lsn"] == END_LSN


async def test_a_point_outside_of_the_window_is_refused_and_the_window_named(platform: InProcessPlatform) -> None:
    await kept_platform(platform)
    await platform.create_used("app")
    for wrong in ("0/FFFFFF", "0/2000001"):
        with pytest.raises(BadRequest) as refused:
            await platform.branch("preview", "app", source_lsn=wrong)
        assert "from 0/1000000 to 0/2000000" in refused.value.fields["source_lsn"]
    assert (await platform.branch("at_place", "app", source_lsn="0/1800000")).branch_lsn == 0x1800000
    now = platform.clock.now()
    for moment, words in ((now - timedelta(hours=2), "before the history"), (now + timedelta(hours=1), "the future")):
        with pytest.raises(BadRequest) as refused:
            await platform.branch("preview", "app", source_time=moment)
        assert words in refused.value.fields["source_time"]
    assert (await platform.branch("at_moment", "app", source_time=now)).branch_lsn is None


async def test_without_safekeepers_it_says_what_to_set(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    await platform.create("never_started")
    await platform.create_used("app")
    for name in ("app", "never_started"):
        with pytest.raises(BadRequest) as refused:
            await platform.branch("preview", name)
        assert "storage.safekeepers" in refused.value.fields["source_database"]
    assert await platform.sql("select from databases where name = 'preview'") == []


async def test_a_source_that_was_never_started_gives_what_it_would_have_itself(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    await platform.create("app")
    empty = await platform.branch("empty", "app")
    assert (await first_start(platform, agent, empty))["origin"] is None
    branch = await platform.branch("preview", "empty")
    twig = await platform.branch("twig", "preview")
    origins = [(await first_start(platform, agent, one))["origin"] for one in (branch, twig)]
    assert origins[0] == origins[1] and origins[0]["timeline_id"] == empty.timeline_id
    await platform.create("other")
    with pytest.raises(BadRequest, match="not allowed") as refused:
        await platform.branch("late", "other", source_time=platform.clock.now())
    assert "no history yet" in refused.value.fields["source_time"]


async def test_a_source_stays_while_a_branch_that_was_never_started_needs_it(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    source = await platform.create_used("app")
    branch = await platform.branch("preview", "app")
    for force in (False, True):
        with pytest.raises(Conflict, match="'preview' begins in it and was never started"):
            await platform.delete(source.db_id, force=force)
    await first_start(platform, agent, branch)
    await platform.delete(source.db_id)
    await platform.is_gone(source.db_id)
    with pytest.raises(AssertionError):
        await platform.branch("late", "app")
    # And one that goes needs nothing any more; all of a tenant go at once.
    twig = await platform.branch("twig", "preview")
    await platform.delete(twig.db_id)
    assert await pins(platform) == []
    await platform.branch("twig", "preview")
    await platform.delete_all(force=True)
    await platform.is_gone(branch.db_id)


async def test_a_branch_of_what_is_being_deleted_or_was_exchanged_meanwhile_is_refused(
    platform: InProcessPlatform,
) -> None:
    agent = await kept_platform(platform)
    source = await platform.create_used("app")

    async def never(task: Task) -> TaskResult | None:
        return TaskResult(succeeded=False, attempt=task.attempt, error="The disk is away.")

    agent.hooks[TaskKind.TIMELINE_DELETE] = never
    await platform.delete(source.db_id)
    with pytest.raises(Conflict, match="is being deleted"):
        await platform.branch("preview", "app")


async def test_a_node_that_is_silent_or_of_an_older_version_cannot_be_asked(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    await platform.create("app")
    await (await Gateway.enroll(platform)).connect()
    agent.makes_branches = False
    await agent.heartbeat()
    with pytest.raises(Unavailable, match="older version"):
        await platform.branch("preview", "app")
    agent.makes_branches = True
    await agent.heartbeat()
    agent.kill()
    platform.clock.advance(seconds=60)
    with pytest.raises(Unavailable, match="has not been heard of"):
        await platform.branch("preview", "app")
    # Another one can tell as well: it asks the same safekeepers and the same store.
    other = await Agent.enroll(platform, "other")
    other.hooks = agent.hooks
    assert (await platform.branch("preview", "app")).branch_lsn == END_LSN
    assert len(other.orders(TaskKind.TIMELINE_LOCATE)) == 1


async def test_an_agent_of_an_older_version_gets_no_branch(platform: InProcessPlatform) -> None:
    """It would make an empty database."""
    agent = await kept_platform(platform)
    await platform.create_used("app")
    branch = await platform.branch("preview", "app")
    agent.makes_branches = False
    await agent.heartbeat()
    await platform.want_running(branch.db_id)

    async def says_why() -> bool:
        row = await platform.row(branch.db_id)
        return row is not None and row.state_reason is not None

    await until("the reason to be told", says_why)
    assert len(agent.orders(TaskKind.COMPUTE_START)) == 1


async def test_a_branch_without_rows_is_ordered_as_such_once_and_goes_to_no_agent_that_would_copy_them(
    platform: InProcessPlatform,
) -> None:
    agent = await kept_platform(platform)
    await platform.create_used("app")
    agent.makes_schema_branches = False
    await agent.heartbeat()
    empty = await platform.branch("empty", "app", schema_only=True)
    # What begins in one that was not started yet begins where that does, and has no more than that.
    twig = await platform.branch("twig", "empty")
    await platform.want_running(empty.db_id)

    async def says_why() -> bool:
        row = await platform.row(empty.db_id)
        return row is not None and row.state_reason is not None

    await until("the reason to be told", says_why)
    assert len(agent.orders(TaskKind.COMPUTE_START)) == 1
    agent.makes_schema_branches = True
    await agent.heartbeat()
    for row in (empty, twig):
        assert (await first_start(platform, agent, row))["origin"]["schema_only"] is True
    # It has rows of its own from then on, and they are its branches' and come back with a restore.
    full = await platform.branch("full", "empty")
    assert (await first_start(platform, agent, full))["origin"]["schema_only"] is False
    await platform.want_stopped(empty.db_id)
    await platform.reaches(empty.db_id, "stopped")
    await platform.restore(empty.db_id, lsn="0/1800000")
    await until("another history", lambda: other_history(platform, empty))
    await platform.want_running(empty.db_id)
    await platform.reaches(empty.db_id, "ready", "idle")
    start = agent.orders(TaskKind.COMPUTE_START)[-1].payload
    assert start["origin"]["timeline_id"] == empty.timeline_id and start["origin"]["schema_only"] is False
    assert (await platform.sql("select schema_only from databases where name like 'empty%%'")) == [
        {"schema_only": True}
    ] * 2


async def other_history(platform: InProcessPlatform, before: DatabaseRow) -> bool:
    row = await platform.row(before.db_id)
    return row is not None and row.timeline_id != before.timeline_id


async def test_what_has_had_its_time_is_deleted_unless_it_is_protected_or_used(platform: InProcessPlatform) -> None:
    agent = await kept_platform(platform)
    await platform.create_used("app")
    soon = platform.clock.now() + timedelta(minutes=1)
    asleep, held, used = [
        await platform.branch(name, "app", expires_at=soon, deletion_protection=name == "held")
        for name in ("asleep", "held", "used")
    ]
    gateway = await Gateway.enroll(platform)
    await gateway.connect("used")
    await gateway.report(used.db_id, 1)
    expiry = platform.plane.life.expiry
    await expiry.turn()
    assert await platform.row(asleep.db_id) is not None
    platform.clock.advance(seconds=61)
    await agent.heartbeat()
    await gateway.report(used.db_id, 1)
    await expiry.turn()
    await platform.is_gone(asleep.db_id)
    assert (await platform.row(held.db_id)).state == "stopped"  # type: ignore[union-attr]
    assert (await platform.row(used.db_id)).state == "ready"  # type: ignore[union-attr]
    await gateway.report(used.db_id, 0)

    async def gone() -> bool:
        await expiry.turn()
        return await platform.row(used.db_id) is None

    await until("it is deleted once nobody uses it", gone)
