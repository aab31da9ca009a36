"""Files of sleeping databases that were given up: their next start has all rows and PostgreSQL's statistics; what is the only copy stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.node.kept.databases import Database, KeepingNode, image_after_stop
from spg99.clock import SystemClock
from spg99.node.cache import Cache
from spg99.node.cache_rules import CacheLimits
from spg99.node.timelines import size_bytes

pytestmark = pytest.mark.asyncio


def cache_of(node: KeepingNode, *, bytes_max: int | None = 0) -> Cache:
    limits = CacheLimits(bytes_max)
    return Cache(node.folder, node.computes, node.observer, limits, SystemClock(), node.handlers.only_one)


def data_dir(node: KeepingNode, database: Database) -> Path:
    return node.folder.timeline(database.timeline_id).data_dir


async def test_a_sleeping_database_gives_up_its_files_and_wakes_whole(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run(
        "create table t (n int)", "insert into t select generate_series(1, 5000)", "select pg_stat_force_next_flush()"
    )
    await image_after_stop(node, database)
    timeline = node.folder.timeline(database.timeline_id)
    size = size_bytes(timeline)
    await cache_of(node).keep()
    assert not data_dir(node, database).exists()
    assert sum(file.stat().st_blocks * 512 for file in timeline.root.rglob("*")) < 65536
    assert abs(size_bytes(timeline) - size) < size // 10, "a database is as large as it is, wherever its files are"
    await database.start(node)
    assert await database.run("select count(*) from t") == [(5000,)]
    assert await database.run("select n_tup_ins from pg_stat_user_tables where relname = 't'") == [(5000,)], (
        "autovacuum and the planner do not start blind"
    )
    assert size_bytes(timeline) > size // 2


async def test_one_that_runs_keeps_its_files(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await cache_of(node).keep()
    assert await database.run("select 1") == [(1,)]
    assert data_dir(node, database).exists()


async def test_one_whose_end_no_image_holds_keeps_its_files(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await image_after_stop(node, database)
    await database.start(node)
    await database.run("create table t (n int)")
    await database.stop(node, "immediate")
    await cache_of(node).keep()
    assert data_dir(node, database).exists()


async def test_the_only_copy_stays(node: KeepingNode) -> None:
    timeline = await node.create()
    started = await node.start(timeline)
    stop = {"compute_id": started["compute_id"], "timeline_id": timeline.timeline_id, "mode": "fast"}
    assert (await node.do("compute.stop", stop)).succeeded
    await cache_of(node).keep()
    assert node.folder.timeline(timeline.timeline_id).data_dir.exists()
