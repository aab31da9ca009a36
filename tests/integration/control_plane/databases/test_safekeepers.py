"""Safekeepers as the Control Plane knows them: who they are, which database has which, what they and agents are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from kit.waits import until
from spg99.client import InternalClient
from spg99.control_plane import fleet
from spg99.errors import Conflict, Unauthorized
from spg99.protocol import Enrolment
from spg99.protocol.node import TaskResult
from spg99.protocol.safekeeper import SafekeeperHeartbeat
from spg99.protocol.tasks import TaskKind


async def enrolled(platform: InProcessPlatform, name: str = "sk-1") -> tuple[str, InternalClient]:
    """A safekeeper that has said where it is: its id and its client. What is deleted is gone, unless a test says otherwise."""
    await platform.set_policy("storage.undelete_seconds", 0)
    client = platform.plane.client()
    token = await platform.enrolment_token("safekeeper")
    identity = await client.enroll_safekeeper(Enrolment(enrolment_token=token, name=name))
    client.authenticate(identity.bearer_token)
    await client.safekeeper_heartbeat(SafekeeperHeartbeat(address=f"/run/{name}", disk_free_bytes=10**9))
    return identity.identity_id, client


def kept_of(agent: Agent, kind: TaskKind) -> list[dict[str, Any] | None]:
    return [task.payload["kept"] for task in agent.orders(kind)]


async def test_a_database_has_the_same_safekeepers_for_all_its_life(platform: InProcessPlatform) -> None:
    safekeeper_id, client = await enrolled(platform)
    await platform.set_policy("storage.safekeepers", 1)
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await gateway.connect()
    await gateway.report(row.db_id, 0)
    await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopped")
    await platform.set_policy("storage.safekeepers", 0)  # for new ones
    await gateway.connect()
    first, second = kept_of(agent, TaskKind.COMPUTE_START)
    (platform_id,) = [
        line["installation_id"] for line in await platform.sql("select installation_id from installation")
    ]
    assert (
        first
        == second
        == {
            "configuration": {
                "number": 1,
                "members": {"safekeeper_ids": [safekeeper_id], "quorum": 1},
                "next_members": None,
            },
            "addresses": {safekeeper_id: "/run/sk-1"},
            "network_addresses": {},
            "tenant_id": row.tenant_id,
            "installation_id": platform_id,
            "is_archived": False,
        }
    )
    other = await platform.create("other")
    await gateway.connect("other")
    assert kept_of(agent, TaskKind.COMPUTE_START)[2] is None
    # It is removed there, too; and whoever still has it later on is told.
    await platform.delete(row.db_id, force=True)
    await platform.is_gone(row.db_id)
    assert kept_of(agent, TaskKind.TIMELINE_DELETE) == [first]
    beat = SafekeeperHeartbeat(address="/run/sk-1", timelines=[row.timeline_id, other.timeline_id, "tl_unknown"])
    assert (await client.safekeeper_heartbeat(beat)).forget_timeline_ids == [row.timeline_id]


async def test_a_database_waits_until_there_are_enough_safekeepers(platform: InProcessPlatform) -> None:
    await platform.set_policy("storage.safekeepers", 2)
    await enrolled(platform)
    agent = await Agent.enroll(platform)
    row = await platform.create()
    await platform.want_running(row.db_id)

    async def says_why() -> bool:
        waiting = await platform.row(row.db_id)
        return waiting is not None and "to have 2 safekeepers" in (waiting.state_reason or "")

    await until("the reason to be told", says_why)
    assert (await platform.reaches(row.db_id, "stopped")).compute_id is None
    await enrolled(platform, "sk-2")
    await platform.advance(11)
    ready = await platform.reaches(row.db_id, "ready", "idle")
    assert ready.state_reason is None
    (kept,) = kept_of(agent, TaskKind.COMPUTE_START)
    assert kept is not None and len(kept["addresses"]) == kept["configuration"]["members"]["quorum"] == 2


async def test_the_name_of_a_living_safekeeper_cannot_be_taken_and_who_lost_its_disk_is_another(
    platform: InProcessPlatform,
) -> None:
    first_id, client = await enrolled(platform)
    with pytest.raises(Conflict, match=r"is alive\. Give this one another name"):
        await enrolled(platform)
    await client.safekeeper_heartbeat(SafekeeperHeartbeat(address="/run/sk-1"))  # its identity still counts
    platform.clock.advance(seconds=31)
    second_id, _ = await enrolled(platform)
    assert second_id != first_id
    platform.clock.advance(seconds=6)  # an identity is remembered for some seconds
    states = await platform.sql("select safekeeper_id, status from safekeepers")
    assert {line["safekeeper_id"]: line["status"] for line in states} == {first_id: "lost", second_id: "active"}


async def test_a_token_of_another_kind_opens_nothing(platform: InProcessPlatform) -> None:
    door = platform.plane.client()
    for kind in ("node", "gateway"):
        token = await platform.enrolment_token(kind)
        with pytest.raises(Unauthorized):
            await door.enroll_safekeeper(Enrolment(enrolment_token=token, name="sk-1"))


async def test_a_deleted_timeline_is_remembered_until_every_safekeeper_of_it_was_heard_of(
    platform: InProcessPlatform,
) -> None:
    """Its deletion does not wait for one that is away: that one is told when it comes back, however late."""
    _, client = await enrolled(platform)
    await platform.set_policy("storage.safekeepers", 1)
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    row = await platform.create()
    await gateway.connect()
    await platform.delete(row.db_id, force=True)
    await platform.is_gone(row.db_id)
    await platform.sql("update timelines set gone_at = gone_at - interval '31 days', swept_at = gone_at")
    await platform.sql("delete from computes")
    await platform.sql("update safekeepers set last_seen_at = last_seen_at - interval '32 days'")
    await platform.plane.life.delete_old()
    beat = SafekeeperHeartbeat(address="/run/sk-1", timelines=[row.timeline_id])
    assert (await client.safekeeper_heartbeat(beat)).forget_timeline_ids == [row.timeline_id]
    await platform.plane.life.delete_old()
    assert await platform.sql("select 1 from timelines where timeline_id = %s", row.timeline_id) == []


async def test_one_whose_disk_is_short_of_room_is_taken_last(platform: InProcessPlatform) -> None:
    short_id, short = await enrolled(platform, "sk-1")
    await short.safekeeper_heartbeat(
        SafekeeperHeartbeat(address="/run/sk-1", disk_free_bytes=10**12, disk_is_short=True)
    )
    other_id, _ = await enrolled(platform, "sk-2")
    await platform.set_policy("storage.safekeepers", 1)
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    await platform.create()
    await gateway.connect()
    await platform.set_policy("storage.safekeepers", 2)
    await platform.create("other")
    await gateway.connect("other")
    first, second = kept_of(agent, TaskKind.COMPUTE_START)
    assert first is not None and list(first["addresses"]) == [other_id]
    assert second is not None and set(second["addresses"]) == {other_id, short_id}


async def _loses_one(platform: InProcessPlatform) -> tuple[dict[str, str], Callable[..., Any]]:
    """Three that keep a running database and a spare: their ids, and how to read who keeps it after a turn."""
    ids = {name: (await enrolled(platform, name))[0] for name in ("sk-1", "sk-2", "sk-3")}
    await platform.set_policy("storage.safekeepers", 3)
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await gateway.connect()
    ids["sk-4"], _ = await enrolled(platform, "sk-4")
    await platform.sql("update safekeepers set last_seen_at = %s where name = 'sk-2'", platform.clock.now())

    async def after(*, seconds: int) -> dict[str, Any]:
        """`sk-2` was silent for so long, the others were not."""
        platform.clock.advance(seconds=seconds)
        await agent.heartbeat()
        await platform.sql("update safekeepers set last_seen_at = %s where name <> 'sk-2'", platform.clock.now())
        for _ in range(10):  # a turn leaves out a database that the reconciler looks at in that moment
            await platform.plane.life.member_changes.turn()
            (line,) = await platform.sql("select configuration from timelines where timeline_id = %s", row.timeline_id)
            if line["configuration"]["next_members"] is not None:
                break
        return dict(line["configuration"])

    return ids, after


async def test_one_that_is_silent_counts_as_lost_after_as_long_as_the_policy_says(platform: InProcessPlatform) -> None:
    ids, after = await _loses_one(platform)
    await platform.set_policy("storage.safekeeper_lost_seconds", 300)
    assert (await after(seconds=299))["next_members"] is None
    following = (await after(seconds=2))["next_members"]
    assert set(following["safekeeper_ids"]) == {ids["sk-1"], ids["sk-3"], ids["sk-4"]}


async def test_one_that_was_removed_is_replaced_with_the_next_turn(platform: InProcessPlatform) -> None:
    ids, after = await _loses_one(platform)
    await platform.sql("update safekeepers set status = 'lost' where name = 'sk-2'")
    following = (await after(seconds=1))["next_members"]
    assert set(following["safekeeper_ids"]) == {ids["sk-1"], ids["sk-3"], ids["sk-4"]}


async def test_nobody_becomes_a_member_who_is_removed_meanwhile(
    platform: InProcessPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, after = await _loses_one(platform)
    await platform.sql("update safekeepers set status = 'lost' where name = 'sk-2'")
    candidates, asked = fleet.active_safekeepers, []

    async def then_one_more(tx: Any) -> Any:
        found = await candidates(tx)
        asked.append(await platform.sql("update safekeepers set status = 'lost' where name = 'sk-4' returning name"))
        return found

    monkeypatch.setattr(fleet, "active_safekeepers", then_one_more)
    assert (await after(seconds=1))["next_members"] is None and asked[0]


async def test_one_that_is_lost_is_replaced_step_by_step(platform: InProcessPlatform) -> None:
    """Its name is taken by another with an empty disk: from then on it is lost, and a spare takes its place in every database."""
    ids = {name: (await enrolled(platform, name))[0] for name in ("sk-1", "sk-2", "sk-3")}
    await platform.set_policy("storage.safekeepers", 3)
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await gateway.connect()
    platform.clock.advance(seconds=31)
    for name in ("sk-1", "sk-3"):
        await platform.sql("update safekeepers set last_seen_at = %s where name = %s", platform.clock.now(), name)
    new_id, _ = await enrolled(platform, "sk-2")
    await agent.heartbeat()
    turn = platform.plane.life.member_changes.turn
    answers = iter([False, True, True])

    async def answer(task: Any) -> TaskResult:
        known = {"configuration_number": task.payload["kept"]["configuration"]["number"], "is_finished": next(answers)}
        return TaskResult(succeeded=True, attempt=task.attempt, result=known)

    agent.hooks[TaskKind.TIMELINE_MEMBERS] = answer

    async def configuration() -> dict[str, Any]:
        (line,) = await platform.sql("select configuration from timelines where timeline_id = %s", row.timeline_id)
        return dict(line["configuration"])

    async def is_replaced() -> bool:
        platform.clock.advance(seconds=6)
        await agent.heartbeat()
        for name in ("sk-1", "sk-3", "sk-2"):
            await platform.sql(
                "update safekeepers set last_seen_at = %s where name = %s and status = 'active'",
                platform.clock.now(),
                name,
            )
        await turn()
        found = await configuration()
        return found["number"] == 3 and "is_pending" not in found

    await until("it to be replaced", is_replaced, every=0.1)
    found = await configuration()
    assert found["next_members"] is None
    assert set(found["members"]["safekeeper_ids"]) == {ids["sk-1"], ids["sk-3"], new_id}
    numbers = [task.payload["kept"]["configuration"]["number"] for task in agent.orders(TaskKind.TIMELINE_MEMBERS)]
    assert numbers == [2, 2, 3]
    await turn()
    assert len(agent.orders(TaskKind.TIMELINE_MEMBERS)) == 3  # it is over
