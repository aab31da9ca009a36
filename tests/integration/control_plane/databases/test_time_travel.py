"""Moments that are open for reading, as the Control Plane leads their lives: who shares one, what is ordered, and that none outlives its need, whoever is lost. The Control
Plane is real, agents and Gateways do what the test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway, Sessions
from integration.control_plane.databases.test_branching import kept_platform, pins
from kit.waits import until
from spg99.control_plane import fleet
from spg99.control_plane.databases import schedule
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.time_travel import TAKEN_UP_WITHIN, TimeTravel
from spg99.errors import CannotWake, LimitExceeded, NoSuchMoment, NotFound
from spg99.protocol.gateway import Checkout, ConnectRequest
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import TaskKind, is_moment
from spg99.resources import DatabaseState as State


@dataclass(frozen=True)
class Lies:
    only_copies: int
    examples: list[str] | None
    computes: int


AT = "app@0/1800000"
SILENT = 31


class Room:
    """A database that has slept since it was used, and who reads moments of it."""

    def __init__(self, platform: InProcessPlatform, agent: Agent, gateway: Gateway, source: DatabaseRow) -> None:
        self.platform, self.agent, self.gateway, self.source = platform, agent, gateway, source

    async def connect(self, name: str = AT, *, failed: str | None = None) -> Checkout:
        return await self.gateway.client.connect(
            ConnectRequest(
                tenant_id=self.platform.tenant.tenant_id, database=name, wait_seconds=10, failed_compute_id=failed
            )
        )

    async def read(self, name: str = AT) -> Checkout:
        """Somebody is connected."""
        checkout = await self.connect(name)
        await self.gateway.report(checkout.db_id, 1)
        return checkout

    async def moments(self) -> list[dict[str, Any]]:
        return await self.platform.sql(
            "select name, state, timeline_id, moment_of from databases where moment_of is not null order by name"
        )

    async def is_gone(self, db_id: str) -> None:
        await self.platform.is_gone(db_id)
        assert [one for one in await pins(self.platform) if one["owner_id"] == db_id] == []

    async def another_node(self) -> Agent:
        other = await Agent.enroll(self.platform, "other")
        other.hooks[TaskKind.TIMELINE_LOCATE] = self.agent.hooks[TaskKind.TIMELINE_LOCATE]
        await self.agent.heartbeat()
        return other

    async def pass_time(self, seconds: float, *heard_of: Agent) -> None:
        self.platform.clock.advance(seconds=seconds)
        for agent in heard_of:
            await agent.heartbeat()
        await self.platform.advance(0)


@pytest.fixture
async def room(platform: InProcessPlatform) -> Room:
    agent = await kept_platform(platform)
    await platform.set_policy("storage.moment_linger_seconds", 1)
    source = await platform.create_used()
    return Room(platform, agent, await Gateway.enroll(platform), source)


async def test_it_is_a_row_of_its_own_and_the_database_is_left_alone(room: Room) -> None:
    checkout = await room.read()
    order = room.agent.orders(TaskKind.COMPUTE_START)[-1].payload
    assert is_moment(order["timeline_id"]) and order["kept"] is None and order["makes_timeline"]
    assert order["origin"]["timeline_id"] == room.source.timeline_id and order["origin"]["kept"] is not None
    assert order["origin"]["point"] == {"lsn": 0x1800000, "time": None, "end_of_term": None}
    assert (order["database_name"], checkout.database) == ("app", "app")
    assert [one["reason"] for one in await pins(room.platform)] == ["moment"]
    assert await room.platform.row(room.source.db_id) == room.source  # asleep, its term as it was
    # It is written differently and is the same; another moment is another.
    assert (await room.connect("app@00/01800000")).compute_id == checkout.compute_id
    assert (await room.connect("app@0/1800001")).compute_id != checkout.compute_id
    assert [one["name"] for one in await room.moments()] == ["app@0/1800000", "app@0/1800001"]


async def test_many_who_come_at_once_open_one(room: Room) -> None:
    found = await asyncio.gather(*(room.connect() for _ in range(8)))
    assert len({one.compute_id for one in found}) == 1 and len(await room.moments()) == 1


async def test_it_ends_when_the_last_has_left_and_nobody_came_back(room: Room) -> None:
    checkout = await room.read()
    await room.gateway.report(checkout.db_id, 0)
    await room.platform.reaches(checkout.db_id, "idle")
    assert (await room.read()).compute_id == checkout.compute_id  # who comes back finds it
    await room.gateway.report(checkout.db_id, 0)
    await room.platform.reaches(checkout.db_id, "idle")
    await room.platform.advance(3)
    await room.is_gone(checkout.db_id)
    assert not any(map(is_moment, room.agent.timelines)) and not room.agent.running and not room.agent.refused
    (used,) = await room.platform.sql("select compute_milliseconds from organization_usage")
    assert used["compute_milliseconds"] > 0


async def test_nobody_came_for_it(room: Room) -> None:
    travel = TimeTravel(room.platform.plane.store, room.platform.plane.wakeups, room.platform.plane.life.clock)
    await travel.open(room.platform.tenant.tenant_id, AT)  # and the Control Plane was killed
    (one,) = await room.moments()
    assert one["state"] == State.STOPPED
    await room.platform.advance(TAKEN_UP_WITHIN.total_seconds() + 1)
    await until("it is gone", lambda: _none(room))


async def _none(room: Room) -> bool:
    return await room.moments() == []


async def test_a_tenant_has_a_bound_and_many_at_once_do_not_pass_it(room: Room) -> None:
    await room.platform.set_policy("storage.moments_max", 1)
    await room.platform.create_used("other")  # of one database they come one after the other anyway
    names = [f"{name}@0/180000{digit}" for digit in range(3) for name in ("app", "other")]
    found = await asyncio.gather(*(room.connect(name) for name in names), return_exceptions=True)
    refused = [one for one in found if isinstance(one, LimitExceeded)]
    assert len(refused) == 5 and "1 moment open" in refused[0].message and refused[0].sqlstate == "53400"
    assert len(await room.moments()) == 1


async def test_what_is_no_moment_of_it_is_refused_and_nothing_is_written(room: Room) -> None:
    late = (room.platform.clock.now() + timedelta(hours=1)).isoformat()
    early = (room.platform.clock.now() - timedelta(hours=2)).isoformat()
    for name, sentence in (
        (f"app@{late}", "the moment lies in the future"),
        (f"app@{early}", "the moment is before the history that is kept of 'app', from"),
        ("app@0/FFFFFF", "outside of the history that is kept of 'app', from 0/1000000 to 0/2000000"),
        ("app@noon", 'no snapshot "noon"'),
        ("app@12:00", "no moment of a database"),
    ):
        with pytest.raises(NoSuchMoment, match=sentence) as refused:
            await room.connect(name)
        assert refused.value.sqlstate == "3D000"
    for name in ("other@0/1800000", "@0/1", "a b@0/1"):
        with pytest.raises(NotFound):
            await room.connect(name)
    assert await room.moments() == [] and await pins(room.platform) == []


async def test_nobody_can_tell_where_its_history_ends(room: Room) -> None:
    room.agent.kill()
    await room.pass_time(SILENT)
    with pytest.raises(CannotWake, match="has not been heard of"):
        await room.connect()


async def test_one_that_cannot_be_opened_says_why_and_goes(room: Room) -> None:
    async def fails(task: Task) -> TaskResult:
        return TaskResult(succeeded=False, attempt=task.attempt, error="The store is away.")

    room.agent.hooks[TaskKind.COMPUTE_START] = fails
    with pytest.raises(CannotWake, match="The store is away"):
        await room.connect()
    await room.platform.advance(11)
    await until("it is gone", lambda: _none(room))
    del room.agent.hooks[TaskKind.COMPUTE_START]
    await room.connect()


async def test_its_compute_dies_and_who_comes_has_it_made_anew(room: Room) -> None:
    first = await room.read()
    await room.agent.compute_dies()
    second = await room.connect()
    assert second.compute_id != first.compute_id and second.db_id == first.db_id
    assert [task.payload["makes_timeline"] for task in room.agent.orders(TaskKind.COMPUTE_START)[1:]] == [True, True]


async def test_its_compute_dies_and_nobody_comes(room: Room) -> None:
    checkout = await room.read()
    await room.gateway.report(checkout.db_id, 0)
    await room.agent.compute_dies()
    await room.is_gone(checkout.db_id)


async def test_its_node_is_lost_and_who_reads_has_it_opened_on_another(room: Room) -> None:
    first = await room.read()
    other = await room.another_node()
    room.agent.kill()
    await room.pass_time(13, other)
    assert (await room.connect()).compute_id == first.compute_id  # nobody says that it cannot be reached
    await room.pass_time(SILENT - 13, other)
    second = await room.connect(failed=first.compute_id)
    assert second.compute_id in other.running and second.db_id != first.db_id
    await room.is_gone(first.db_id)
    # The node comes back: what ran there is ended, and what lies there goes.
    answer = await room.agent.heartbeat()
    assert answer.stop_compute_ids == [first.compute_id]
    assert [is_moment(one) for one in answer.forget_timeline_ids] == [True]


async def test_its_node_is_lost_and_nobody_reads(room: Room) -> None:
    checkout = await room.read()
    room.agent.kill()
    await room.gateway.report(checkout.db_id, 0)
    await room.platform.reaches(checkout.db_id, "idle")
    await room.pass_time(SILENT)
    await room.is_gone(checkout.db_id)


async def test_its_node_is_lost_while_it_opens_it(room: Room) -> None:
    async def never(_: Task) -> TaskResult | None:
        await asyncio.Event().wait()
        return None

    room.agent.hooks[TaskKind.COMPUTE_START] = never
    waiting = asyncio.create_task(room.connect())
    await until("the order is there", lambda: _is_booting(room))
    other = await room.another_node()
    room.agent.kill()
    (booting,) = await room.moments()
    await room.pass_time(SILENT, other)
    await room.pass_time(11, other)  # now and then it is looked for orders that somebody is away with
    assert (await waiting).compute_id in other.running
    (opened,) = await room.moments()
    assert opened["timeline_id"] != booting["timeline_id"]


async def _is_booting(room: Room) -> bool:
    return [one["state"] for one in await room.moments()] == [State.BOOTING]


async def test_an_agent_of_an_older_version_gets_none(room: Room) -> None:
    room.agent.opens_moments = False
    await room.agent.heartbeat()
    with pytest.raises(CannotWake, match="No node has room"):
        await room.gateway.client.connect(
            ConnectRequest(tenant_id=room.platform.tenant.tenant_id, database=AT, wait_seconds=0.3)
        )
    assert not any(is_moment(task.payload["timeline_id"]) for task in room.agent.orders(TaskKind.COMPUTE_START))


async def test_a_database_that_is_deleted_takes_them_along_and_is_not_held_up_by_them(room: Room) -> None:
    await room.platform.set_policy("gateway.lease_seconds", 600)  # whoever reads stays
    checkout = await room.read()
    Sessions(room.agent, 1)
    await room.platform.advance(30)  # whatever was to be looked at after the start has been
    await room.gateway.report(checkout.db_id, 1)
    await room.agent.heartbeat()
    await room.platform.delete(room.source.db_id)
    await room.is_gone(checkout.db_id)
    await room.platform.is_gone(room.source.db_id)
    with pytest.raises(NotFound):
        await room.connect()


async def test_a_tenant_goes_with_them(room: Room) -> None:
    checkout = await room.read()
    await room.gateway.report(checkout.db_id, 0)
    await room.platform.delete_all()
    await room.is_gone(checkout.db_id)
    await room.platform.is_gone(room.source.db_id)


async def test_after_a_restore_the_moments_are_those_of_the_new_history(room: Room) -> None:
    before = await room.read()
    await room.platform.restore(room.source.db_id, lsn="0/1900000")
    await until("it has gone back", lambda: _has_another_history(room))
    # Whoever reads goes on; who asks now asks of another history.
    assert [one["state"] for one in await room.moments()] == [State.READY]
    with pytest.raises(NoSuchMoment, match="never started"):
        await room.connect()
    await room.is_gone(before.db_id)


async def _has_another_history(room: Room) -> bool:
    row = await room.platform.row(room.source.db_id)
    return row is not None and row.timeline_id != room.source.timeline_id


async def test_a_node_with_nothing_but_moments_is_emptied_and_has_no_only_copy(room: Room) -> None:
    await room.read()
    node_id = room.agent.identity.identity_id

    async def never(_: Task) -> TaskResult | None:
        await asyncio.Event().wait()
        return None

    room.agent.hooks[TaskKind.TIMELINE_DELETE] = never
    async with room.platform.store.transaction() as tx:
        await fleet.set_node_status(tx, node_id, "draining", ends_sessions=True)
        await schedule.reconcile_running_of_node(tx, node_id, room.platform.clock.now())

    async def is_ordered() -> bool:
        where = (
            "select timeline_id from timelines where node_id = %s and timeline_id like 'mom%%' and state = 'deleting'"
        )
        return len(await room.platform.sql(where, node_id)) == 1

    await until("the removal of its files is ordered", is_ordered)
    async with room.platform.store.transaction() as tx:
        lies = await tx.one(Lies, "what_lies_on_node", node_id=node_id)
    assert (lies.only_copies, lies.examples) == (0, None)
