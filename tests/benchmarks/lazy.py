"""Databases that wake on a node that has none of their files, behind a store that takes 15 ms for each request: laid out whole, and lazily.

The agent's own parts in one process, without Control Plane and Gateway: what is measured begins with the order to start and ends with an answer of the database.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.table import Table, mid, ms

from integration.node.kept.databases import Database, KeepingNode, image_after_stop
from integration.node.kept.lazy_nodes import LazyNode
from kit.safekeepers import ServedSafekeeper, kept_by
from spg99 import images
from spg99.ids import new_id
from spg99.node.folder import NodeFolder
from spg99.node.template import prepare_extensions, prepare_template
from spg99.objects import Entry, ObjectStore, Stored
from spg99.postgres import find_binaries, service_account

REQUEST_SECONDS = 0.015
ROW_BYTES = 1000
LOOKUPS = 100


class SlowStore:
    """An object store that is far away: each request takes a while before it begins, as many at once as there are."""

    def __init__(self, real: ObjectStore) -> None:
        self.real = real
        self.requests = 0

    async def _away(self) -> None:
        self.requests += 1
        await asyncio.sleep(REQUEST_SECONDS)

    async def get(self, key: str) -> Stored:
        await self._away()
        return await self.real.get(key)

    async def entries(self, prefix: str, *, after: str = "") -> AsyncIterator[Entry]:
        await self._away()
        async for entry in self.real.entries(prefix, after=after):
            yield entry

    async def put_contents(self, objects: Mapping[str, bytes]) -> None:
        await self.real.put_contents(objects)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


async def far(node: KeepingNode, database: Database) -> SlowStore:
    """The node's store behind a line."""
    objects, _ = await node.keeping._store(database.kept)
    real = objects.real if isinstance(objects, SlowStore) else objects
    slow = SlowStore(real)
    master = await asyncio.to_thread(images.MasterKeyFile.at, node.objects_dir.parent / "master.key")
    # A fresh agent's keys: the tenant's is asked for, too.
    node.keeping._opened = (slow, images.TenantKeys(slow, master))  # type: ignore[arg-type]
    return slow


async def filled(node: KeepingNode, database: Database, megabytes: int) -> int:
    """Rows of about that much, with an index, in an image; answers how many."""
    rows = megabytes * 1_000_000 // (ROW_BYTES + 60)
    await database.start(node)

    def fill() -> None:
        with database.connect() as db:
            db.execute("create table t (n int, filler text)")
            db.execute(
                f"alter table t alter filler set storage plain; insert into t select n, (select string_agg(md5(n::text || i), '') from generate_series(1, {ROW_BYTES // 32}) i) from generate_series(1, {rows}) n"
            )
            db.execute("alter table t add primary key (n)")
            db.execute("vacuum (freeze, analyze) t")

    await asyncio.to_thread(fill)
    await image_after_stop(node, database, seconds=300)
    return rows


def lose(node: KeepingNode, database: Database) -> None:
    """All its files."""
    shutil.rmtree(node.folder.timeline(database.timeline_id).root)
    shutil.rmtree(node.folder.chunks_dir, ignore_errors=True)


async def wake(node: KeepingNode, database: Database, rows: int, seed: int) -> dict[str, float]:
    """One wake on nothing: seconds until the first query and until all look-ups have answered."""
    lose(node, database)
    slow = await far(node, database)
    began = time.perf_counter()
    await database.start(node)
    serves = time.perf_counter() - began

    def ask() -> tuple[float, float]:
        with database.connect() as db:
            db.execute("select 1")
            first = time.perf_counter() - began
            chance = random.Random(seed)
            for _ in range(LOOKUPS):
                found = db.execute("select filler from t where n = %s", (chance.randrange(1, rows),)).fetchone()
                assert found is not None
            return first, time.perf_counter() - began

    first, looked_up = await asyncio.to_thread(ask)
    requests = slow.requests
    return {"serves": serves, "first": first, "lookups": looked_up, "requests": requests}


async def scan(database: Database) -> float:
    """Seconds for all rows, by one reader."""

    def read() -> float:
        with database.connect() as db:
            db.execute("set max_parallel_workers_per_gather = 0")
            began = time.perf_counter()
            db.execute("select sum(length(filler)) from t")
            return time.perf_counter() - began

    return await asyncio.to_thread(read)


async def measure(root: Path, sizes: list[int], rounds: int) -> Table:
    """The table."""
    table = Table(
        "Wake on a node without files, store with 15 ms a request",
        ("database", "how", "serves", "first query", f"and {LOOKUPS} scattered look-ups", "requests", "then all rows"),
    )
    account = service_account(None)
    binaries = find_binaries(None, copy_to=root / "pg", account=account)
    folder = NodeFolder.prepare(root, "n1", account)
    template = await prepare_template(folder, binaries, account)
    extensions = await asyncio.to_thread(prepare_extensions, folder, binaries)
    safekeeper = ServedSafekeeper(root / "sk", root / "sk.sock")
    await safekeeper.start()
    whole = KeepingNode(folder, binaries, account, template, extensions, objects_dir=root / "objects")
    lazy = LazyNode(folder, binaries, account, template, extensions, objects_dir=root / "objects")
    firsts = []
    try:
        for megabytes in sizes:
            database = Database(kept_by(safekeeper, tenant_id=new_id("ten")))
            rows = await filled(whole, database, megabytes)
            for node, how in ((whole, "whole"), (lazy, "lazy, nothing recorded"), (lazy, "lazy, recorded set")):
                seen: list[dict[str, float]] = []
                scans = []
                for turn in range(rounds if node is lazy else 1):
                    if how == "lazy, nothing recorded":
                        (objects, _) = await node.keeping._store(database.kept)
                        await objects.delete(
                            f"tenants/{database.kept.tenant_id}/timelines/{database.timeline_id}/wake_set"
                        )
                    seen.append(await wake(node, database, rows, seed=1))
                    if turn == rounds - 1:
                        scans.append(await scan(database))
                    await image_after_stop(node, database, seconds=300)
                cells = [ms(mid([one[what] for one in seen])) for what in ("serves", "first", "lookups")]
                table.add(
                    f"{megabytes} MB",
                    how,
                    *cells,
                    int(mid([one["requests"] for one in seen])),
                    f"{scans[0]:.2f} s" if scans else "",
                )
                print(table.rows[-1], flush=True)
                if how == "lazy, recorded set":
                    firsts.append(mid([one["first"] for one in seen]))
    finally:
        for node in (whole, lazy):
            await node.end()
        await safekeeper.stop()
    table.notes.append(
        f"First query over all sizes within {max(firsts) / min(firsts):.2f} x (goals: <= 250 ms, 1.3 x; look-ups with the recorded set <= 450 ms)."
    )
    return table


def run(*, quick: bool = False) -> list[Table]:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="spg99-lazy-", dir="/tmp") as root:
        Path(root).chmod(0o755)
        return [asyncio.run(measure(Path(root), [20] if quick else [100, 1000], 2 if quick else 5))]
