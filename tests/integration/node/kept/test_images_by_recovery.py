"""Images of running databases: real nodes write, a real PostgreSQL replays, and what comes out is started on and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from integration.node.kept.databases import Database, KeepingNode, checkpoint, lose
from integration.node.kept.pasts import Past, alone
from kit.safekeepers import reached
from spg99.archive import Point
from spg99.errors import Damaged
from spg99.images.build import Image
from spg99.images.manifest import images_of
from spg99.node.profiles import PROFILES
from spg99.pageserver.building import Sandbox, build_image, target_lsn
from spg99.resources import Size
from spg99.wal.lsn import MIB


@pytest.fixture(autouse=True)
def early_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(PROFILES[Size.L1], max_wal_size_mb=24)
    monkeypatch.setitem(PROFILES, Size.L1, small)


async def build(past: Past) -> Image | None:
    """One image, as the pageserver makes it."""
    node, database = past.node, past.database
    sandbox = Sandbox(node.folder.root / "sandbox", node.binaries, node.account)
    async with reached() as clients:
        return await build_image(database.timeline_id, database.kept, clients, sandbox, past.store, await past.key())


async def write(past: Past) -> None:
    await past.database.run("create table t (n int)", "insert into t select generate_series(1, 30000)")


async def test_a_running_database_gets_images_and_comes_back_from_them(node: KeepingNode, database: Database) -> None:
    past = Past(node, database)
    await database.start(node)
    await write(past)
    lsn = await past.lsn()
    await checkpoint(database)
    await database.run("insert into t select 0 from generate_series(1, 30000)")
    image = await build(past)
    assert image is not None
    manifest = image.manifest
    assert manifest.redo_lsn is not None and lsn <= manifest.redo_lsn <= manifest.lsn
    assert not any((node.folder.root / "sandbox").iterdir())
    # A moment before it comes from the one before; one behind it from this one; and a lost compute, too.
    assert await past.rows(Point(lsn=lsn), "select count(*) from t") == [(30000,)]
    _, laid = await past.lay_out(Point())
    assert laid.image.image_id == manifest.image_id
    assert await past.rows(Point(), "select count(*) from t") == [(60000,)]
    await past.archive(rests=True)
    assert await past.rows(Point(), "select count(*) from t", alone(database.kept)) == [(60000,)]
    lose(node, database)
    await database.start(node)
    assert await database.run("select count(*) from t") == [(60000,)]
    # And the next one goes on from it, over the switch of timelines.
    await database.run("insert into t select 1 from generate_series(1, 30000)")
    await checkpoint(database)
    await database.run("insert into t select 1 from generate_series(1, 30000)")
    second = await build(past)
    assert second is not None and second.manifest.parent_image_id == manifest.image_id
    assert second.counts.bytes_stored < image.manifest.size_bytes
    assert await past.rows(Point(), "select count(*) from t") == [(120000,)]


async def test_without_a_checkpoint_there_is_nothing_new(node: KeepingNode, database: Database) -> None:
    past = Past(node, database)
    await database.start(node)
    await write(past)
    before = await images_of(past.store, database.kept.tenant_id, database.timeline_id)
    assert await build(past) is None
    assert await images_of(past.store, database.kept.tenant_id, database.timeline_id) == before


async def test_damage_is_found_and_nothing_is_stored(
    node: KeepingNode, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that has gone bad between replay and image."""
    past = Past(node, database)
    await database.start(node)
    await write(past)
    await checkpoint(database)
    await database.run("insert into t select 0 from generate_series(1, 30000)")
    before = await images_of(past.store, database.kept.tenant_id, database.timeline_id)
    from spg99.pageserver import building

    whole = building.replay

    async def damaged(data_dir: Path, *rest: object) -> None:
        await whole(data_dir, *rest)  # type: ignore[arg-type]
        path = max((data_dir / "base").glob("*/*"), key=lambda one: one.stat().st_size)
        with path.open("r+b") as file:
            file.seek(8192 + 4000)
            file.write(b"not what was written")

    monkeypatch.setattr(building, "replay", damaged)
    with pytest.raises(Damaged, match="Pages are damaged"):
        await build(past)
    assert await images_of(past.store, database.kept.tenant_id, database.timeline_id) == before
    assert not any((node.folder.root / "sandbox").iterdir())


def test_the_place_to_stop_at_has_a_record_behind_it() -> None:
    assert target_lsn(5 * MIB + 100_000, MIB) == 5 * MIB
    assert target_lsn(5 * MIB + 100, MIB) == 4 * MIB
    assert target_lsn(5 * MIB, MIB) == 4 * MIB
