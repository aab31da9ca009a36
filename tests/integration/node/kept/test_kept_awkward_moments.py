"""Kept databases at awkward moments: an agent killed in the middle of a start, an order that comes twice, more WAL than a safekeeper keeps at once."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from integration.node.kept.databases import APP, USER, Database, KeepingNode, lose
from kit.safekeepers import ServedSafekeeper
from kit.waits import until
from spg99.ids import new_id
from spg99.node import keeping as keeping_module
from spg99.protocol.tasks import ComputeStart
from spg99.resources import Size


def order_of(database: Database, *, limit_bytes: int = 0) -> ComputeStart:
    """The start of the database's next term; the same object again is the same order again."""
    database.term += 1
    database.compute_id = new_id("cmp")
    return ComputeStart(
        compute_id=database.compute_id, timeline_id=database.timeline_id, db_id=database.db_id, writer_term=database.term,
        profile=Size.L1, database_name=APP, pg_user=USER, kept=database.kept, makes_timeline=not database.has_started,
        storage_limit_bytes=limit_bytes,
    )  # fmt: skip


async def carried_out(node: KeepingNode, database: Database, order: ComputeStart) -> Any:
    result = await node.do("compute.start", order)
    if result.succeeded:
        database.started, database.has_started = result.result, True
    return result


async def agent_dies(node: KeepingNode, starting: asyncio.Task[Any]) -> None:
    """What the old agent had in hand never goes on (a kill; its tasks are left hanging), and a new one adopts and gets the order again."""
    hanging.append(starting)
    node.fresh_agent()
    await node.computes.adopt()


hanging: list[asyncio.Task[Any]] = []


@pytest.mark.slow  # broken
async def test_an_agent_killed_in_a_first_start_leaves_no_database_without_an_image(
    node: KeepingNode,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed while the first image is on its way; PostgreSQL lives, is adopted, and the order comes again: it "runs already"."""
    never = asyncio.Event()

    async def hangs(*_: Any, **__: Any) -> None:
        await never.wait()

    real = keeping_module.images.store
    monkeypatch.setattr(keeping_module.images, "store", hangs)
    order = order_of(database)
    starting = asyncio.create_task(carried_out(node, database, order))
    await until("PostgreSQL to run", lambda: bool(list(node.folder.root.rglob("postmaster.pid"))))
    await asyncio.sleep(2)
    monkeypatch.setattr(keeping_module.images, "store", real)
    await agent_dies(node, starting)
    result = await carried_out(node, database, order)
    if not result.succeeded:
        assert (await carried_out(node, database, order_of(database))).succeeded
    await database.run("create table t (n int)", "insert into t values (1)")  # acknowledged
    lose(node, database)
    await database.start(node)
    assert await database.run("select n from t") == [(1,)]


async def test_an_agent_killed_in_a_start_lets_nobody_in_on_stale_files(
    make_node: Any,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first node comes back with the files of a life that is over; its agent is killed before it has any promise."""
    first, second = make_node("n1"), make_node("n2")
    await database.start(first)
    await database.run("create table t (n int)", "insert into t values (1)")
    await database.stop(first)
    await database.start(second)
    await database.run("insert into t values (2)")
    await database.stop(second)

    never = asyncio.Event()

    async def hangs(*_: Any, **__: Any) -> None:
        await never.wait()

    monkeypatch.setattr(first.keeping.safekeepers, "promise", hangs)
    order = order_of(database)
    starting = asyncio.create_task(carried_out(first, database, order))
    await until("PostgreSQL to run", lambda: bool(list(first.folder.root.rglob("postmaster.pid"))))
    await asyncio.sleep(2)
    await agent_dies(first, starting)
    result = await carried_out(first, database, order)
    if not result.succeeded:
        assert (await carried_out(first, database, order_of(database))).succeeded
    assert await database.run("select n from t order by n") == [(1,), (2,)]
    await database.run("insert into t values (3)")  # hangs: nobody was told to take its WAL


@pytest.mark.slow  # broken
async def test_a_first_start_that_comes_again_after_a_crash_keeps_what_it_acknowledges(
    node: KeepingNode,
    database: Database,
) -> None:
    """Agent and compute die before the result of the first start is told (a restart of the machine, or of the service with its group)."""
    order = order_of(database)
    assert (await carried_out(node, database, order)).succeeded
    await asyncio.sleep(25)  # what it writes by itself (its background writer, after 15 s) is on the safekeeper
    database.kill()
    await asyncio.sleep(0.5)
    await node.computes.leave()
    node.fresh_agent()
    await node.computes.adopt()
    result = await carried_out(node, database, order)
    if not result.succeeded:
        database.has_started = False
        assert (await carried_out(node, database, order_of(database))).succeeded
    await database.run("create table t (n int)", "insert into t select generate_series(1, 10000)")  # acknowledged
    await database.run("insert into t select generate_series(1, 10000)")
    lose(node, database)
    await database.start(node)
    assert await database.run("select count(*) from t") == [(20000,)]


@pytest.mark.slow  # broken
async def test_an_image_is_not_newer_than_the_wal_of_the_safekeepers(
    node: KeepingNode,
    database: Database,
    safekeepers: list[ServedSafekeeper],
) -> None:
    """The safekeeper is away for the moment of a stop: it has all but the last record, that of the stop itself."""
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    await asyncio.sleep(0.3)
    await safekeepers[0].stop()
    await database.stop(node)
    await safekeepers[0].start()
    await asyncio.sleep(3)  # an image, or none
    shutil.rmtree(node.folder.timeline(database.timeline_id).root)
    await database.start(node)
    assert await database.run("select n from t") == [(1,)]


@pytest.mark.slow  # again
@pytest.mark.timeout(300)
@pytest.mark.parametrize("safekeeper_is_up", [False, True])
async def test_a_bulk_load_does_not_hang_for_ever(
    node: KeepingNode,
    database: Database,
    safekeepers: list[ServedSafekeeper],
    safekeeper_is_up: bool,
) -> None:
    """More WAL than max_slot_wal_keep_size before the safekeeper has taken it: its slot is invalidated, and it comes never again."""
    limit_bytes = 512 << 20 if not safekeeper_is_up else 0
    order = order_of(database, limit_bytes=limit_bytes)
    assert (await carried_out(node, database, order)).succeeded
    await database.run("create table t (n int, x text)")
    if not safekeeper_is_up:
        await safekeepers[0].stop()
    load = database.connect()
    rows = 400_000 if not safekeeper_is_up else 1_500_000
    await asyncio.to_thread(
        lambda: (
            load.execute("begin"),
            load.execute(f"insert into t select n, repeat('x', 500) from generate_series(1, {rows}) n"),
        )
    )
    if not safekeeper_is_up:
        await safekeepers[0].start()
    commit = asyncio.create_task(asyncio.to_thread(load.execute, "commit"))
    for _ in range(36):  # as the agent does; 900 MB of WAL take a while where others work, too
        await asyncio.wait({commit}, timeout=5)
        if commit.done():
            break
        await node.handlers.reconcile_safekeepers()
    assert commit.done(), "it hangs"
    await commit
