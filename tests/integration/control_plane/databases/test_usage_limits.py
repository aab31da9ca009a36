"""What an account uses is counted, outlives its databases, and limits what may be woken; a node reports only what is its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from spg99.control_plane.databases import usage
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.usage import Usage
from spg99.control_plane.identity.organizations import DEFAULT_ORG_ID
from spg99.errors import LimitExceeded, Unavailable
from spg99.protocol.gateway import Egress, LeaseReport, LeaseUse
from spg99.protocol.node import Heartbeat


async def used(platform: InProcessPlatform) -> Usage:
    async with platform.store.transaction() as tx:
        return await usage.of_organization(tx, DEFAULT_ORG_ID, platform.clock.now())


async def sent(gateway: Gateway, row: DatabaseRow, egress_bytes: int, *, connections: int = 1) -> None:
    use = LeaseUse(db_id=row.db_id, active_connections=connections, last_used_at=gateway.platform.clock.now())
    gateway.batches += 1
    egress = Egress(run_id="run_1", batch=gateway.batches, sent_bytes={row.db_id: egress_bytes})
    await gateway.client.report_leases(LeaseReport(leases=[use], egress=egress))


async def asleep(platform: InProcessPlatform, name: str = "app") -> DatabaseRow:
    return await platform.reaches((await platform.create(name)).db_id, "stopped")


async def to_sleep(platform: InProcessPlatform, row: DatabaseRow) -> DatabaseRow:
    await platform.want_stopped(row.db_id)
    return await platform.reaches(row.db_id, "stopped")


async def test_egress_is_counted_by_database_and_account_and_outlives_the_database(platform: InProcessPlatform) -> None:
    await Agent.enroll(platform)
    one, two = await Gateway.enroll(platform, "one"), await Gateway.enroll(platform, "two")
    app, other = await asleep(platform), await asleep(platform, "other")
    for gateway in (one, two):
        await gateway.connect()
    await sent(one, app, 1000)
    await sent(two, app, 500)
    await sent(one, app, 0)
    await sent(two, app, 7, connections=0)
    await sent(one, app, 1, connections=0)
    app = await to_sleep(platform, app)
    assert app.egress_bytes == 1508
    # The last bytes of a session may be told when the compute is gone already; nothing else of that report counts.
    await sent(one, app, 92, connections=1)
    row = await platform.row(app.db_id)
    assert row is not None
    assert (row.egress_bytes, row.state, row.reconcile_at, row.last_used_at) == (
        1600,
        "stopped",
        None,
        app.last_used_at,
    )
    await sent(one, other, 400)
    assert (await used(platform)).egress_bytes == 2000
    before = await used(platform)
    await platform.delete(app.db_id)
    await platform.is_gone(app.db_id)
    assert await used(platform) == before
    again = await asleep(platform)
    assert (await platform.row(again.db_id)).egress_bytes == 0  # type: ignore[union-attr]
    assert (await used(platform)).egress_bytes == 2000


async def test_bytes_that_are_told_again_count_once(platform: InProcessPlatform) -> None:
    """The answer to a report is lost: the gateway tells the same batch again, at the same time or much later."""
    await Agent.enroll(platform)
    one, two = await Gateway.enroll(platform, "one"), await Gateway.enroll(platform, "two")
    app = await asleep(platform)
    await one.connect()

    async def counted() -> int:
        row = await platform.row(app.db_id)
        assert row is not None
        return int(row.egress_bytes)

    await asyncio.gather(*(one.sent(app.db_id, 100, batch=1) for _ in range(8)))
    assert await counted() == 100
    await one.sent(app.db_id, 11, batch=2)
    await one.sent(app.db_id, 100, batch=1)  # was on its way for a long time
    assert await counted() == 111
    await two.sent(app.db_id, 1000, batch=1)
    assert await counted() == 1111, "each gateway counts for itself"
    await one.sent(app.db_id, 5, batch=1, run_id="run_2")
    assert await counted() == 1116, "a gateway that was started again begins with 1"
    assert (await used(platform)).egress_bytes == 1116


async def test_a_batch_counts_whole_or_not_at_all(platform: InProcessPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    await Agent.enroll(platform)
    gateway, app = await Gateway.enroll(platform), await asleep(platform)

    async def fails(*_: Any, **__: Any) -> Any:
        raise Unavailable("On order of the test.")

    with monkeypatch.context() as broken:
        broken.setattr("spg99.control_plane.databases.leases.report", fails)
        with pytest.raises(Unavailable):
            await gateway.sent(app.db_id, 100, batch=1)
    await gateway.sent(app.db_id, 100, batch=1)
    assert (await used(platform)).egress_bytes == 100


async def test_compute_time_counts_while_it_runs_and_outlives_the_database(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    app = await asleep(platform)
    await gateway.connect()
    await platform.reaches(app.db_id, "ready")
    await gateway.report(app.db_id, 1)
    platform.clock.advance(seconds=100)
    assert 100 <= (await used(platform)).compute_seconds <= 115
    await agent.heartbeat()
    # What ended is measured by the catalogue's own clock: the time of a run that is over is put in by hand.
    await gateway.report(app.db_id, 0)
    await to_sleep(platform, app)
    await platform.sql("update databases set compute_milliseconds = 70000 where db_id = %s", app.db_id)
    assert (await used(platform)).compute_seconds == 70
    await platform.delete(app.db_id)
    await platform.is_gone(app.db_id)
    assert (await used(platform)).compute_seconds == 70


@pytest.mark.parametrize(
    ("policy", "most", "sentence"),
    [
        ("limits.egress_bytes_max", 5 * 2**30, "has used its 5 GiB of data sent to clients"),
        ("limits.compute_seconds_max", 36_000, "has used its 36000 seconds of compute time"),
    ],
)
async def test_a_client_cannot_wake_what_its_account_may_not_run(
    platform: InProcessPlatform, policy: str, most: int, sentence: str
) -> None:
    await Agent.enroll(platform)
    gateway = await Gateway.enroll(platform)
    runs, sleeps = await asleep(platform, "runs"), await asleep(platform, "sleeps")
    column = "egress_bytes" if "egress" in policy else "compute_milliseconds"
    unit = 1 if "egress" in policy else 1000
    await platform.sql(f"update databases set {column} = %s where db_id = %s", (most - 1) * unit, sleeps.db_id)
    await platform.set_policy(policy, most)
    await gateway.connect("runs")  # one less than the limit is within it
    await gateway.report(runs.db_id, 1)
    await platform.sql(f"update databases set {column} = %s where db_id = %s", most * unit, sleeps.db_id)
    with pytest.raises(LimitExceeded, match=sentence) as refused:
        await gateway.connect("sleeps")
    assert refused.value.details == {"limit": policy, "maximum": most}
    assert refused.value.sqlstate == "53400"
    row = await platform.row(sleeps.db_id)
    assert row is not None
    assert (row.state, row.wanted_until, row.target_scale) == ("stopped", None, 0)
    # What runs already runs on, for new clients too.
    assert (await gateway.connect("runs")).db_id == runs.db_id
    # Deleting gives nothing back.
    await platform.delete(sleeps.db_id)
    await platform.is_gone(sleeps.db_id)
    await gateway.report(runs.db_id, 0)
    await to_sleep(platform, runs)
    with pytest.raises(LimitExceeded):
        await gateway.connect("runs")


async def test_a_running_compute_uses_up_the_limit(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    runs, _ = await asleep(platform, "runs"), await asleep(platform, "sleeps")
    await platform.set_policy("limits.compute_seconds_max", 3600)
    await gateway.connect("runs")
    await gateway.report(runs.db_id, 1)
    platform.clock.advance(seconds=3600)
    await agent.heartbeat()
    await gateway.report(runs.db_id, 1)
    with pytest.raises(LimitExceeded):
        await gateway.connect("sleeps")


async def test_a_node_reports_only_what_is_its_own(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    app = await asleep(platform)
    await gateway.connect()
    await platform.reaches(app.db_id, "ready")
    (compute_id,) = agent.running
    stranger = await Agent.enroll(platform, "node-2", start=False)
    lie = agent.seen(agent.running[compute_id]).model_copy(update={"connections": 99})
    await stranger.client.heartbeat(Heartbeat(computes=[lie], timelines={app.timeline_id: 10**15}))

    async def seen() -> dict[str, Any]:
        (row,) = await platform.sql(
            "select c.connections, d.storage_bytes from computes c join databases d on d.compute_id = c.compute_id"
        )
        return row

    assert await seen() == {"connections": 0, "storage_bytes": 0}
    true = lie.model_copy(update={"connections": 3})
    await agent.client.heartbeat(Heartbeat(computes=[true], timelines={app.timeline_id: 8_000_000}))
    assert await seen() == {"connections": 3, "storage_bytes": 8_000_000}
