"""What a deletion leaves, as the Control Plane carries it out: the database under another name, or a snapshot that outlives it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from integration.control_plane.databases.test_branching import first_start, kept_platform, pins
from integration.control_plane.databases.test_undeleting import WEEK, undelete
from kit.waits import until
from spg99.control_plane.databases import snapshots
from spg99.control_plane.databases.branch_points import Beginning
from spg99.control_plane.databases.requests import BranchOf
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.snapshots import SnapshotRow
from spg99.control_plane.records.actors import SYSTEM
from spg99.errors import Conflict, NotFound
from spg99.protocol.tasks import TaskKind


async def retained(platform: InProcessPlatform, db_id: str) -> DatabaseRow:
    async def there() -> DatabaseRow | None:
        row = await platform.row(db_id)
        return row if row is not None and "_retained_" in row.name else None

    return await until("it to be retained", there)  # type: ignore[no-any-return]


async def snapshot_of(platform: InProcessPlatform, name: str) -> SnapshotRow | None:
    async with platform.store.transaction() as tx:
        found = await platform.sql("select name from snapshots where database = %s", name)
        return await snapshots.find(tx, platform.tenant.tenant_id, found[0]["name"]) if found else None


async def branch_of_snapshot(platform: InProcessPlatform, name: str, kept: SnapshotRow) -> DatabaseRow:
    """As `POST /tenants/{tenant}/dbs` with a snapshot."""
    branch = BranchOf(lambda tx: snapshots.hold(tx, kept), Beginning(kept.moment), platform.clock.now())
    return await platform.create(name, branch=branch, source_snapshot=kept.name)


@pytest.mark.parametrize("safekeepers", [0, 1])
async def test_a_retained_one_stays_asleep_under_another_name_and_nothing_deletes_it_but_a_deletion_of_that_name(
    platform: InProcessPlatform, safekeepers: int
) -> None:
    agent = await kept_platform(platform)
    await platform.set_policy("storage.safekeepers", safekeepers)
    gateway = await Gateway.enroll(platform)
    soon = platform.clock.now() + timedelta(hours=1)
    row = await platform.create("app", on_delete="retain", expires_at=soon)
    await gateway.connect()
    await gateway.report(row.db_id, 2)
    op_id = await platform.delete(row.db_id, force=True)
    kept = await retained(platform, row.db_id)
    assert (kept.state, kept.name_in_files, kept.timeline_id) == ("stopped", "app", row.timeline_id)
    assert (kept.expires_at, kept.on_delete, kept.target_scale) == (None, "delete", 0)
    (op,) = await platform.sql("select status from operations where op_id = %s", op_id)
    assert op["status"] == "succeeded" and agent.running == {}
    (stop,) = agent.orders(TaskKind.COMPUTE_STOP)
    assert stop.payload["mode"] == "fast"
    with pytest.raises(NotFound):
        await gateway.connect("app")
    assert await platform.create("app"), "the name is free"
    platform.clock.advance(seconds=7200)
    await agent.heartbeat()
    await platform.plane.life.expiry.turn()
    assert (await gateway.connect(kept.name)).database == "app"
    await platform.delete(row.db_id, force=True)
    await platform.is_gone(row.db_id)


async def test_one_that_was_never_started_is_retained_too_and_twice_in_a_second_is_two_names(
    platform: InProcessPlatform,
) -> None:
    await kept_platform(platform)
    found = []
    for _ in range(2):
        row = await platform.create("app", on_delete="retain")
        await platform.delete(row.db_id)
        found.append(await retained(platform, row.db_id))
    assert len({row.name for row in found}) == 2 and {row.state for row in found} == {"stopped"}


async def test_a_retained_one_may_be_needed_meanwhile(platform: InProcessPlatform) -> None:
    await kept_platform(platform)
    row = await platform.create_used("app", on_delete="retain")
    branch = await platform.branch("preview", "app")
    await platform.delete(row.db_id)
    kept = await retained(platform, row.db_id)
    with pytest.raises(Conflict, match="'preview' begins in it"):
        await platform.delete(kept.db_id)
    await platform.delete(branch.db_id)
    await platform.delete(kept.db_id)
    await platform.is_gone(kept.db_id)


@pytest.mark.parametrize("undelete_seconds", [0, WEEK])
async def test_a_snapshot_of_the_last_moment_outlives_its_database_and_another_one_begins_in_it(
    platform: InProcessPlatform, undelete_seconds: int
) -> None:
    agent, gateway = await kept_platform(platform, undelete_seconds=undelete_seconds), await Gateway.enroll(platform)
    row = await platform.create("app", on_delete="snapshot_then_delete")
    await gateway.connect()
    await gateway.report(row.db_id, 2)
    await platform.delete(row.db_id, force=True)
    gone = await platform.reaches(row.db_id, "deleted")
    kept = await snapshot_of(platform, "app")
    assert kept is not None and kept.name.startswith("app_deleted_") and kept.expires_at is None
    assert (kept.moment.timeline_id, kept.moment.point.end_of_term) == (row.timeline_id, gone.writer_term)
    assert [one["reason"] for one in await pins(platform)] == ["snapshot"]
    # Its time is over; what the snapshot needs stays, whatever the loops do.
    assert gone.undelete_until is not None
    assert (gone.undelete_until > platform.clock.now()) == (undelete_seconds > 0)
    await platform.sql("update databases set undelete_until = now() - interval '1 minute' where state = 'deleted'")
    expiry = platform.plane.life.expiry
    await expiry.turn()
    with pytest.raises(NotFound):
        await undelete(platform, row.db_id)
    branch = await branch_of_snapshot(platform, "again", kept)
    payload = await first_start(platform, agent, branch)
    assert payload["origin"]["timeline_id"] == row.timeline_id and payload["origin"]["kept"] is not None
    assert payload["origin"]["point"]["end_of_term"] == gone.writer_term
    assert agent.orders(TaskKind.TIMELINE_DELETE) == []
    # And with the snapshot goes the rest.
    async with platform.store.transaction() as tx:
        await snapshots.delete(tx, kept, SYSTEM)
    await expiry.turn()
    await platform.is_gone(row.db_id)
    (order,) = agent.orders(TaskKind.TIMELINE_DELETE)
    assert order.payload["timeline_id"] == row.timeline_id


async def test_snapshots_that_are_there_stay_with_the_one_that_is_left_and_branches_hold_it_up(
    platform: InProcessPlatform,
) -> None:
    await kept_platform(platform)
    row = await platform.create_used("app", on_delete="snapshot_then_delete")
    await platform.sql(
        "insert into snapshots (snapshot_id, tenant_id, name, db_id, database, origin) values ('snap_1', %s, 's', %s, 'app', '{}')",
        row.tenant_id, row.db_id,
    )  # fmt: skip
    pin = "insert into timeline_pins (timeline_id, owner_id, reason, at) values (%s, 'snap_1', 'snapshot', now())"
    await platform.sql(pin, row.timeline_id)
    branch = await platform.branch("preview", "app")
    with pytest.raises(Conflict, match="'preview' begins in it"):
        await platform.delete(row.db_id)
    await platform.delete(branch.db_id)
    await platform.delete(row.db_id)
    await platform.reaches(row.db_id, "deleted")
    assert {one["owner_id"] == "snap_1" for one in await pins(platform)} == {True, False}


async def test_where_no_snapshot_can_be_made_nothing_is_deleted_and_nothing_is_stopped(
    platform: InProcessPlatform,
) -> None:
    agent = await kept_platform(platform)
    row = await platform.create_used("app", on_delete="snapshot_then_delete")
    await platform.sql("delete from pageservers")
    await platform.set_policy("storage.safekeepers", 0)
    alone = await platform.create_used("alone", on_delete="snapshot_then_delete")
    await platform.want_running(alone.db_id)
    await platform.reaches(alone.db_id, "ready", "idle")
    for db_id, why in ((row.db_id, "there is no pageserver"), (alone.db_id, "has no safekeepers")):
        for force in (False, True):
            with pytest.raises(Conflict, match=why) as refused:
                await platform.delete(db_id, force=force)
            assert "Nothing was deleted" in refused.value.message
    assert (await platform.row(alone.db_id)).state in ("ready", "idle")  # type: ignore[union-attr]
    assert len(agent.orders(TaskKind.COMPUTE_STOP)) == 2  # of the two first sleeps
    # Somebody who means it says so.
    await platform.change(row.db_id, on_delete="delete")
    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)


async def test_what_was_never_started_leaves_a_snapshot_only_of_what_it_would_have_begun_with(
    platform: InProcessPlatform,
) -> None:
    await kept_platform(platform)
    source = await platform.create_used("app")
    empty = await platform.create("empty", on_delete="snapshot_then_delete")
    branch = await platform.branch("preview", "app", on_delete="snapshot_then_delete")
    for row in (empty, branch):
        await platform.delete(row.db_id)
        await platform.is_gone(row.db_id)
    assert await snapshot_of(platform, "empty") is None
    kept = await snapshot_of(platform, "preview")
    assert kept is not None and kept.moment.timeline_id == source.timeline_id
    with pytest.raises(Conflict, match="snapshots keep moments of it"):
        await platform.delete(source.db_id)


async def test_what_expires_leaves_what_it_is_to_leave(platform: InProcessPlatform) -> None:
    agent: Agent = await kept_platform(platform)
    soon = platform.clock.now() + timedelta(minutes=1)
    kept, shot = [
        await platform.create_used(name, expires_at=soon, on_delete=on_delete)
        for name, on_delete in (("kept", "retain"), ("shot", "snapshot_then_delete"))
    ]
    platform.clock.advance(seconds=120)
    await agent.heartbeat()
    await platform.plane.life.expiry.turn()
    assert (await retained(platform, kept.db_id)).expires_at is None
    await platform.reaches(shot.db_id, "deleted")
    assert await snapshot_of(platform, "shot") is not None


async def test_all_of_a_tenant_goes_whatever_it_was_to_leave(platform: InProcessPlatform) -> None:
    await kept_platform(platform, undelete_seconds=WEEK)
    found = [
        await platform.create_used(name, on_delete=on_delete)
        for name, on_delete in (("a", "retain"), ("b", "snapshot_then_delete"), ("c", "snapshot_then_delete"))
    ]
    await platform.delete(found[2].db_id)
    await platform.reaches(found[2].db_id, "deleted")
    await platform.delete_all(force=True)
    for row in found:
        await platform.is_gone(row.db_id)
    assert await pins(platform) == [] and await platform.sql("select 1 from snapshots") == []


async def test_a_state_before_a_restore_goes_when_its_time_is_over_whatever_the_database_leaves(
    platform: InProcessPlatform,
) -> None:
    await kept_platform(platform)
    row = await platform.create_used("app", on_delete="retain")
    await platform.restore(row.db_id, lsn="0/1800000")

    async def exchanged() -> DatabaseRow | None:
        found = await platform.sql("select db_id from databases where name like 'app_before_%%'")
        return await platform.row(found[0]["db_id"]) if found else None

    before = await until("the state before to be there", exchanged)
    assert (before.on_delete, (await platform.row(row.db_id)).on_delete) == ("delete", "retain")  # type: ignore[union-attr]
