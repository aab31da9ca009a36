"""How statements travel: in one round trip, prepared when they come again, and what a failure or a cancellation leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import pytest

from spg99.control_plane.store import Store, UniqueViolation, pipeline
from spg99.control_plane.store.pipeline import Connection, Statement


@dataclass(frozen=True)
class Pair:
    a: int
    b: str | None


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    async with await Connection.connect(url, autocommit=True) as connection:
        yield connection


async def value(connection: Connection, text: str, **values: object) -> object:
    asked = Statement(text, values)
    await pipeline.run(connection, [asked])
    return asked.value(connection)


async def prepared(connection: Connection) -> int:
    return len(await rows(connection, "select name as b, 0 as a from pg_prepared_statements"))


async def rows(connection: Connection, text: str, **values: object) -> list[Pair]:
    asked = Statement(text, values)
    await pipeline.run(connection, [asked])
    return asked.rows(connection, Pair)


def test_parameters_are_numbered_in_the_order_in_which_they_come() -> None:
    assert pipeline.numbered("select %(b)s, %(a)s, %(b)s") == (b"select $1, $2, $1", ("b", "a"))


async def test_many_statements_are_one_round_trip_and_each_has_its_answer(url: str) -> None:
    async with connected(url) as connection:
        asked = [
            Statement("select 1 as a, 'x' as b", {}),
            Statement("select %(a)s::int as a, %(b)s::text as b", {"a": 2, "b": None}),
            Statement("create temp table t (a int)", {}),
            Statement("insert into t values (1), (2), (3)", {}),
        ]
        await pipeline.run(connection, asked)
        assert [asked[0].rows(connection, Pair), asked[1].rows(connection, Pair)] == [[Pair(1, "x")], [Pair(2, None)]]
        assert asked[3].touched() == 3


async def test_what_comes_again_is_prepared_once(url: str) -> None:
    async with connected(url) as connection:
        for times in range(1, pipeline.PREPARED_AFTER + 3):
            assert await value(connection, "select %(n)s::int", n=times) == times
            kept = "select count(*) from pg_prepared_statements where statement = 'select $1::int'"
            assert await value(connection, kept) == (times >= pipeline.PREPARED_AFTER)


async def test_a_connection_keeps_a_bounded_number_of_them(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PREPARED_MAX", 3)
    async with connected(url) as connection:
        for number in range(6):
            for _ in range(pipeline.PREPARED_AFTER + 1):
                assert await value(connection, f"select {number}") == number
        assert await prepared(connection) == 3
        assert await value(connection, "select 0") == 0  # one that had to go


async def test_a_table_that_was_changed_meanwhile_fails_once(url: str) -> None:
    async with connected(url) as connection, connected(url) as other:
        await value(other, "create table changed (a int, b text)")
        for _ in range(pipeline.PREPARED_AFTER + 1):
            assert await rows(connection, "select * from changed") == []
        await value(other, "alter table changed add column c int")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            await rows(connection, "select * from changed")
        assert await rows(connection, "select * from changed") == []


async def start_twice(store: Store) -> None:
    async with store.transaction() as tx:
        for _ in range(2):
            await tx.defer("start_operation", **TWICE)
        await tx.execute("ensure_organization", org_id="org_behind", name="behind")


async def test_the_first_failure_is_told_and_nothing_behind_it_runs(url: str) -> None:
    store = Store(url)
    await store.open()
    try:
        for _ in range(pipeline.PREPARED_AFTER + 2):  # whether it is prepared already or only now
            with pytest.raises(UniqueViolation):
                await start_twice(store)
            async with store.reading() as tx:
                assert await tx.value("find_operation", op_id="op_twice") is None
                assert await tx.value("find_organization", org_id="org_behind") is None
    finally:
        await store.close()


TWICE = {"op_id": "op_twice", "kind": "database.create", "org_id": None, "tenant_id": None, "db_id": None}


async def test_who_is_cancelled_leaves_a_connection_that_can_be_used(url: str) -> None:
    async with connected(url) as connection:
        for _ in range(2):
            waiting = asyncio.create_task(value(connection, "select pg_sleep(60)"))
            async with connected(url) as other:
                busy = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'"
                while not await value(other, busy):
                    await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await value(connection, "select 1") == 1
