"""A database whose WAL safekeepers keep and the nodes it may be on: one goes silent, comes back, is emptied, is removed. The Control Plane is real,
agents and safekeepers do what the test says."""

from __future__ import annotations

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from integration.control_plane.databases.test_safekeepers import enrolled
from kit.waits import until
from spg99.control_plane import fleet
from spg99.control_plane.databases import schedule
from spg99.protocol.gateway import Checkout, ConnectRequest
from spg99.protocol.tasks import TaskKind

SILENT = 31


class Two:
    """Two nodes, one of which runs a kept database."""

    def __init__(self, platform: InProcessPlatform, own: Agent, other: Agent, gateway: Gateway, db_id: str) -> None:
        self.platform, self.own, self.other, self.gateway, self.db_id = platform, own, other, gateway, db_id

    async def connect(self, *, failed: str | None = None) -> Checkout:
        return await self.gateway.client.connect(
            ConnectRequest(
                tenant_id=self.platform.tenant.tenant_id, database="app", wait_seconds=10, failed_compute_id=failed
            )
        )

    async def pass_time(self, seconds: float) -> None:
        """The other node is heard of, the own one not."""
        self.platform.clock.advance(seconds=seconds)
        await self.other.heartbeat()
        await self.platform.advance(0)

    async def has_stopped(self) -> None:
        await self.gateway.report(self.db_id, 0)
        await self.platform.want_stopped(self.db_id)
        await self.platform.reaches(self.db_id, "stopped")

    async def set_status(self, status: str, *, ends_sessions: bool = False) -> None:
        async with self.platform.store.transaction() as tx:
            node_id = self.own.identity.identity_id
            await fleet.set_node_status(tx, node_id, status, ends_sessions=ends_sessions)
            await schedule.reconcile_running_of_node(tx, node_id, self.platform.clock.now())


async def two(platform: InProcessPlatform, *, safekeepers: int = 1) -> Two:
    await enrolled(platform)
    await platform.set_policy("storage.safekeepers", safekeepers)
    own, gateway = await Agent.enroll(platform, "own"), await Gateway.enroll(platform)
    row = await platform.create()
    await gateway.connect()
    other = await Agent.enroll(platform, "other")
    other.timelines = own.timelines  # what counts of it is with safekeepers and store: any node can have it
    return Two(platform, own, other, gateway, row.db_id)


async def test_a_sleeper_whose_node_is_silent_wakes_on_another_with_a_higher_term(platform: InProcessPlatform) -> None:
    set_up = await two(platform)
    await set_up.has_stopped()
    set_up.own.kill()
    await set_up.pass_time(SILENT)
    before = await platform.row(set_up.db_id)
    checkout = await set_up.connect()
    assert before is not None and checkout.writer_term == before.writer_term + 1
    assert checkout.compute_id in set_up.other.running
    # It sleeps again and goes on there: the files are there now.
    await set_up.has_stopped()
    set_up.own.start()
    await set_up.own.heartbeat()
    assert (await set_up.connect()).compute_id in set_up.other.running


async def test_one_that_nobody_reaches_is_replaced_and_its_old_compute_ended_when_its_node_is_back(
    platform: InProcessPlatform,
) -> None:
    set_up = await two(platform)
    first = await set_up.connect()
    set_up.own.kill()
    assert (
        await set_up.connect(failed=first.compute_id)
    ).compute_id == first.compute_id  # its node was heard of just now
    await set_up.pass_time(13)
    assert (await set_up.connect()).compute_id == first.compute_id  # nobody says that it cannot be reached
    second = await set_up.connect(failed=first.compute_id)
    assert second.compute_id in set_up.other.running and second.writer_term == first.writer_term + 1
    # Its node comes back; what ran on there is to be ended, and what is there is nobody's to forget.
    answer = await set_up.own.heartbeat()
    assert answer.stop_compute_ids == [first.compute_id] and answer.forget_timeline_ids == []
    (line,) = await platform.sql("select exit_reason from computes where compute_id = %s", first.compute_id)
    assert line["exit_reason"] == "Its node was silent, and another node has taken over."


async def test_a_start_that_a_node_took_with_it_is_made_elsewhere(platform: InProcessPlatform) -> None:
    set_up = await two(platform)
    await set_up.has_stopped()
    set_up.own.kill()  # before it has taken the order
    await platform.want_running(set_up.db_id)
    await platform.reaches(set_up.db_id, "booting")
    await set_up.pass_time(SILENT)
    await platform.reaches(set_up.db_id, "ready", "idle")
    assert len(set_up.other.running) == 1
    assert not set_up.other.refused


async def test_a_database_without_safekeepers_stays_where_its_files_are(platform: InProcessPlatform) -> None:
    set_up = await two(platform, safekeepers=0)
    first = await set_up.connect()
    set_up.own.kill()
    await set_up.pass_time(SILENT)
    assert (await set_up.connect(failed=first.compute_id)).compute_id == first.compute_id
    await set_up.set_status("draining", ends_sessions=True)
    await platform.advance(0)
    row = await platform.row(set_up.db_id)
    assert row is not None and row.compute_id == first.compute_id
    assert not set_up.other.running


@pytest.mark.parametrize("ends_sessions", [False, True])
async def test_a_node_that_is_emptied(platform: InProcessPlatform, ends_sessions: bool) -> None:
    set_up = await two(platform)
    first = await set_up.connect()
    await set_up.gateway.report(set_up.db_id, 1)
    await set_up.set_status("draining", ends_sessions=ends_sessions)
    if not ends_sessions:
        await platform.advance(1)
        assert (await set_up.connect()).compute_id == first.compute_id  # somebody uses it
        await set_up.gateway.report(set_up.db_id, 0)
        for _ in range(6):  # who was about to connect has not come
            await set_up.own.heartbeat()
            await set_up.pass_time(10)
        await platform.reaches(set_up.db_id, "stopped")
    else:  # somebody was about to connect: it is moved at once
        await until("it to run elsewhere", lambda: bool(set_up.other.running))
    (stop,) = set_up.own.orders(TaskKind.COMPUTE_STOP)
    assert stop.payload["only_if_unused"] is not ends_sessions
    assert (await set_up.connect()).compute_id in set_up.other.running


async def test_a_database_whose_node_is_away_is_deleted_by_another(platform: InProcessPlatform) -> None:
    set_up = await two(platform)
    set_up.own.kill()
    await set_up.gateway.report(set_up.db_id, 0)
    await set_up.pass_time(SILENT)
    await platform.delete(set_up.db_id, force=True)
    await platform.is_gone(set_up.db_id)
    (order,) = set_up.other.orders(TaskKind.TIMELINE_DELETE)
    assert order.payload["kept"] is not None
    # And the one that was away forgets what it has when it is back.
    set_up.own.timelines = {order.payload["timeline_id"]}

    async def forgets() -> bool:
        return (await set_up.own.heartbeat()).forget_timeline_ids == [order.payload["timeline_id"]]

    await until("its node to be told", forgets)
