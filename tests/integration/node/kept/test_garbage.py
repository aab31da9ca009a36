"""What nobody needs is removed from a store, and only that: real databases, real images, a grace, builds beside sweeps, mistakes on purpose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from integration.node.kept.databases import Database, KeepingNode
from integration.node.kept.pageservers import Pageserver, Sweeper, lives
from integration.node.kept.pasts import Past, alone
from spg99.archive import Point
from spg99.errors import Damaged
from spg99.images import condemned
from spg99.images.manifest import images_of
from spg99.pageserver.garbage import Turn
from spg99.protocol.pageserver import Pin


async def test_what_is_older_than_the_window_goes_after_a_grace_and_all_else_comes_back(
    sweeper: Sweeper, pageserver: Pageserver, past: Past, node: KeepingNode, database: Database
) -> None:
    await lives(node, database, pageserver, 3)
    images, wal, chunks = (sweeper.objects(kind) for kind in ("images", "wal", "chunks"))
    assert len(images) == 4 and wal
    first = await sweeper.turn(history_seconds=0)
    assert first.marked > 0 and first.removed == 0
    assert sweeper.objects("images") == images and sweeper.objects("wal") == wal
    early = await sweeper.turn(hours=0.9, history_seconds=0)
    assert early.removed == 0
    swept = await sweeper.turn(hours=0.2, history_seconds=0)
    assert swept.removed == first.marked
    assert len(sweeper.objects("images")) == 2  # the newest, and the one that the files on the node began with
    assert sweeper.objects("wal") < wal
    await sweeper.turn(history_seconds=0)  # now that their images are gone, chunks are marked
    assert sweeper.objects("chunks") == chunks
    await sweeper.turn(hours=1.1, history_seconds=0)
    assert sweeper.objects("chunks") < chunks
    assert await past.rows(Point(), "select count(*) from t", alone(database.kept)) == [(60000,)]
    await database.start(node)
    assert await database.run("select count(*) from t") == [(60000,)]


@pytest.mark.slow  # again
async def test_a_pin_keeps_its_moment_and_a_window_all_of_its_own(
    sweeper: Sweeper, pageserver: Pageserver, past: Past, node: KeepingNode, database: Database
) -> None:
    await lives(node, database, pageserver, 2)
    refs = await images_of(past.store, database.kept.tenant_id, database.timeline_id)
    lsn = refs[1].lsn
    pins = [Pin(lsn=lsn)]
    for hours in (0.0, 2.0, 2.0, 2.0):
        await sweeper.turn(hours=hours, history_seconds=0, pins=pins)
    assert await past.rows(Point(lsn=lsn), "select max(n) from t", alone(database.kept)) == [(0,)]
    for hours in (0.0, 2.0, 2.0, 2.0):
        await sweeper.turn(hours=hours, history_seconds=10**9)
    assert await past.rows(Point(lsn=lsn), "select max(n) from t", alone(database.kept)) == [(0,)]


async def test_a_database_that_is_gone_leaves_nothing_but_what_is_pinned(
    sweeper: Sweeper, pageserver: Pageserver, past: Past, node: KeepingNode, database: Database
) -> None:
    await lives(node, database, pageserver, 2)
    lsn = (await images_of(past.store, database.kept.tenant_id, database.timeline_id))[1].lsn
    pins = [Pin(lsn=lsn)]
    for hours in (0.0, 2.0, 2.0, 2.0):
        turn = await sweeper.turn(hours=hours, is_gone=True, pins=pins)
        assert not turn.swept
    assert await past.rows(Point(lsn=lsn), "select max(n) from t", alone(database.kept)) == [(0,)]
    turn = Turn()
    for hours in (0.0, 2.0, 2.0, 2.0):
        turn = await sweeper.turn(hours=hours, is_gone=True)
    assert turn.swept == {database.timeline_id}
    assert not sweeper.objects("images") and not sweeper.objects("wal")


async def test_what_a_new_image_needs_again_is_rescued(
    sweeper: Sweeper, pageserver: Pageserver, past: Past, node: KeepingNode, database: Database
) -> None:
    """A chunk that is marked, and whose grace is nearly over, comes back into an image: same content, same name."""
    await lives(node, database, pageserver, 1)
    key = await past.key()
    await database.start(node)
    raw = bytes(range(256)) * 1024
    place = f"tenants/{key.tenant_id}/chunks/{key.name(raw)[:2]}/{key.name(raw)}"
    await past.store.put_contents({place: key.seal(raw, key.name(raw))})
    await sweeper.turn(history_seconds=10**9)
    assert place in (await condemned.read(past.store, key.tenant_id)).marked
    await condemned.rescue(past.store, key.tenant_id, {place})
    await sweeper.turn(hours=1.5, history_seconds=10**9)  # it is marked anew, and has a whole grace again
    assert await past.store.head(place) is not None
    await sweeper.turn(hours=0.9, history_seconds=10**9)
    assert await past.store.head(place) is not None
    await sweeper.turn(hours=0.2, history_seconds=10**9)
    assert await past.store.head(place) is None


async def test_a_sweep_and_a_rescue_at_the_same_moment_have_an_order(
    sweeper: Sweeper,
    pageserver: Pageserver,
    past: Past,
    node: KeepingNode,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rescue comes between the sweep's look and its first step: then nothing is removed. Or behind it: then it waits."""
    await lives(node, database, pageserver, 1)
    key = await past.key()
    place = f"tenants/{key.tenant_id}/chunks/ab/{'ab' * 32}"
    await past.store.put(place, b"x")
    await sweeper.turn(history_seconds=10**9)
    read = condemned.read

    async def read_late(objects: Any, tenant_id: str) -> Any:
        found = await read(objects, tenant_id)
        await condemned.write(objects, tenant_id, found, {})  # the rescue of another process
        return found

    monkeypatch.setattr(condemned, "read", read_late)
    assert (await sweeper.turn(hours=2, history_seconds=10**9)).removed == 0
    monkeypatch.undo()
    assert await past.store.head(place) is not None
    await sweeper.turn(history_seconds=10**9)
    events: list[str] = []

    async def waits(_: float) -> None:
        events.append("waits")
        found = await read(past.store, key.tenant_id)
        await condemned.write(past.store, key.tenant_id, found, found.marked)  # the sweep has come to its end

    found = await read(past.store, key.tenant_id)
    await condemned.write(past.store, key.tenant_id, found, {}, {place})
    # The module's own name for it: all other loops of this process go on sleeping.
    monkeypatch.setattr("spg99.images.condemned.asyncio", SimpleNamespace(sleep=waits))
    await condemned.rescue(past.store, key.tenant_id, {place})
    assert events == ["waits"]


async def test_a_sweep_that_is_killed_in_the_middle_is_gone_on_with(
    sweeper: Sweeper,
    pageserver: Pageserver,
    past: Past,
    node: KeepingNode,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await lives(node, database, pageserver, 2)
    await sweeper.turn(history_seconds=0)

    class Killed(BaseException):
        pass

    def die(name: str) -> None:
        if name == "pageserver.sweep.before":
            raise Killed

    monkeypatch.setattr("spg99.faults.point", die)
    with pytest.raises(Killed):
        await sweeper.turn(hours=2, history_seconds=0)
    monkeypatch.undo()
    turn = await sweeper.turn(history_seconds=0)
    assert turn.removed > 0
    assert not (await condemned.read(past.store, database.kept.tenant_id)).sweeping
    assert await past.rows(Point(), "select max(n) from t", alone(database.kept)) == [(1,)]


async def test_nothing_is_removed_while_a_manifest_cannot_be_read(
    sweeper: Sweeper, pageserver: Pageserver, past: Past, node: KeepingNode, database: Database
) -> None:
    await lives(node, database, pageserver, 1)
    bad = f"tenants/{database.kept.tenant_id}/timelines/tl_other/images/{1:016x}-{1:016x}-img_x"
    await past.store.put(bad, b"not a manifest")
    with pytest.raises(Damaged):
        await sweeper.turn(history_seconds=0)


async def test_a_build_does_not_count_on_an_image_that_was_swept(
    sweeper: Sweeper, pageserver: Pageserver, past: Past, node: KeepingNode, database: Database
) -> None:
    """The node's own note of its last image may be older than the store's memory of it."""
    await lives(node, database, pageserver, 1)
    for path in (*sweeper.objects("images"), *sweeper.objects("chunks")):
        await past.store.delete(path)  # as after a long time, all at once
    await database.start(node)
    await database.run("insert into t values (7)")
    await database.stop(node)
    await node.keeping._jobs.finish(within_seconds=20)
    await pageserver.round(after_seconds=61)
    assert await past.rows(Point(), "select max(n) from t", alone(database.kept)) == [(7,)]
