"""The check of a whole store: clean after real lives, and each kind of damage and each wrong sweep is named."""

from __future__ import annotations

import pytest

from integration.node.kept.databases import Database, KeepingNode
from integration.node.kept.pageservers import Pageserver, Sweeper, lives
from spg99.images import TenantKeys
from spg99.images.manifest import images_of, load_manifest
from spg99.pageserver.checking import Finding, KnownTimeline, Report, check


@pytest.fixture
def walk(pageserver: Pageserver, database: Database):  # type: ignore[no-untyped-def]
    async def walk(*, known: bool = True, reads: bool = True) -> Report:
        mine = KnownTimeline(database.timeline_id, database.kept.tenant_id, has_started=True)
        keys = TenantKeys(pageserver.store, pageserver.master)
        return await check(pageserver.store, keys, [mine] if known else [], reads=reads)

    return walk


def named(report: Report) -> set[tuple[Finding, str]]:
    return {(found.finding, found.key) for found in report.found}


async def test_a_store_is_clean_after_lives_and_sweeps(
    walk,
    sweeper: Sweeper,
    pageserver: Pageserver,
    node: KeepingNode,
    database: Database,  # type: ignore[no-untyped-def]
) -> None:
    await lives(node, database, pageserver, 2)
    report = await walk()
    assert report.found == [] and report.images == 4 and report.chunks > 10 and report.pieces > 1
    assert report.read_bytes > 1 << 20
    for hours in (0.0, 2.0, 2.0, 2.0):
        await sweeper.turn(hours=hours, history_seconds=0)
        assert (await walk()).found == []
    assert [found.finding for found in (await walk(known=False)).found] == [Finding.FOREIGN]


@pytest.mark.slow  # broken
async def test_wrong_sweeps_and_damage_are_named(
    walk,
    sweeper: Sweeper,
    pageserver: Pageserver,
    node: KeepingNode,
    database: Database,  # type: ignore[no-untyped-def]
) -> None:
    await lives(node, database, pageserver, 2)
    store, tenant_id = pageserver.store, database.kept.tenant_id
    # A chunk that was altered is found by reading alone; one that is gone by its names.
    altered, gone, *_ = sorted(sweeper.objects("chunks"))
    content = bytearray((await store.get(altered)).content)
    content[-1] ^= 1
    await store.put(altered, bytes(content))
    assert named(await walk(reads=False)) == set()
    await store.delete(gone)
    assert named(await walk()) == {(Finding.DAMAGED, altered), (Finding.MISSING, gone)}
    # Another's object under the right name.
    piece = sorted(sweeper.objects("wal"))[-1]
    other = sorted(sweeper.objects("wal"))[0]
    await store.put(piece, (await store.get(other)).content)
    assert (Finding.DAMAGED, piece) in named(await walk())
    # What has no place here, and a manifest that is none.
    await store.put(f"tenants/{tenant_id}/timelines/{database.timeline_id}/notes", b"x")
    image = (await images_of(store, tenant_id, database.timeline_id))[-1].key
    await store.put(image, b"x")
    found = named(await walk())
    assert (Finding.FOREIGN, f"tenants/{tenant_id}/timelines/{database.timeline_id}/notes") in found
    assert (Finding.DAMAGED, image) in found


async def test_a_sweep_of_wal_that_is_needed_is_named(
    walk,
    sweeper: Sweeper,
    pageserver: Pageserver,
    node: KeepingNode,
    database: Database,  # type: ignore[no-untyped-def]
) -> None:
    await lives(node, database, pageserver, 1)
    await database.start(node)
    await database.run("insert into t select 5 from generate_series(1, 60000)")
    await pageserver.round(after_seconds=61)
    key = await sweeper.past.key()
    newest = (await images_of(pageserver.store, database.kept.tenant_id, database.timeline_id))[-1]
    begin = (await load_manifest(pageserver.store, key, newest.key)).wal_lsn >> 20
    behind = [one for one in sorted(sweeper.objects("wal")) if int(one.rpartition("/")[2][:16], 16) == begin + 1]
    assert behind and (await walk()).found == []
    for one in behind:
        await pageserver.store.delete(one)
    (found,) = (await walk()).found
    assert found.finding is Finding.MISSING and found.key.endswith("/wal/")


async def test_a_timeline_without_an_image_is_named(
    walk,
    pageserver: Pageserver,
    sweeper: Sweeper,
    node: KeepingNode,
    database: Database,  # type: ignore[no-untyped-def]
) -> None:
    await lives(node, database, pageserver, 1)
    for one in sweeper.objects("images"):
        await pageserver.store.delete(one)
    assert Finding.MISSING in {found.finding for found in (await walk()).found}
