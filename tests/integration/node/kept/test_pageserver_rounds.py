"""A pageserver's rounds over real nodes, safekeepers and a store: what is archived when, what safekeepers may let go of, what a failing store does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from integration.node.kept.databases import Database, KeepingNode, checkpoint, lose
from integration.node.kept.pageservers import Pageserver
from integration.node.kept.pasts import Past, alone
from kit.safekeepers import ServedSafekeeper
from spg99.archive import Point
from spg99.errors import Damaged, StoreUnavailable
from spg99.node.profiles import PROFILES
from spg99.pageserver.building import Sandbox
from spg99.resources import Size


def first_lsn(safekeeper: ServedSafekeeper) -> int:
    (timeline,) = safekeeper.timelines.all()
    return timeline.keeper.first_lsn


async def test_finished_segments_are_archived_and_kept_until_an_image_is_behind_them(
    pageserver: Pageserver, node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await database.start(node)
    begin = first_lsn(safekeepers[0])
    await database.run("create table t (n int)", "insert into t select generate_series(1, 60000)")
    care = await pageserver.round()
    assert care.problem is None
    assert begin < care.archived.stored_lsn < care.archived.flush_lsn  # the last segment is not finished
    assert first_lsn(safekeepers[0]) <= begin + (1 << 20)  # no image holds it yet: a rebuild wants it from here
    care = await pageserver.round(after_seconds=61)
    assert care.archived.waiting_bytes == 0
    await database.stop(node)
    await node.keeping._jobs.finish(within_seconds=10)
    before = first_lsn(safekeepers[0])
    await pageserver.round()
    assert care.image is not None and care.image.lsn == care.archived.flush_lsn
    assert before < first_lsn(safekeepers[0]) <= care.image.lsn
    past = Past(node, database)
    assert await past.rows(Point(), "select count(*) from t", alone(database.kept)) == [(60000,)]


async def test_nothing_is_let_go_of_before_it_is_in_the_store(
    pageserver: Pageserver,
    node: KeepingNode,
    database: Database,
    safekeepers: list[ServedSafekeeper],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store that takes no WAL, and an image that is behind it already."""
    await database.start(node)
    await database.run("create table t (n int)", "insert into t select generate_series(1, 60000)")
    put = pageserver.store.put_contents

    async def refuse(objects: dict[str, bytes]) -> None:
        if any("/wal/" in key for key in objects):
            raise StoreUnavailable("The object store cannot put: 503.")
        await put(objects)

    monkeypatch.setattr(pageserver.store, "put_contents", refuse)
    await database.stop(node)
    await node.keeping._jobs.finish(within_seconds=10)
    begin = first_lsn(safekeepers[0])
    care = await pageserver.round()
    assert "MB of WAL wait on the database's safekeepers" in (care.problem or "") and "503" in (care.problem or "")
    assert care.history().problem == care.problem
    assert first_lsn(safekeepers[0]) == begin
    calls = care.failures
    await pageserver.round(after_seconds=0.0)
    assert care.failures == calls  # not before its pause is over
    monkeypatch.setattr(pageserver.store, "put_contents", put)
    await pageserver.round(after_seconds=120)
    assert care.problem is None and care.archived.waiting_bytes == 0
    assert first_lsn(safekeepers[0]) > begin


async def test_a_pageserver_that_is_killed_before_the_word_to_safekeepers_gives_it_later(
    pageserver: Pageserver,
    node: KeepingNode,
    database: Database,
    safekeepers: list[ServedSafekeeper],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t select generate_series(1, 60000)")
    await database.stop(node)
    await node.keeping._jobs.finish(within_seconds=10)
    begin = first_lsn(safekeepers[0])

    class Killed(BaseException):
        pass

    def die(name: str) -> None:
        if name == "pageserver.trim.before":
            raise Killed

    monkeypatch.setattr("spg99.faults.point", die)
    with pytest.raises(Killed):
        await pageserver.round()
    monkeypatch.undo()
    assert first_lsn(safekeepers[0]) == begin
    pageserver.begin()
    puts: list[Any] = []
    monkeypatch.setattr(pageserver.store, "put_contents", puts.append)
    await pageserver.round()
    assert puts == []  # all of it is there
    assert first_lsn(safekeepers[0]) > begin


async def test_a_laggard_keeps_what_it_does_not_have_from_the_others(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    pageserver = Pageserver(node, of_three)
    await of_three.start(node)
    await of_three.run("create table t (n int)", "insert into t values (1)")
    await safekeepers[0].stop()
    await of_three.run("insert into t select generate_series(1, 60000)")
    await of_three.stop(node)
    await node.keeping._jobs.finish(within_seconds=10)
    care = await pageserver.round()
    assert care.archived.waiting_bytes == 0 and care.problem is None
    await safekeepers[0].start()
    begin = first_lsn(safekeepers[0])
    await pageserver.round()
    (laggard,) = safekeepers[0].timelines.all()
    assert first_lsn(safekeepers[1]) > first_lsn(safekeepers[0]) >= begin
    assert laggard.keeper.first_lsn <= laggard.keeper.flush_lsn
    await pageserver.rounds.aclose()


@pytest.mark.slow  # again
async def test_many_lives_leave_one_past(
    pageserver: Pageserver, node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await database.start(node)
    await database.run("create table t (n int)")
    past, lsns = Past(node, database), []
    for n in range(4):
        await database.run(
            f"insert into t values ({n})", "create table x as select generate_series(1, 20000)", "drop table x"
        )
        lsns.append(await past.lsn())
        await pageserver.round()
        lose(node, database)
        await database.start(node)
    await pageserver.round(after_seconds=61)
    await pageserver.round(after_seconds=61)
    await safekeepers[0].stop()
    for n, lsn in enumerate(lsns):
        assert await past.rows(Point(lsn=lsn), "select max(n) from t", alone(database.kept)) == [(n,)]


async def test_a_busy_database_gets_images_by_itself_and_safekeepers_let_go_of_what_is_behind(
    pageserver: Pageserver,
    node: KeepingNode,
    database: Database,
    safekeepers: list[ServedSafekeeper],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PROFILES, Size.L1, replace(PROFILES[Size.L1], max_wal_size_mb=24))
    await database.start(node)
    await database.run("create table t (n int)")
    await checkpoint(database)
    await database.run("insert into t select generate_series(1, 30000)")
    begin = first_lsn(safekeepers[0])
    rounds = pageserver.rounds
    rounds._sandbox = Sandbox(node.folder.root / "sandbox", node.binaries, node.account)
    ordered = pageserver.care.ordered
    rounds.learn([ordered.model_copy(update={"image_wal_bytes": 1 << 30})])
    care = await pageserver.round()
    assert care.oldest is not None and await rounds.build() > 0  # not enough WAL
    rounds.learn([ordered.model_copy(update={"image_wal_bytes": 1 << 20})])
    assert await rounds.build() == 0.0
    assert care.verified_at is not None and care.history().problem is None
    await pageserver.round()
    assert begin < first_lsn(safekeepers[0]) <= care.image.wal_lsn  # type: ignore[union-attr]
    assert care.history().recoverable_from == care.oldest.as_of
    lose(node, database)
    await database.start(node)
    assert await database.run("select count(*) from t") == [(30000,)]


async def test_a_build_that_fails_is_a_problem_that_is_said_and_not_tried_at_once(
    pageserver: Pageserver, node: KeepingNode, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t select generate_series(1, 60000)")
    rounds = pageserver.rounds
    rounds._sandbox = Sandbox(node.folder.root / "sandbox", node.binaries, node.account)
    rounds.learn([pageserver.care.ordered.model_copy(update={"image_wal_bytes": 1 << 20})])
    care = await pageserver.round()

    async def fail(*_: object) -> None:
        raise Damaged("A page is bad.")

    monkeypatch.setattr("spg99.pageserver.rounds.build_image", fail)
    await rounds.build()
    assert "A page is bad" in (care.history().problem or "")
    assert await rounds.build() > 0 and care.build_failures == 1
    monkeypatch.undo()
    pageserver.now += 3600
    await rounds.build()  # no checkpoint lies between: nothing newer, and no problem
    assert care.history().problem is None and care.build_after_lsn == care.archived.flush_lsn
