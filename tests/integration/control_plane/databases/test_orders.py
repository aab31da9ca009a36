"""Tasks on their way to agents and back: to the right one, once, signed, and again when an answer was lost."""

from __future__ import annotations

import asyncio
import time

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent
from kit.waits import until
from spg99.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from spg99.protocol import Enrolment
from spg99.protocol.node import LeaseTasks, Task, TaskResult


async def lease(agent: Agent, *, held: list[int] | None = None, wait_seconds: int = 0) -> list[Task]:
    return (await agent.client.lease_tasks(LeaseTasks(wait_seconds=wait_seconds, held_task_ids=held))).tasks


async def one_task(platform: InProcessPlatform, agent: Agent) -> Task:
    """The order to start a database, leased."""
    row = await platform.create()
    await platform.want_running(row.db_id)

    async def there() -> list[Task]:
        return await lease(agent)

    (task,) = await until("the order is queued", there)
    assert task.payload["timeline_id"] == row.timeline_id
    return task  # type: ignore[no-any-return]


async def test_a_result_from_another_identity_is_refused(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    task = await one_task(platform, agent)
    stranger = await Agent.enroll(platform, "node-2", start=False)
    with pytest.raises(Forbidden, match="another identity"):
        await stranger.finish(task, succeeded=True)
    assert await lease(stranger) == []
    await agent.finish(task, succeeded=True, result=agent.result_of_start(task))
    await platform.reaches(str((await platform.sql("select db_id from databases"))[0]["db_id"]), "ready", "idle")


async def test_a_gateway_and_a_nobody_are_no_agents(platform: InProcessPlatform) -> None:
    for token in ("spg99_node_00_00", None):
        with pytest.raises(Unauthorized):
            await platform.plane.client(token).lease_tasks(LeaseTasks(wait_seconds=0))


async def test_an_unknown_task_has_no_result(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    with pytest.raises(NotFound):
        await agent.client.finish_task(4711, TaskResult(succeeded=True, attempt=1))


async def test_a_start_that_does_not_say_where_is_no_result(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    row = await platform.create()
    async with asyncio.timeout(5):
        await platform.want_running(row.db_id)
        (start,) = await lease(agent, wait_seconds=5)
    with pytest.raises(BadRequest, match=r"compute.start is not valid: .*backend_addr"):
        await agent.finish(start, succeeded=True, result={"compute_id": start.payload["compute_id"]})
    with pytest.raises(BadRequest, match="another compute"):
        await agent.finish(start, succeeded=True, result=agent.result_of_start(start) | {"compute_id": "cmp_other"})
    assert (await platform.reaches(row.db_id, "booting")).compute_id == start.payload["compute_id"]
    await agent.finish(start, succeeded=True, result=agent.result_of_start(start))
    await platform.reaches(row.db_id, "ready", "idle")


async def test_two_agents_of_one_identity_on_two_planes_never_get_the_same_task(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    other = (await platform.another_plane()).client(agent.identity.bearer_token)
    rows = [await platform.create(f"db_{n}") for n in range(40)]
    for row in rows:
        await platform.want_running(row.db_id)

    async def all_queued() -> bool:
        return (await platform.sql("select count(*) from node_tasks"))[0]["count"] == len(rows)

    await until("all orders are queued", all_queued)
    doors = [agent.client, other] * 8
    asks = [door.lease_tasks(LeaseTasks(wait_seconds=0, max_tasks=4)) for door in doors]
    got = [task.task_id for given in await asyncio.gather(*asks) for task in given.tasks]
    assert len(got) == len(set(got)) == 40
    assert {task["attempt"] for task in await platform.sql("select attempt from node_tasks")} == {1}


async def test_an_order_is_given_with_its_commit_to_the_poll_that_waits_here(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    made = await platform.create()
    poll = asyncio.create_task(lease(agent, held=[], wait_seconds=20))
    polls = platform.plane.life.polls
    await until("the poll waits", lambda: polls.waiting(agent.identity.identity_id))
    await platform.want_running(made.db_id)
    (task,) = await asyncio.wait_for(poll, 5)
    assert task.attempt == 1 and await polls.waiting(agent.identity.identity_id) is None
    (row,) = await platform.sql("select status, attempt from node_tasks")
    assert row == {"status": "dispatched", "attempt": 1}
    assert await lease(agent, held=[task.task_id]) == []
    (again,) = await lease(agent, held=[])
    assert (again.task_id, again.attempt) == (task.task_id, 2), "should its answer have been lost"
    await agent.finish(again, succeeded=True, result=agent.result_of_start(again))


async def test_a_task_whose_answer_was_lost_comes_again_at_once(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    first = await one_task(platform, agent)
    assert await lease(agent, held=[first.task_id]) == []
    (again,) = await lease(agent, held=[])
    assert (again.task_id, again.attempt) == (first.task_id, 2)
    assert again.signature != first.signature


async def test_an_agent_that_does_not_say_what_it_holds_gets_it_again_when_the_lease_ran_out(
    platform: InProcessPlatform,
) -> None:
    agent = await Agent.enroll(platform, start=False)
    first = await one_task(platform, agent)
    assert await lease(agent) == []
    platform.clock.advance(seconds=61)
    (again,) = await lease(agent)
    assert (again.task_id, again.attempt) == (first.task_id, 2)
    assert again.expires_at > platform.clock.now(), "it may still be begun"


async def test_a_failure_of_an_attempt_that_was_given_out_again_does_not_count(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    first = await one_task(platform, agent)
    (again,) = await lease(agent, held=[])
    await agent.finish(first, succeeded=False, error="I was being shut down.")
    (row,) = await platform.sql("select db_id, state from databases")
    assert row["state"] == "booting"
    started = agent.result_of_start(again)
    await agent.finish(again, succeeded=True, result=started)
    await agent.finish(again, succeeded=True, result=started)  # a repeated result changes nothing
    await agent.finish(again, succeeded=False, error="Too late.")
    assert (await platform.reaches(row["db_id"], "ready", "idle")).attempt_count == 0


async def test_an_order_nobody_takes_fails_and_is_given_again(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, "alpha", start=False)
    row = await platform.create()
    await platform.want_running(row.db_id)

    async def queued() -> list[object]:
        return list(await platform.sql("select 1 from node_tasks where status = 'queued'"))

    await until("the order is queued", queued)
    await platform.advance(61)
    failed = await platform.reaches(row.db_id, "error")
    assert failed.state_reason is not None and "did not answer in time" in failed.state_reason
    assert await lease(agent) == [], "an expired order is not given out"
    await agent.heartbeat()
    await platform.advance(2)
    agent.start()
    await platform.reaches(row.db_id, "ready", "idle")


async def test_a_waiting_agent_gets_an_order_at_once_and_nobody_polls(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform, start=False)
    row = await platform.create()
    waiting = asyncio.create_task(lease(agent, wait_seconds=20))
    bell_set = platform.plane.wakeups

    async def waits() -> bool:
        return bell_set.waiting >= 2

    await until("the agent waits", waits)
    began = time.monotonic()
    await platform.want_running(row.db_id)
    assert len(await waiting) == 1
    assert time.monotonic() - began < 1


async def test_a_database_finds_no_node_and_says_so_until_one_comes(platform: InProcessPlatform) -> None:
    row = await platform.create()
    assert row.state == "stopped", "it needs a node only to start"
    await platform.want_running(row.db_id)

    async def told() -> bool:
        found = await platform.row(row.db_id)
        return found is not None and "No node has room" in (found.state_reason or "")

    await until("the reason is shown", told)
    await Agent.enroll(platform)
    started = await platform.reaches(row.db_id, "ready", "idle")
    assert started.state_reason is None


async def test_a_new_database_lies_on_the_node_with_the_most_free_disk(platform: InProcessPlatform) -> None:
    small, large = await Agent.enroll(platform, "small"), await Agent.enroll(platform, "large")
    await small.heartbeat(free=10**6)
    await large.heartbeat(free=10**12)
    row = await platform.create()
    await platform.want_running(row.db_id)
    await platform.reaches(row.db_id, "ready", "idle")
    assert large.timelines == {row.timeline_id} and small.timelines == set()


async def test_an_enrolment_token_opens_once_in_time_and_for_one_kind(platform: InProcessPlatform) -> None:
    door = platform.plane.client()
    used = await platform.enrolment_token("node")
    identity = await door.enroll_node(Enrolment(enrolment_token=used, name="node-1"))
    for_gateway, old = await platform.enrolment_token("gateway"), await platform.enrolment_token("node")
    with pytest.raises(Unauthorized, match="used up"):
        await door.enroll_node(Enrolment(enrolment_token=used, name="node-2"))
    with pytest.raises(Unauthorized):
        await door.enroll_node(Enrolment(enrolment_token=for_gateway, name="node-2"))
    again = await door.enroll_node(Enrolment(enrolment_token=await platform.enrolment_token("node"), name="node-1"))
    assert again.identity_id == identity.identity_id and again.bearer_token != identity.bearer_token
    with pytest.raises(Unauthorized):
        await platform.plane.client(identity.bearer_token).lease_tasks(LeaseTasks(wait_seconds=0))
    platform.clock.advance(seconds=901)
    with pytest.raises(Unauthorized, match="older than 15 minutes"):
        await door.enroll_node(Enrolment(enrolment_token=old, name="node-3"))
    kept = await platform.sql("select token_sha256 from nodes union select token_sha256 from enrolment_tokens")
    assert not {used, old, identity.bearer_token, again.bearer_token} & {line["token_sha256"] for line in kept}


async def test_the_name_of_a_living_node_cannot_be_taken(platform: InProcessPlatform) -> None:
    agent = await Agent.enroll(platform)
    await agent.heartbeat()
    name = (await platform.sql("select name from nodes"))[0]["name"]
    door = platform.plane.client()
    with pytest.raises(Conflict, match=r"is alive\. Give this one another name"):
        await door.enroll_node(Enrolment(enrolment_token=await platform.enrolment_token("node"), name=name))
    await agent.heartbeat()  # its identity still opens the door
    agent.kill()
    platform.clock.advance(seconds=31)
    again = await door.enroll_node(Enrolment(enrolment_token=await platform.enrolment_token("node"), name=name))
    assert again.identity_id == agent.identity.identity_id


async def test_an_order_that_comes_while_its_poll_reads_is_not_left_lying(
    platform: InProcessPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poll was found waiting, and by the commit it is in the middle of its next reading, or has ended."""
    agent = await Agent.enroll(platform, start=False)
    node_id, polls, made = agent.identity.identity_id, platform.plane.life.polls, await platform.create()
    first = asyncio.create_task(lease(agent, held=[], wait_seconds=20))
    poll = await until("the poll waits", lambda: polls.waiting(node_id))
    second = asyncio.create_task(lease(agent, held=[], wait_seconds=20))
    assert await asyncio.wait_for(first, 5) == [], "the older poll ends when it is woken"

    async def that_one(_: str) -> object:
        return poll

    monkeypatch.setattr(polls, "waiting", that_one)
    await platform.want_running(made.db_id)
    (task,) = await asyncio.wait_for(second, 5)
    assert task.attempt == 2
