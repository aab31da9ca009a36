"""Databases that wake on files that are not here yet, on real nodes: what is fetched, what is not, and what comes of it. Not here: the library by
itself (tests/unit/lazy_pages), random histories (test_lazy_histories.py)."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from integration.node.kept.databases import Database, KeepingNode, image_after_stop
from integration.node.kept.lazy_nodes import LazyNode, home, map_of, path_of, states, with_library
from kit.waits import until
from spg99.images.manifest import CHUNK_BYTES
from spg99.node.lazy_map import ABSENT, DIRTY

pytestmark = with_library

ROWS = 20000
TABLE = [
    "create table t (n int primary key, filler text)",
    f"insert into t select n, repeat(md5(n::text), 16) from generate_series(1, {ROWS}) n",
    "create table other as select * from t",
]
ALL = (ROWS, ROWS * (ROWS + 1) // 2)


async def evicted(node: KeepingNode, database: Database) -> None:
    """A database with some rows, none of whose files are on the node."""
    await database.start(node)
    await database.run(*TABLE)
    await image_after_stop(node, database)
    shutil.rmtree(home(node, database).root)


async def test_it_wakes_without_its_files_and_has_all_rows(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    assert await database.run("select n from t where n = 7") == [(7,)]
    other, table = await path_of(database, "other"), await path_of(database, "t")
    assert set(states(lazy_node, database)[other]) == {ABSENT}
    assert states(lazy_node, database)[table].count(ABSENT) >= ROWS * 500 // CHUNK_BYTES - 2
    assert map_of(lazy_node, database).counters.loaded
    assert not (home(lazy_node, database).data_dir / "global" / "pg_control").exists()
    assert await database.run("select count(*), sum(n) from t") == [ALL]
    assert set(states(lazy_node, database)[other]) == {ABSENT}


async def test_an_image_of_it_reads_only_what_was_written(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await database.run("update t set filler = 'new' where n = 7")
    other = await path_of(database, "other")
    await image_after_stop(lazy_node, database)
    assert set(states(lazy_node, database)[other]) == {ABSENT}  # it was made without them
    for _ in range(2):  # the same folder, then what the image gives
        await database.start(lazy_node)
        assert await database.run("select filler from t where n = 7") == [("new",)]
        assert await database.run("select count(*), sum(n) from other") == [ALL]
        assert await database.run("select count(*), sum(n) from t") == [ALL]
        await database.stop(lazy_node)
        await until("its image", lambda: len(lazy_node.keeping._jobs) == 0)
        shutil.rmtree(home(lazy_node, database).root)


async def test_it_sleeps_and_goes_on_with_the_files_that_are_here(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await database.run("update t set filler = 'new' where n = 7")
    await database.stop(lazy_node)
    await database.start(lazy_node)
    other, life = await path_of(database, "other"), await database.tli()
    assert life == 2 and set(states(lazy_node, database)[other]) == {ABSENT}
    assert await database.run("select count(*), sum(n) from other") == [ALL]
    assert await database.run("select filler from t where n = 7") == [("new",)]


async def test_a_killed_server_goes_on_with_the_files_that_are_here(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await database.run("update t set filler = 'new' where n % 1000 = 7")
    database.kill()
    await until("its end to be noticed", lambda: lazy_node.computes.find(database.compute_id) is None)
    await database.start(lazy_node)
    assert await database.run("select count(*) from t where filler = 'new'") == [(ROWS // 1000,)]
    assert await database.run("select count(*), sum(n) from other") == [ALL]


async def test_what_is_all_here_is_a_folder_like_others(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    for path, found in states(lazy_node, database).items():
        for number in range(len(found)):
            with (home(lazy_node, database).data_dir / path).open("rb") as file:
                file.seek(number * CHUNK_BYTES)
            await lazy_node.keeping.pages.fetcher._bring(
                lazy_node.keeping.pages.fetcher._served[database.timeline_id],
                lazy_node.keeping.pages.fetcher._served[database.timeline_id].folder.chunk_numbers[path, number],
            )
    await image_after_stop(lazy_node, database)
    await database.start(lazy_node)
    folder = home(lazy_node, database)
    assert not folder.map_file.exists() and (folder.data_dir / "global" / "pg_control").exists()
    assert await database.run("select count(*), sum(n) from t") == [ALL]


async def test_an_agent_that_comes_back_is_waited_for(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await lazy_node.computes.leave()
    reading = asyncio.create_task(database.run("select count(*), sum(n) from other"))
    found = map_of(lazy_node, database)
    await until("somebody to wait", lambda: found.counters.waited > 0)
    assert not reading.done()
    lazy_node.fresh_agent()
    await lazy_node.computes.adopt()
    assert await reading == [ALL]
    assert found.counters.failed == 0


async def test_a_cancel_ends_the_wait(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await database.run("select 1")
    await lazy_node.computes.leave()
    with pytest.raises(psycopg.Error) as failed:
        await asyncio.wait_for(database.run("set statement_timeout = '1s'", "select count(*) from other"), 5)
    assert failed.value.sqlstate in ("58030", "57014")
    assert await database.run("select 1") == [(1,)]
    lazy_node.fresh_agent()
    await lazy_node.computes.adopt()
    assert await database.run("select count(*), sum(n) from other") == [ALL]


@pytest.mark.slow  # broken
async def test_a_copy_of_such_a_folder_is_not_started_on(lazy_node: LazyNode, database: Database) -> None:
    """Its files are others, and none of them would be fetched."""
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await database.stop(lazy_node)
    folder = home(lazy_node, database)
    copy = folder.root.with_name("tl_copy")
    subprocess.run(["cp", "-a", folder.root, copy], check=True)
    shutil.rmtree(folder.root)
    copy.rename(folder.root)
    await database.start(lazy_node)
    assert await database.run("select count(*), sum(n) from other") == [ALL]


@pytest.mark.slow  # broken
@pytest.mark.parametrize("lost", ["map", "known", "library"])
async def test_without_what_it_needs_the_files_are_made_anew(
    lazy_node: LazyNode,
    database: Database,
    lost: str,
    make_node: Callable[..., KeepingNode],
) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await database.run("update t set filler = 'new' where n = 7")
    await database.stop(lazy_node)
    folder = home(lazy_node, database)
    if lost == "map":
        folder.map_file.unlink()
    if lost == "known":
        (folder.root / "image.json").write_text("{")
    after: KeepingNode = make_node("n1") if lost == "library" else lazy_node
    await database.start(after)
    assert await database.run("select filler from t where n = 7") == [("new",)]
    assert await database.run("select count(*), sum(n) from other") == [ALL]
    assert folder.map_file.exists() == (lost != "library")


async def test_nothing_reads_such_a_folder_past_the_library(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await database.stop(lazy_node)
    folder: Path = home(lazy_node, database).data_dir
    for program in (["pg_checksums", "--check", "-D"], ["pg_controldata"], ["postgres", "--single", "-D"]):
        command = [lazy_node.binaries.program(program[0]), *program[1:], str(folder)]
        account = lazy_node.account.popen_options() if lazy_node.account is not None else {}
        done = subprocess.run(command, capture_output=True, text=True, check=False, input="", **account)
        assert done.returncode != 0, done.stdout
        assert "pg_control" in done.stderr or "could not find the database system" in done.stderr


async def test_dirty_marks_are_what_was_written(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    table = await path_of(database, "t")
    assert DIRTY not in states(lazy_node, database)[table]
    await database.run("update t set filler = 'new' where n = 7")
    await database.stop(lazy_node)
    assert DIRTY in states(lazy_node, database)[table]


@pytest.mark.slow  # broken
async def test_a_store_that_is_away_costs_a_statement_and_no_more(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await database.run("insert into t values (0, 'here')")
    found = map_of(lazy_node, database)
    away = lazy_node.objects_dir.with_name("away")
    lazy_node.objects_dir.rename(away)
    await lazy_node.computes.leave()  # and the agent's memory of it: a fresh one finds no key
    with pytest.raises(psycopg.Error) as failed:
        await database.run("set statement_timeout = '2s'", "select count(*) from other")
    assert failed.value.sqlstate in ("58030", "57014")
    assert await database.run("select filler from t where n = 0") == [("here",)]
    away.rename(lazy_node.objects_dir)
    lazy_node.fresh_agent()
    await lazy_node.computes.adopt()
    assert await database.run("select count(*), sum(n) from other") == [ALL]
    assert found.counters.waited > 0


@pytest.mark.slow  # broken
async def test_a_chunk_that_is_gone_or_damaged_is_never_read(lazy_node: LazyNode, database: Database) -> None:
    """A sentence for the statement; and where it is gone, files of the image that there is by then."""
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    other = await path_of(database, "other")
    served = lazy_node.keeping.pages.fetcher._served[database.timeline_id]
    number = served.folder.chunk_numbers[other, 1]
    name = served.folder.name_of(number)
    (place,) = lazy_node.objects_dir.glob(f"tenants/*/chunks/*/{name}")
    sealed = place.read_bytes()
    place.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(psycopg.Error) as failed:
        await database.run("select sum(n) from other")
    assert failed.value.sqlstate == "58030" and served.folder.map.state(number) == ABSENT
    place.unlink()
    with pytest.raises(psycopg.Error):
        await database.run("select sum(n) from other")
    assert (await lazy_node.handlers.reconcile_safekeepers()) > 0
    assert lazy_node.computes.find(database.compute_id) is None
    place.write_bytes(sealed)
    await database.start(lazy_node)
    assert await database.run("select count(*), sum(n) from other") == [ALL]


async def test_a_cold_scan_is_fetched_ahead(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    await database.run("select 1")
    before = lazy_node.keeping.pages.fetcher.counts.demanded
    assert await database.run("set max_parallel_workers_per_gather = 0", "select count(*), sum(n) from other") == [ALL]
    chunks = len(states(lazy_node, database)[await path_of(database, "other")])
    assert chunks > 30 and lazy_node.keeping.pages.fetcher.counts.demanded - before < chunks * 2 // 3


async def test_the_next_wake_has_what_the_last_one_used(lazy_node: LazyNode, database: Database) -> None:
    await evicted(lazy_node, database)
    await database.start(lazy_node)
    table = await path_of(database, "t")
    await database.run(f"select filler from t where n = {ROWS // 2}")
    used = [n for n, state in enumerate(states(lazy_node, database)[table]) if state != ABSENT]
    assert len(used) == 1
    await image_after_stop(lazy_node, database)
    shutil.rmtree(home(lazy_node, database).root)
    await database.start(lazy_node)
    await until("it to come by itself", lambda: states(lazy_node, database)[table][used[0]] != ABSENT)
    assert states(lazy_node, database)[table].count(ABSENT) == len(states(lazy_node, database)[table]) - 1
