"""Any moment of a kept database, laid out from the store and from safekeepers: real nodes write, real PostgreSQL starts on what was laid out."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from integration.node.kept.databases import Database, KeepingNode, lose
from integration.node.kept.pasts import Past, alone
from kit.safekeepers import ServedSafekeeper, live_of, reached
from spg99.archive import Point, kept_window
from spg99.errors import BadRequest, CannotWake
from spg99.pageserver.archiving import Archived, trim


async def test_any_lsn_and_time_of_a_running_database(past: Past, node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)")
    moments = []
    for n in range(6):
        await database.run(f"insert into t values ({n})", "insert into t select 1000 from generate_series(1, 6000)")
        moments.append((await past.lsn(), datetime.now(UTC)))
        await asyncio.sleep(0.02)  # the clock must have moved: a commit at the very moment counts to it
        if n == 2:
            await past.archive()
            assert past.archived.stored_lsn > 0
    for n, (lsn, at) in enumerate(moments):
        for point in (Point(lsn=lsn), Point(time=at)):
            assert await past.rows(point, "select count(*) filter (where n < 1000) from t") == [(n + 1,)], (n, point)
    assert await past.rows(Point(), "select count(*) filter (where n < 1000) from t") == [(6,)]
    assert await past.rows(Point(time=datetime.now(UTC) + timedelta(hours=1)), "select count(*) from t") == [(36006,)]


@pytest.mark.slow  # again
async def test_a_past_of_many_lives_from_the_store_alone(
    past: Past, node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """The whole history counts: TLI 1 to 5, each with WAL of its own, the safekeepers lost."""
    await database.start(node)
    await database.run("create table t (n int)")
    lsns = []
    for n in range(5):
        await database.run(f"insert into t values ({n})")
        lsns.append(await past.lsn())
        if n != 2:
            await past.archive(rests=n != 3)
        lose(node, database)
        await database.start(node)
    await database.run("insert into t values (5)")
    await past.archive(rests=True)
    await safekeepers[0].stop()
    kept = alone(database.kept)
    for n, lsn in enumerate(lsns):
        assert await past.rows(Point(lsn=lsn), "select max(n) from t", kept) == [(n,)]
    assert await past.rows(Point(), "select max(n) from t", kept) == [(5,)]


async def test_wal_that_was_let_go_of_comes_from_the_store(past: Past, node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t select generate_series(1, 60000)")
    lsn = await past.lsn()
    await database.run("insert into t select generate_series(1, 60000)")
    await past.archive()
    async with live_of(database.timeline_id, database.kept) as live:
        await live.ask()
        (before,) = live.seen.values()
        await trim(past.archived, database.timeline_id, live._clients, past.archived.stored_lsn, before.segment_bytes)
        await live.ask()
        (after,) = live.seen.values()
    assert before.first_lsn < after.first_lsn <= past.archived.stored_lsn
    assert await past.rows(Point(lsn=lsn), "select count(*) from t") == [(60000,)]
    assert await past.rows(Point(), "select count(*) from t") == [(120000,)]


async def test_outside_of_what_is_kept(past: Past, node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)")
    key = await past.key()
    async with reached() as clients:
        window = await kept_window(database.timeline_id, database.kept, clients, past.store, key)
    assert window.first_lsn < window.end_lsn
    for point in (Point(lsn=window.end_lsn + (1 << 30)), Point(lsn=1), Point(time=datetime(2020, 1, 1, tzinfo=UTC))):
        with pytest.raises(BadRequest, match="outside of what is kept"):
            await past.lay_out(point)


async def test_nobody_guesses_what_silent_safekeepers_have(
    past: Past, node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    lsn, at = await past.lsn(), datetime.now(UTC)
    await past.archive(rests=True)
    await database.run("insert into t values (2)")
    later = await past.lsn()
    await safekeepers[0].stop()
    for point in (Point(), Point(lsn=later), Point(time=at)):
        with pytest.raises(CannotWake):
            await past.lay_out(point)
    assert not list(node.folder.root.glob("past*/.draft*"))
    assert await past.rows(Point(lsn=lsn), "select n from t") == [(1,)]


async def test_a_laggard_is_not_taken_for_the_whole(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    past = Past(node, of_three)
    await of_three.start(node)
    await of_three.run("create table t (n int)", "insert into t values (1)")
    await safekeepers[0].stop()
    await of_three.run("insert into t values (2)")
    await safekeepers[0].start()
    await past.archive(rests=True)
    assert await past.rows(Point(), "select max(n) from t", alone(of_three.kept)) == [(2,)]
    for one in safekeepers[1:]:
        await one.stop()
    with pytest.raises(CannotWake):
        await past.lay_out(Point())


async def test_the_end_of_a_life_that_was_cut_is_not_taken_for_a_moment(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """One safekeeper has WAL that nobody acknowledged; the others have gone on with another life in the same place, and are away."""
    past = Past(node, of_three)
    await of_three.start(node)
    await of_three.run("create table t (n int)", "insert into t values (1)")
    for one in safekeepers[1:]:
        await one.stop()
    await of_three.run("begin", "insert into t select 1000 from generate_series(1, 60000)", "rollback")
    unacknowledged = await past.lsn() - 65536
    async with live_of(of_three.timeline_id, of_three.kept) as live, asyncio.timeout(20):
        while not live.seen or max(one.flush_lsn for one in live.seen.values()) < unacknowledged:
            await live.ask()
    await safekeepers[0].stop()
    for one in safekeepers[1:]:
        await one.start()
    lose(node, of_three)
    await of_three.start(node)
    await of_three.run("insert into t values (2)")
    lsn, at = await past.lsn(), datetime.now(UTC)
    await of_three.run("insert into t values (3)")
    assert lsn < unacknowledged
    for one in safekeepers[1:]:
        await one.stop()
    await safekeepers[0].start()
    for point in (Point(lsn=lsn), Point(time=at)):
        with pytest.raises(CannotWake, match="Too few safekeepers"):
            await past.lay_out(point)
    for one in safekeepers[1:]:
        await one.start()
    assert await past.rows(Point(lsn=lsn), "select max(n) from t") == [(2,)]


@pytest.mark.slow  # broken
async def test_a_put_that_is_killed_is_made_good(
    past: Past, node: KeepingNode, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t select generate_series(1, 60000)")
    lsn = await past.lsn()

    class Killed(Exception):
        pass

    count = 0

    def die(name: str) -> None:
        nonlocal count
        count += name == "archive.put.after"
        if count == 3:
            raise Killed

    monkeypatch.setattr("spg99.faults.point", die)
    with pytest.raises(Killed):
        await past.archive()
    monkeypatch.undo()
    past.archived = Archived()  # another process
    await past.archive(rests=True)
    assert past.archived.stored_lsn >= lsn
    assert await past.rows(Point(lsn=lsn), "select count(*) from t", alone(database.kept)) == [(60000,)]
