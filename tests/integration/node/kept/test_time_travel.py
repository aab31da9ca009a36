"""Moments that are only read, on real nodes: what was there is there, nothing can be written, the source notices nothing, nothing stays."""

# ruff: noqa: F811 - fixtures of the neighbour
from __future__ import annotations

from typing import Any

import psycopg
import pytest

from integration.node.kept.test_branches import Branch, now_of, numbers
from integration.node.kept.test_kept import (  # noqa: F401
    USER,
    Database,
    KeepingNode,
    database,
    make_node,
    node,
    of_three,
    safekeepers,
)
from spg99.ids import new_id
from spg99.protocol.node import TaskResult
from spg99.protocol.tasks import ComputeStart, Point
from spg99.resources import Size


class Moment(Branch):
    """A moment of another database."""

    def __init__(self, source: Database, point: Point) -> None:
        super().__init__(source, point, name="app")
        self.timeline_id = new_id("mom")

    async def attempt(self, node: Any) -> TaskResult:
        self.term += 1
        self.compute_id = new_id("cmp")
        order = ComputeStart(
            compute_id=self.compute_id, timeline_id=self.timeline_id, db_id=self.db_id, writer_term=self.term,
            profile=Size.L1, database_name=self.name, pg_user=USER, makes_timeline=True, origin=self.origin,
        )  # fmt: skip
        result = await node.do("compute.start", order)
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
