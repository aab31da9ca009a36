"""Branches on real nodes: the content of another timeline at one moment, which goes its own way; the other one notices nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.node.kept.branches import Branch, located, now_of
from integration.node.kept.databases import USER, Database, KeepingNode, lose
from kit.safekeepers import ServedSafekeeper
from spg99.protocol.tasks import Point
from spg99.wal.lsn import parse_lsn


async def numbers(database: Database) -> list[int]:
    return [row[0] for row in await database.run("select n from t order by n")]


async def test_a_branch_of_a_running_database_has_all_that_was_committed_and_goes_its_own_way(
    node: KeepingNode, database: Database
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    point = await now_of(node, database)
    await database.run("insert into t values (2)")
    branch = Branch(database, point)
    await branch.start(node)
    assert await branch.run("select current_database(), current_user") == [("preview", USER)]
    assert await numbers(branch) == [1]
    await branch.run("insert into t values (10)")
    await database.run("insert into t values (3)")
    assert (await numbers(branch), await numbers(database)) == ([1, 10], [1, 2, 3])
    assert branch.started["branch_lsn"] == point.lsn
    # It is a database as any other: it sleeps, loses its files, comes back.
    await branch.stop(node)
    await branch.start(node)
    lose(node, branch)
    await branch.start(node)
    assert await numbers(branch) == [1, 10]
    assert await database.tli() == 1


async def test_a_branch_at_a_place_and_at_a_moment(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    lsn = parse_lsn((await database.run("select pg_current_wal_lsn()"))[0][0])
    moment = (await database.run("select clock_timestamp()"))[0][0]
    await database.run("insert into t values (2)")
    later = (await database.run("select clock_timestamp()"))[0][0]
    for point, expected in (
        (Point(lsn=lsn), [1]),
        (Point(time=moment), [1]),
        (Point(time=later), [1, 2]),  # nothing was committed after it: all there is
        (Point(time=datetime.now(UTC)), [1, 2]),
    ):
        branch = Branch(database, point)
        await branch.start(node)
        assert await numbers(branch) == expected, point
        await branch.stop(node)


async def test_a_branch_of_a_sleeping_database_ends_with_the_life_that_was_the_last_one_then(
    node: KeepingNode, database: Database
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    await database.stop(node)
    branch = Branch(database, Point(end_of_term=database.term))
    await database.start(node)
    await database.run("insert into t values (2)")
    await branch.start(node)
    assert (await numbers(branch), await numbers(database)) == ([1], [1, 2])


async def test_a_branch_of_a_branch_on_another_node_and_the_first_source_is_gone(
    make_node: Callable[[str], KeepingNode], of_three: Database
) -> None:
    first, second = make_node("n1"), make_node("n2")
    await of_three.start(first)
    await of_three.run("create table t (n int)", "insert into t values (1)")
    branch = Branch(of_three, await now_of(first, of_three))
    await branch.start(second)
    await branch.run("insert into t values (2)")
    await of_three.stop(first)
    await first.keeping.delete(of_three.timeline_id, of_three.kept)
    twig = Branch(branch, await now_of(second, branch), name="twig")
    await branch.run("insert into t values (3)")
    await twig.start(first)
    assert await numbers(twig) == [1, 2]
    lose(first, twig)
    await twig.start(second)
    assert (await numbers(twig), await numbers(branch)) == ([1, 2], [1, 2, 3])


@pytest.mark.slow  # again
async def test_a_point_after_several_lives_follows_the_whole_history(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (0)")
    points = []
    for life in range(1, 4):
        points.append((await now_of(node, database), list(range(life))))
        lose(node, database)
        await database.start(node)
        await database.run(f"insert into t values ({life})")
    for point, expected in points:
        branch = Branch(database, point)
        await branch.start(node)
        assert await numbers(branch) == expected


async def test_what_was_never_there_or_is_there_no_more_is_refused_in_a_sentence(
    node: KeepingNode, database: Database
) -> None:
    await database.start(node)
    await database.run("create table t (n int)")
    found = await located(node, database)
    await Branch(database, Point(lsn=found.end_lsn + 10_000_000)).start(node, error="is outside of what is kept")
    early = Branch(database, Point(time=found.from_time - timedelta(seconds=1)))
    await early.start(node, error="is outside of what is kept")
    assert not node.folder.timeline(early.timeline_id).root.exists()
    assert not node.folder.remains()


async def test_a_first_start_that_comes_to_nothing_is_tried_again(
    node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    branch = Branch(database, await now_of(node, database))
    real = node.keeping._follow

    async def broken(*_: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(node.keeping, "_follow", broken)
    assert not (await branch.attempt(node)).succeeded
    monkeypatch.setattr(node.keeping, "_follow", real)
    await branch.start(node)
    assert await numbers(branch) == [1]


async def test_the_source_commits_while_its_branch_is_made(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)")
    done = asyncio.Event()

    async def write() -> int:
        count = 0
        while not done.is_set():
            await database.run(f"insert into t values ({count})")
            count += 1
        return count

    writing = asyncio.create_task(write())
    for _ in range(3):
        before = (await database.run("select count(*) from t"))[0][0]
        branch = Branch(database, await now_of(node, database))
        await branch.start(node)
        found = await numbers(branch)
        assert len(found) >= before and found == list(range(len(found)))
        await branch.stop(node)
    done.set()
    count = await writing
    assert len(await numbers(database)) == count
