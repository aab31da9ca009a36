"""Databases whose commits safekeepers keep, on real nodes: started, stopped, lost and made anew, here and on another node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from integration.node.kept.databases import USER, Database, KeepingNode, lose
from kit.safekeepers import ServedSafekeeper
from kit.waits import until


async def test_it_sleeps_and_goes_on_with_its_files(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    for expected in (1, 2):
        await database.stop(node)
        await database.start(node)
        assert await database.run("select count(*) from t") == [(expected,)]
        assert await database.tli() == 1  # its own files: no new timeline
        await database.run("insert into t values (1)")


async def test_its_files_are_lost_while_it_runs(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t select generate_series(1, 10000)")
    for life in (2, 3, 4):
        lose(node, database)
        await database.start(node)
        assert await database.run("insert into t values (0)", "select count(*) from t") == [(10000 + life - 1,)]
        assert await database.run("select max(timeline_id) from pg_control_checkpoint()") == [(life,)]


async def test_its_files_are_lost_while_it_sleeps(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    await database.stop(node)
    shutil.rmtree(node.folder.timeline(database.timeline_id).root)
    await database.start(node)
    assert await database.run("select n from t") == [(1,)]


async def test_a_crash_goes_on_with_its_files(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    database.kill()
    await until("its end to be told", lambda: node.computes.find(database.compute_id) is None)
    await database.start(node)
    assert await database.run("select n from t") == [(1,)]
    assert await database.tli() == 1


async def test_files_of_another_run_of_the_machine_are_not_trusted(
    node: KeepingNode, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    await database.stop(node)
    for module in ("computes", "kept_files"):
        monkeypatch.setattr(f"spg99.node.{module}.boot_id", lambda: "another")
    await database.start(node)
    assert await database.run("select n from t") == [(1,)]
    assert await database.tli() == 2


async def test_files_that_have_lost_some_of_their_wal_are_made_anew(node: KeepingNode, database: Database) -> None:
    """Somebody has put back yesterday's folder."""
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    await database.stop(node)
    folder = node.folder.timeline(database.timeline_id)
    before = folder.root.with_name("tl_yesterday")
    subprocess.run(["cp", "-a", folder.data_dir, before], check=True)
    await database.start(node)
    await database.run("insert into t values (2)")
    await database.stop(node)
    shutil.rmtree(folder.data_dir)
    before.rename(folder.data_dir)
    await database.start(node)
    assert await database.run("select n from t order by n") == [(1,), (2,)]


@pytest.mark.parametrize("damaged", ["global/pg_control", "PG_VERSION", "global/pg_filenode.map", "pg_wal"])
async def test_files_that_postgres_cannot_start_on_are_made_anew(
    node: KeepingNode, database: Database, damaged: str
) -> None:
    """Damage that is seen by a session only (pg_filenode.map) ends the server after it was let in: the next start had the same files, and so on."""
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    await database.stop(node)
    path = node.folder.timeline(database.timeline_id).data_dir / damaged
    shutil.rmtree(path) if path.is_dir() else path.write_bytes(b"")
    answers: list[Any] = []
    for _ in range(2):
        attempt = await database.attempt(node)
        if attempt.succeeded:
            with contextlib.suppress(psycopg.OperationalError):
                answers = await database.run("select n from t")
                break
            await until("its end to be told", lambda: not all(one.running for one in node.computes.seen({})))
        else:  # it was seen after the new life had begun, and a term begins once
            assert "made anew at the next try" in (attempt.error or "")
    assert answers == [(1,)]


async def test_a_compute_without_the_wal_that_its_safekeeper_needs_is_replaced(
    node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """Its commits would wait for ever. What was never acknowledged is lost with it."""
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    await safekeepers[0].stop()
    await database.run("set synchronous_commit = off", "insert into t select generate_series(2, 100000)", "select 1")
    pg_wal = node.folder.timeline(database.timeline_id).data_dir / "pg_wal"
    for path in sorted(path for path in pg_wal.iterdir() if len(path.name) == 24)[:3]:
        path.unlink()
    assert await node.handlers.reconcile_safekeepers() > 0
    assert node.computes.find(database.compute_id) is not None  # it may come back
    await safekeepers[0].start()

    async def is_ended() -> bool:
        await node.handlers.reconcile_safekeepers()
        return node.computes.find(database.compute_id) is None

    await until("it to be ended", is_ended, every=0.2)
    (seen,) = node.computes.seen({})
    assert "Its safekeepers cannot keep its WAL" in (seen.exit_reason or "")
    await database.start(node)
    assert await database.run("select n from t") == [(1,)]


async def test_it_wakes_on_another_node_and_its_first_one_is_fenced(
    make_node: Callable[..., KeepingNode], database: Database
) -> None:
    """The first node is cut off and does not know: its compute runs on, and what it is told there is never acknowledged."""
    first, second = make_node("n1"), make_node("n2")
    await database.start(first)
    await database.run("create table t (n int)", "insert into t values (1)")
    old = database.connect()
    await database.start(second)
    assert await database.run("insert into t values (2)", "select n from t order by n") == [(1,), (2,)]

    late = asyncio.create_task(asyncio.to_thread(old.execute, "insert into t values (666)"))
    await asyncio.sleep(1)  # to see that something does not happen
    assert not late.done()
    assert await database.run("select n from t order by n") == [(1,), (2,)]

    await database.start(first)  # it comes back: its files are of a life that is over
    assert await database.run("select n from t order by n") == [(1,), (2,)]
    with pytest.raises(psycopg.OperationalError):
        await late


@pytest.mark.slow  # broken
async def test_an_idle_connection_of_a_life_that_is_over_hears_nothing_of_the_next(
    make_node: Callable[..., KeepingNode], database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """The cut-off compute writes nothing, and asks only whether its safekeeper is there. If the answer said how far the new life has come, its next
    commit would be below that, and acknowledged at once."""
    first, second = make_node("n1"), make_node("n2")
    await database.start(first)
    await database.run("create table t (n int)")
    old = database.connect()
    seen = safekeepers[0]
    assert len(seen.followers) == 1
    await database.start(second)
    await database.run("insert into t select generate_series(1, 20000)")  # far beyond where the first one is
    # The old connection ends as soon as its compute says anything, and hears nothing before.
    await until("only the new life's connection is left", lambda: len(seen.followers) == 1, seconds=15)
    late = asyncio.create_task(asyncio.to_thread(old.execute, "insert into t values (-666)"))
    await asyncio.sleep(1)  # to see that something does not happen
    assert not late.done()
    await database.start(first)
    with pytest.raises(psycopg.OperationalError):
        await late
    assert await database.run("select count(*) from t where n = -666") == [(0,)]


async def test_two_of_three_are_enough_and_one_is_not(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await of_three.start(node)
    await of_three.run("create table t (n int)", "insert into t values (1)")
    await safekeepers[0].stop()
    await of_three.run("insert into t values (2)")
    await safekeepers[1].stop()
    late = asyncio.create_task(of_three.run("insert into t values (3)"))
    await asyncio.sleep(0.5)  # to see that something does not happen
    assert not late.done()
    await safekeepers[0].start()
    await late
    assert await of_three.run("select n from t order by n") == [(1,), (2,), (3,)]


async def test_every_one_of_three_may_be_the_one_that_is_gone(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await of_three.start(node)
    await of_three.run("create table t (n int)")
    for n, gone in enumerate(safekeepers):
        await gone.stop()
        await of_three.run(f"insert into t values ({n})")
        lose(node, of_three)
        await of_three.start(node)
        assert await of_three.run("select count(*) from t") == [(n + 1,)]
        await gone.start()
        await of_three.run("insert into t values (-1)", "delete from t where n = -1")


@pytest.mark.slow  # broken
async def test_a_start_without_promises_says_so_and_changes_nothing(
    node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    await database.stop(node)
    await safekeepers[0].stop()
    monkeypatch.setattr("spg99.node.safekeepers.ANSWER_SECONDS_MAX", 0.5)
    await database.start(node, error="Too few safekeepers answer: 0 of 1")
    await safekeepers[0].start()
    await database.start(node)
    assert await database.run("select n from t") == [(1,)]


@pytest.mark.parametrize("files", ["dirty", "made anew", "of the first start"])
async def test_nobody_is_let_in_before_the_quorum_has_all_that_could_be_read(
    node: KeepingNode, database: Database, monkeypatch: pytest.MonkeyPatch, files: str
) -> None:
    """A commit that was never acknowledged may be in the files. Whoever reads it acts on it, so it must last by then."""
    if files != "of the first start":
        await database.start(node)
        await database.run("create table t (n int)", "insert into t values (1)")
        if files == "dirty":
            database.kill()
            await until("its end to be told", lambda: not all(one.running for one in node.computes.seen({})))
        else:
            lose(node, database)
    monkeypatch.setattr("spg99.safekeeper.follower.Followers.begin", lambda *_: None)  # it promises, and takes nothing
    monkeypatch.setattr("spg99.node.safekeepers.CATCH_UP_SECONDS_MAX", 0.5)
    monkeypatch.setattr("spg99.node.safekeepers.ANSWER_SECONDS_MAX", 0.2)
    await database.start(node, error="")
    assert node.computes.running() == []
    monkeypatch.undo()
    await database.start(node)
    if files != "of the first start":
        assert await database.run("select n from t") == [(1,)]


async def test_nobody_is_told_that_a_commit_is_done_which_waits(
    node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """A cancel ends PostgreSQL's wait with success; here it is not heard."""
    await database.start(node)
    await database.run("create table t (n int)")
    await safekeepers[0].stop()
    db = database.connect()
    waiting = asyncio.create_task(asyncio.to_thread(db.execute, "insert into t values (1)"))

    async def state() -> str:
        rows = await database.run(f"select wait_event from pg_stat_activity where pid = {db.info.backend_pid}")
        return str(rows[0][0])

    async def is_waiting() -> bool:
        return await state() == "SyncRep"

    await until("its commit to wait", is_waiting)
    for _ in range(20):
        os.kill(db.info.backend_pid, signal.SIGINT)  # as pg_cancel_backend, statement_timeout and the Gateway do
        await asyncio.sleep(0.02)
    assert not waiting.done() and await is_waiting()
    os.kill(db.info.backend_pid, signal.SIGTERM)
    with pytest.raises(psycopg.OperationalError):
        await waiting
    db = database.connect()
    running = asyncio.create_task(asyncio.to_thread(db.execute, "select pg_sleep(60)"))

    async def is_asleep() -> bool:
        rows = await database.run(f"select wait_event from pg_stat_activity where pid = {db.info.backend_pid}")
        return rows == [("PgSleep",)]

    await until("it to run", is_asleep)
    os.kill(db.info.backend_pid, signal.SIGINT)
    with pytest.raises(psycopg.errors.QueryCanceled):
        await running
    await safekeepers[0].start()


@pytest.mark.parametrize(
    "statement",
    [
        "set application_name = 'spg99_sk_1'",
        "set application_name = 'SPG99_SK_1'",
        "select set_config('application_name', 'spg99_sk_1', false)",
        f"alter role {USER} set application_name = 'spg99_sk_1'",
    ],
)
async def test_a_tenant_is_not_called_like_a_safekeeper(node: KeepingNode, database: Database, statement: str) -> None:
    await database.start(node)
    with pytest.raises(psycopg.Error, match='may not begin with "spg99_sk_"'):
        await database.run(statement)
    await database.run("set application_name = 'spg99'")


async def test_nor_at_its_log_in(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    for options in ({"application_name": "spg99_sk_1"}, {"options": "-c application_name=spg99_sk_1"}):
        with pytest.raises(psycopg.OperationalError, match="may not begin with"):
            await asyncio.to_thread(lambda options=options: database.connect(**options).close())
