"""What computes make of an object store that is away, is full, or is another's: they go on, or say why not. Not here: the store itself
(tests/integration/objects)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.node.kept.databases import Database, KeepingNode
from kit import s3_servers
from kit.faulty_s3 import Fault, FaultyS3
from kit.s3_servers import BUCKET
from kit.safekeepers import ServedSafekeeper, kept_by
from kit.waits import until
from spg99.ids import new_id
from spg99.images import latest_image
from spg99.objects import FolderStore, s3
from spg99.objects.installation import KEY

OURS, THEIRS = "ins_ours", "ins_theirs"


@pytest.fixture
def faulty() -> Iterator[FaultyS3]:
    with s3_servers.moto() as server, FaultyS3(server) as proxy:
        yield proxy


@pytest.fixture
def node(
    make_node: Callable[[str], KeepingNode],
    faulty: FaultyS3,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> KeepingNode:
    """Its object store is behind the proxy."""
    for name, value in faulty.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3, "BUDGET_SECONDS", 1.0)
    node = make_node("n1")
    node.object_store = f"s3://{BUCKET}/{new_id('x')}"
    node.fresh_agent()
    return node


@pytest.fixture
def database(safekeepers: list[ServedSafekeeper]) -> Database:
    kept = kept_by(safekeepers[0], tenant_id=new_id("ten"))
    return Database(kept.model_copy(update={"installation_id": OURS}))


async def images_of(node: KeepingNode, database: Database) -> str | None:
    assert node.keeping is not None
    objects, _ = await node.keeping._store(database.kept)
    return await latest_image(objects, database.kept.tenant_id, database.timeline_id)


@pytest.mark.slow  # broken
@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.NO_SPACE, Fault.LOST_REQUEST])
async def test_a_stop_waits_for_no_store(
    node: KeepingNode,
    database: Database,
    safekeepers: list[ServedSafekeeper],
    faulty: FaultyS3,
    fault: Fault,
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    before = await images_of(node, database)
    assert before is not None
    faulty.always(fault, method="PUT")
    await database.stop(node)
    await until("it to be told", lambda: database.timeline_id in node.keeping.unstored)
    first_lsn = first_lsn_of(safekeepers[0], database)
    # It goes on with its files, and stops again, while the store is away.
    await database.start(node)
    assert await database.run("insert into t values (2)", "select count(*) from t") == [(2,)]
    await database.stop(node)
    assert first_lsn_of(safekeepers[0], database) == first_lsn  # all WAL is there still
    faulty.heal()
    await until("an image to be stored", lambda: is_after(node, database, before), seconds=60)
    await until("nothing to wait", lambda: not node.keeping.unstored)
    shutil.rmtree(node.folder.timeline(database.timeline_id).root)
    await database.start(node)
    assert await database.run("select n from t order by n") == [(1,), (2,)]


async def is_after(node: KeepingNode, database: Database, before: str | None) -> bool:
    return await images_of(node, database) != before


def first_lsn_of(safekeeper: ServedSafekeeper, database: Database) -> int:
    return next(one.keeper.first_lsn for one in safekeeper.timelines.all() if one.timeline_id == database.timeline_id)


async def test_files_that_are_lost_while_the_store_is_away_come_back_with_it(
    node: KeepingNode, database: Database, faulty: FaultyS3
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    await database.stop(node)
    shutil.rmtree(node.folder.timeline(database.timeline_id).root)
    faulty.always(Fault.SLOW_DOWN)
    await database.start(node, error="object store")
    faulty.heal()
    await database.start(node)
    assert await database.run("select n from t") == [(1,)]


async def test_a_store_of_another_installation_is_refused_by_its_id(
    make_node: Callable[[str], KeepingNode],
    database: Database,
) -> None:
    node = make_node("n1")
    store = FolderStore(node.objects_dir)
    await store.put(KEY, b'{"format": 1, "installation_id": "%s"}' % THEIRS.encode())
    before = {entry.key: entry.modified_at async for entry in store.entries("")}
    await database.start(node, error=f"belongs to the installation {THEIRS}, this one is {OURS}")
    assert {entry.key: entry.modified_at async for entry in store.entries("")} == before
    await store.close()


async def test_an_empty_store_is_taken(make_node: Callable[[str], KeepingNode], database: Database) -> None:
    node = make_node("n1")
    await database.start(node)
    assert OURS in (node.objects_dir / KEY).read_text()
