"""Moments that are only read, on real nodes: what was there is there, nothing can be written, the source notices nothing, nothing stays."""

from __future__ import annotations

import asyncio
from typing import Any

import psutil
import psycopg
import pytest

from integration.node.kept.branches import Branch, now_of
from integration.node.kept.databases import USER, Database, KeepingNode
from kit.safekeepers import ServedSafekeeper
from kit.waits import until
from spg99.ids import new_id
from spg99.node.time_travel import SIGNAL_NAME
from spg99.protocol.node import TaskResult
from spg99.protocol.tasks import ComputeStart, Point, TimelineDelete
from spg99.resources import Size


async def numbers(database: Database) -> list[int]:
    return [row[0] for row in await database.run("select n from t order by n")]


class Moment(Branch):
    """A moment of another database."""

    def __init__(self, source: Database, point: Point) -> None:
        super().__init__(source, point, name="app")
        self.timeline_id = new_id("mom")

    def order(self, **other: Any) -> ComputeStart:
        self.term += 1
        self.compute_id = new_id("cmp")
        facts: dict[str, Any] = {
            "compute_id": self.compute_id, "timeline_id": self.timeline_id, "db_id": self.db_id, "writer_term": self.term,
            "profile": Size.L1, "database_name": self.name, "pg_user": USER, "makes_timeline": True, "origin": self.origin,
        }  # fmt: skip
        return ComputeStart(**facts | other)

    async def attempt(self, node: Any) -> TaskResult:
        result = await node.do("compute.start", self.order())
        if result.succeeded:
            self.started, self.has_started = result.result, True
        return result


WRITES = (
    "insert into t values (2)",
    "delete from t",
    "create table u ()",
    "create temp table u (n int)",
    "select nextval('s')",
    "select n from t for update",
    "alter role {user} set work_mem = '1MB'",
    "vacuum t",
    "begin read write; insert into t values (3)",
    "set default_transaction_read_only = off; insert into t values (3)",
    "set transaction_read_only = off",
    "select pg_promote()",
    "select pg_wal_replay_resume()",
    "alter system set hot_standby = off",
    "notify x",
)


async def test_a_moment_is_read_and_cannot_be_written_whatever_is_tried(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create sequence s", "create table t (n int)", "insert into t values (1)")
    point = await now_of(node, database)
    await database.run("delete from t", "insert into t values (9)")
    moment = Moment(database, point)
    await moment.start(node)
    assert moment.started["branch_lsn"] == point.lsn
    with moment.connect() as reader:
        assert reader.execute("select current_database(), pg_is_in_recovery()").fetchall() == [("app", True)]
        reader.execute("set work_mem = '2MB'")
        for statement in WRITES:
            with pytest.raises(psycopg.Error) as refused:
                reader.execute(statement.format(user=USER))
            print(statement, refused.value.sqlstate, refused.value)
            assert refused.value.sqlstate in ("25006", "42501", "25001", "0A000"), (statement, refused.value)
            reader.execute("rollback")
        assert reader.execute("select n from t").fetchall() == [(1,)]
    assert await numbers(database) == [9]


async def test_who_was_in_the_middle_of_something_then_holds_no_lock(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    with database.connect() as migration:
        migration.execute("begin")
        migration.execute("alter table t add column m int")
        migration.execute("insert into t values (2, 2)")
        await database.run("select pg_logical_emit_message(false, '', '', true)")  # it is all in the WAL
        point = await now_of(node, database)
        moment = Moment(database, point)
        await moment.start(node)
        assert await moment.run("set lock_timeout = '1s'", "select * from t") == [(1,)]
        await asyncio.to_thread(migration.execute, "commit")  # its safekeeper is in this very loop
    assert await database.run("select * from t order by n") == [(1, None), (2, 2)]


async def test_it_is_made_anew_at_each_start_and_gone_after_its_end(
    node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    promised = safekeepers[0].timelines.get(database.timeline_id).keeper.promised_term
    moment = Moment(database, await now_of(node, database))
    await moment.start(node)
    moment.kill()
    await until("its end to be told", lambda: node.computes.find(moment.compute_id) is None)
    await moment.start(node)
    assert await numbers(moment) == [1]
    assert (await node.do("timeline.delete", TimelineDelete(timeline_id=moment.timeline_id))).succeeded
    assert not node.folder.timeline(moment.timeline_id).root.exists()
    assert [one.timeline_id for one in node.folder.timelines()] == [database.timeline_id]
    # No safekeeper was asked for anything but to be read.
    assert safekeepers[0].timelines.get(database.timeline_id).keeper.promised_term == promised
    assert await numbers(database) == [1]


async def test_an_agent_that_begins_adopts_those_that_run_and_removes_the_others(
    node: KeepingNode, database: Database
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    point = await now_of(node, database)
    running, dead = Moment(database, point), Moment(database, point)
    for moment in (running, dead):
        await moment.start(node)
    await database.stop(node)
    await node.computes.leave()
    dead.kill()
    await until(
        "it is dead",
        lambda: not psutil.pid_exists(dead.started["pid"]) or psutil.Process(dead.started["pid"]).status() == "zombie",
    )
    node.fresh_agent()
    await node.computes.adopt()
    await node.timelines.sweep_moments({one.timeline.timeline_id for one in node.computes.running()})
    there = {one.timeline_id for one in node.folder.timelines()}
    assert there == {running.timeline_id, database.timeline_id}  # a database that sleeps is none
    assert await numbers(running) == [1]
    ended = {one.compute_id for one in node.computes.seen({}) if not one.running}
    assert ended == {dead.compute_id}


async def test_an_order_that_would_write_is_refused(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    moment = Moment(database, await now_of(node, database))
    for wrong in ({"origin": None}, {"kept": database.kept}):
        result = await node.do("compute.start", moment.order(**wrong))
        assert not result.succeeded and not result.retryable, result
        assert not node.folder.timeline(moment.timeline_id).root.exists()


async def test_nothing_is_started_on_files_that_could_be_written(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    moment = Moment(database, await now_of(node, database))
    await moment.start(node)
    await moment.stop(node)
    (node.folder.timeline(moment.timeline_id).data_dir / SIGNAL_NAME).unlink()
    result = await node.do("compute.start", moment.order(makes_timeline=False, origin=None))
    assert not result.succeeded and "not marked as only read" in (result.error or "")
