"""Servers on files that are not here, killed with everything while they write and chunks come, and their agent with them: balances, rows by heap and by index,
and every chunk that is called clean compared with its name. Not here: the library's own random histories (provider/lazy_pages)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable

import psutil
import psycopg
import pytest

from integration.node.kept.databases import Database, KeepingNode, image_after_stop
from integration.node.kept.lazy_nodes import LazyNode, home, map_of, with_library
from kit.waits import until
from spg99.images import Known
from spg99.images.manifest import CHUNK_BYTES, wake_set_key
from spg99.node import kept_files
from spg99.node.lazy_map import ABSENT, CLEAN, DIRTY

pytestmark = with_library

ACCOUNTS = 60000
NEAR = 3000
"""Accounts that one life writes: the others' chunks stay away."""
WRITERS = 4
TABLES = [
    "create table accounts (aid int primary key, bal int not null default 0, filler char(400) default '')",
    f"insert into accounts select n from generate_series(1, {ACCOUNTS}) n",
    "create table branches (bid int primary key, bal int not null default 0)",
    "insert into branches select n from generate_series(1, 10) n",
    "create table history (writer int, n int, delta int)",
]


class Writers:
    """Moves money until its server is gone; what was acknowledged is counted."""

    def __init__(self, database: Database) -> None:
        self.acknowledged = [0] * WRITERS
        self.database = database
        self.threads: list[threading.Thread] = []

    def begin(self, near: int) -> None:
        self.near = near
        self.threads = [threading.Thread(target=self._write, args=(writer,)) for writer in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    async def ended(self) -> None:
        for thread in self.threads:
            await asyncio.to_thread(thread.join, 30)
            assert not thread.is_alive()

    def _write(self, writer: int) -> None:
        chance = random.Random(writer * 1000 + self.acknowledged[writer])
        with contextlib.suppress(psycopg.Error), self.database.connect() as db:
            while True:
                delta, account, branch = (
                    chance.randint(-99, 99),
                    self.near + chance.randrange(NEAR),
                    chance.randint(1, 10),
                )
                number = self.acknowledged[writer] + 1
                with db.transaction():
                    db.execute("update accounts set bal = bal + %s where aid = %s", (delta, account))
                    db.execute("update branches set bal = bal + %s where bid = %s", (delta, branch))
                    db.execute("insert into history values (%s, %s, %s)", (writer, number, delta))
                self.acknowledged[writer] = number


def kill_all(database: Database) -> None:
    """The postmaster and all of its processes, at once."""
    postmaster = psutil.Process(database.started["pid"])
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


async def check(database: Database, acknowledged: list[int]) -> None:
    """Balances, rows by heap and by index, and nothing that was acknowledged is missing."""
    ((accounts, rows),) = await database.run("select sum(bal), count(*) from accounts")
    ((branches,),) = await database.run("select sum(bal) from branches")
    ((history,),) = await database.run("select coalesce(sum(delta), 0) from history")
    assert (accounts, branches, rows) == (history, history, ACCOUNTS)
    by_index = await database.run(
        "set enable_seqscan = off",
        "set enable_bitmapscan = off",
        "select count(*), sum(bal) from accounts where aid > 0",
    )
    assert by_index == [(ACCOUNTS, history)]
    seen = dict(await database.run("select writer, max(n) from history group by writer"))
    there = dict(await database.run("select writer, count(*) from history group by writer"))
    for writer, number in enumerate(acknowledged):
        assert there.get(writer, 0) >= number, f"writer {writer}: {number} acknowledged, {there.get(writer, 0)} there"
        assert seen.get(writer, 0) <= number + 1
    for writer, number in seen.items():
        acknowledged[writer] = number


async def wrong_clean_chunks(node: KeepingNode, database: Database) -> tuple[int, list[str]]:
    """Of a stopped folder: how many chunks are called clean, and which of them are not what the image has."""
    timeline = home(node, database)
    known = Known.load(kept_files.known_file(timeline))
    assert known is not None
    _, keys = await node.keeping._store(database.kept)
    key = await keys.get(database.kept.tenant_id)
    names = {file.path: file.chunks for file in known.manifest.chunked}
    found, clean = [], 0
    with contextlib.closing(map_of(node, database)) as seen:
        for path, states in seen.states_by_path(timeline.data_dir).items():
            content = (timeline.data_dir / path).read_bytes()
            for number, state in enumerate(states):
                if state == CLEAN:
                    clean += 1
                    if key.name(content[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]) != names[path][number]:
                        found.append(f"{path} {number}")
    return clean, found


async def rounds_of_kills(
    lazy_node: LazyNode, database: Database, make_node: Callable[..., KeepingNode], rounds: int
) -> None:
    chance = random.Random(rounds)
    await database.start(lazy_node)
    await database.run(*TABLES)
    await image_after_stop(lazy_node, database)
    writers = Writers(database)
    for number in range(rounds):
        shutil.rmtree(home(lazy_node, database).root)
        objects, _ = await lazy_node.keeping._store(database.kept)
        await objects.delete(wake_set_key(database.kept.tenant_id, database.timeline_id))  # or all would come by itself
        await database.start(lazy_node)
        for _ in range(2):  # the second time on what the first kill has left
            writers.begin(chance.randint(1, ACCOUNTS - NEAR))
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            with contextlib.closing(map_of(lazy_node, database)) as found:
                states = [found.state(n) for n in range(found.chunks)]
            if chance.random() < 0.5:  # its agent, too
                await lazy_node.computes.leave()
                lazy_node.fresh_agent()
            kill_all(database)
            await writers.ended()
            await lazy_node.computes.adopt()
            await until("its end to be noticed", lambda: lazy_node.computes.find(database.compute_id) is None)
            print(
                f"round {number}: {[states.count(n) for n in (ABSENT, CLEAN, DIRTY)]} absent, clean, dirty at the kill"
            )
            await database.start(lazy_node)
        assert home(lazy_node, database).map_file.exists()
        await check(database, writers.acknowledged)
        await database.stop(lazy_node)
        if home(lazy_node, database).map_file.exists():
            clean, wrong = await wrong_clean_chunks(lazy_node, database)
            assert not wrong, f"{wrong} of {clean}"
        await until("its image", lambda: len(lazy_node.keeping._jobs) == 0)
    shutil.rmtree(home(lazy_node, database).root)
    whole = make_node("n1")  # and all of it from the last image
    await database.start(whole)
    assert not home(whole, database).map_file.exists()
    await check(database, writers.acknowledged)
    await lazy_node.computes.leave()


@pytest.mark.slow  # broken
async def test_kills_lose_nothing(
    lazy_node: LazyNode, database: Database, make_node: Callable[..., KeepingNode]
) -> None:
    await rounds_of_kills(lazy_node, database, make_node, 1)


@pytest.mark.long
@pytest.mark.timeout(1500)
async def test_many_kills_lose_nothing(
    lazy_node: LazyNode, database: Database, make_node: Callable[..., KeepingNode]
) -> None:
    await rounds_of_kills(lazy_node, database, make_node, 12)
