"""A first start that is none: the catalogue was restored from a copy of before it, and does not know what safekeepers hold. And one who archives that came while a
compute ran."""

from __future__ import annotations

from integration.node.kept.databases import APP, USER, Database, KeepingNode
from kit.safekeepers import ServedSafekeeper
from spg99.ids import new_id
from spg99.protocol.tasks import ComputeStart
from spg99.resources import Size


async def first_start(node: KeepingNode, database: Database, attempts: list[str]) -> str | None:
    """As a catalogue of before orders it; answers the error."""
    database.term += 1
    order = ComputeStart(
        compute_id=new_id("cmp"), timeline_id=database.timeline_id, db_id=database.db_id, writer_term=database.term, profile=Size.L1,
        database_name=APP, pg_user=USER, kept=database.kept, makes_timeline=True, attempts=attempts,
    )  # fmt: skip
    result = await node.do("compute.start", order)
    return None if result.succeeded else result.error


async def test_what_the_catalogue_does_not_know_of_is_not_put_aside(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await of_three.start(node)
    await of_three.run("create table t (n int)", "insert into t values (1)")
    for one in safekeepers[:1]:
        await one.stop()  # one that is away changes nothing
    error = await first_start(node, of_three, [])
    assert error is not None and "spg99 storage recover" in error and of_three.compute_id in error
    assert await of_three.run("select n from t") == [(1,)]  # it runs on, with its files
    await safekeepers[0].start()
    await of_three.stop(node)
    await of_three.start(node)
    assert await of_three.run("select n from t") == [(1,)] and await of_three.tli() == 1


async def test_an_attempt_that_the_catalogue_knows_is_put_aside_as_before(
    node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await database.start(node)  # it came to its end, and nobody heard of it
    assert await first_start(node, database, [database.compute_id]) is None
    timelines = safekeepers[0].timelines
    assert len(list(timelines._root.glob(".replaced-*"))) == 1
    timelines.remove(new_id("tl"))
    assert len(list(timelines._root.glob(".replaced-*"))) == 1
    timelines.remove(database.timeline_id)  # with its tenant's rows nothing of it stays
    assert list(timelines._root.iterdir()) == []


async def test_wal_is_not_let_go_of_once_somebody_archives_it(
    node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """A pageserver joins while a compute runs, whose order says that there is none."""
    archives = False

    async def is_archived() -> bool:
        return archives

    node.keeping.safekeepers.is_archived = is_archived
    await database.start(node)
    (timeline,) = safekeepers[0].timelines.all()
    for archives in (True, False):
        begin = timeline.keeper.first_lsn
        await database.run("create table t as select generate_series(1, 60000)", "drop table t")
        await database.stop(node)
        await node.keeping._jobs.finish(within_seconds=10)
        assert (timeline.keeper.first_lsn > begin) is not archives
        await database.start(node)
