"""Safekeepers of a database that runs are replaced by others: commits go on, and nothing that was acknowledged is lost with the old ones."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from integration.node.kept.databases import Database, KeepingNode, lose
from kit.safekeepers import ServedSafekeeper
from kit.waits import until
from spg99.node import members, standbys
from spg99.protocol.safekeeper import Configuration, Members
from spg99.protocol.tasks import Kept, TimelineMembers


@pytest_asyncio.fixture
async def spares(data_dir: Path) -> AsyncIterator[list[ServedSafekeeper]]:
    made = [ServedSafekeeper(data_dir / f"spare{n}", data_dir / f"spare{n}.sock") for n in range(3)]
    for one in made:
        await one.start()
    yield made
    for one in made:
        await one.stop()


class Killed(BaseException):
    """The agent has ended here."""


class Changes:
    """As the Control Plane drives them."""

    def __init__(self, node: KeepingNode, database: Database, *safekeepers: ServedSafekeeper) -> None:
        self.node, self.database = node, database
        self.sockets = {one.id: str(one.socket) for one in safekeepers}

    def _kept(self, number: int, ids: set[str], next_ids: set[str] | None) -> Kept:
        def members(some: set[str]) -> Members:
            return Members(safekeeper_ids=sorted(some), quorum=len(some) // 2 + 1)

        configuration = Configuration(
            number=number, members=members(ids), next_members=members(next_ids) if next_ids is not None else None
        )
        there = ids | (next_ids or set())
        return self.database.kept.model_copy(
            update={"configuration": configuration, "addresses": {one: self.sockets[one] for one in there}}
        )

    async def order(self) -> bool:
        order = TimelineMembers(timeline_id=self.database.timeline_id, kept=self.database.kept)
        result = await self.node.do("timeline.members", order)
        assert result.succeeded, result.error
        return bool(result.result["is_finished"])

    async def begin(self, leaves: ServedSafekeeper, joins: ServedSafekeeper) -> None:
        before = self.database.kept.configuration
        ids = set(before.members.safekeeper_ids)
        self.database.kept = self._kept(before.number + 1, ids, ids - {leaves.id} | {joins.id})

    async def finish(self) -> None:
        before = self.database.kept.configuration
        assert before.next_members is not None
        self.database.kept = self._kept(before.number + 1, set(before.next_members.safekeeper_ids), None)
        assert await self.order()

    async def replace(self, leaves: ServedSafekeeper, joins: ServedSafekeeper) -> None:
        await self.begin(leaves, joins)
        while not await self.order():
            pass
        await self.finish()


class Load:
    """Rows that are written all the while, one by one."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.acknowledged = 0
        self.slowest_seconds = 0.0
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        connection = await psycopg.AsyncConnection.connect(self.database.connect_string(), autocommit=True)
        async with connection:
            while not self.stopped.is_set():
                began = loop.time()
                await connection.execute("insert into t values (%s)", (self.acknowledged + 1,))
                self.acknowledged += 1
                self.slowest_seconds = max(self.slowest_seconds, loop.time() - began)


async def test_all_are_replaced_one_by_one_under_load(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper], spares: list[ServedSafekeeper]
) -> None:
    """Each is gone with its disk before it is replaced, and nothing was stored elsewhere."""
    await of_three.start(node)
    await of_three.run("create table t (n int primary key)", "insert into t values (0)")
    changes = Changes(node, of_three, *safekeepers, *spares)
    load = Load(of_three)
    writing = asyncio.create_task(load.run())
    pid = of_three.started["pid"]
    for gone, new in zip(safekeepers, spares, strict=True):
        before = load.acknowledged
        await until("some commits", lambda before=before: load.acknowledged > before + 20)
        await gone.stop()
        shutil.rmtree(gone.root)
        await changes.replace(gone, new)

        def has_all(new: ServedSafekeeper = new) -> bool:
            return new.timelines.get(of_three.timeline_id).seen().caught_up

        await until("the new one to have it all", has_all)  # before the next is lost: two of three are
        before = load.acknowledged
        await until("commits to go on", lambda before=before: load.acknowledged > before + 20)
        assert not writing.done()
    load.stopped.set()
    await writing
    assert of_three.started["pid"] == pid and load.slowest_seconds < 10
    lose(node, of_three)
    await of_three.start(node)
    assert await of_three.run("select count(*), max(n) from t") == [(load.acknowledged + 1, load.acknowledged)]


async def test_a_change_goes_on_after_the_agent_was_killed_in_the_middle(
    node: KeepingNode,
    of_three: Database,
    safekeepers: list[ServedSafekeeper],
    spares: list[ServedSafekeeper],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file of names is written and the server has not read it: another agent finds it written, and has to be sure all the same."""
    await of_three.start(node)
    await of_three.run("create table t (n int)")
    changes = Changes(node, of_three, *safekeepers, *spares)
    await safekeepers[0].stop()
    await changes.begin(safekeepers[0], spares[0])
    monkeypatch.setattr(standbys.os, "kill", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        await members.reconfigure(node.keeping, of_three.timeline_id, of_three.kept, node.computes.running()[0])
    monkeypatch.undo()
    await node.computes.leave()
    node.fresh_agent()
    assert await node.computes.adopt() == 1
    shown = "select setting from pg_settings where name = 'synchronous_standby_names'"
    before = await of_three.run(shown)
    while not await changes.order():
        pass
    assert await of_three.run(shown) != before
    await changes.finish()
    await of_three.run("insert into t values (1)")
    await safekeepers[1].stop()
    lose(node, of_three)
    await of_three.start(node)
    assert await of_three.run("select n from t") == [(1,)]


async def test_members_are_changed_while_it_sleeps(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper], spares: list[ServedSafekeeper]
) -> None:
    await of_three.start(node)
    await of_three.run("create table t (n int)", "insert into t values (1)")
    await of_three.stop(node)
    await safekeepers[0].stop()
    changes = Changes(node, of_three, *safekeepers, *spares)
    await changes.replace(safekeepers[0], spares[0])
    shutil.rmtree(node.folder.timeline(of_three.timeline_id).root)
    await of_three.start(node)
    await of_three.run("insert into t values (2)")
    await until("it to have it all", lambda: spares[0].timelines.get(of_three.timeline_id).seen().caught_up)
    await safekeepers[1].stop()
    lose(node, of_three)
    await of_three.start(node)
    assert await of_three.run("select n from t order by n") == [(1,), (2,)]
