"""A pageserver that goes round when it is told to, and a collector with a clock of its own. Not here: their fixtures (conftest.py)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from integration.node.kept.databases import Database, KeepingNode
from integration.node.kept.pasts import Past
from spg99.images import MasterKeyFile, TenantKeys
from spg99.objects import FolderStore
from spg99.pageserver.garbage import Collector, Owned, Turn
from spg99.pageserver.rounds import Care, Metrics, Rounds
from spg99.protocol.pageserver import TimelineToKeep

HOUR = 3600.0


class Pageserver:
    """Rounds of one, with the one database to care for."""

    def __init__(self, node: KeepingNode, database: Database) -> None:
        self.database = database
        database.kept = database.kept.model_copy(update={"is_archived": True})
        self.store = FolderStore(node.objects_dir)
        self.master = MasterKeyFile.at(node.objects_dir.parent / "master.key")
        self.now = 0.0
        self.begin()

    def begin(self) -> None:
        """A process that knows nothing yet."""
        keys = TenantKeys(self.store, self.master)
        self.rounds = Rounds(self.store, keys, Metrics(CollectorRegistry()), monotonic=lambda: self.now)
        self.rounds.learn([TimelineToKeep(timeline_id=self.database.timeline_id, kept=self.database.kept)])

    @property
    def care(self) -> Care:
        return self.rounds.cares[self.database.timeline_id]

    async def round(self, after_seconds: float = 2.0) -> Care:
        self.now += after_seconds
        await self.rounds.round()
        return self.care


class Sweeper:
    """A collector with a clock of its own."""

    def __init__(self, pageserver: Pageserver, past: Past) -> None:
        self.pageserver, self.past = pageserver, past
        self.now: datetime | None = None
        """Of the first turn, then as it is moved."""
        self.collector = Collector(pageserver.store, grace_seconds=HOUR)

    async def turn(self, *, hours: float = 0.0, **facts: Any) -> Turn:
        self.now = (self.now or datetime.now(UTC)) + timedelta(hours=hours)
        care = self.pageserver.care
        ordered = care.ordered.model_copy(update=facts)
        owned = Owned(ordered, care.archived.history, care.segment_bytes)
        return await self.collector.collect(await self.past.key(), [owned], self.now)

    def objects(self, kind: str) -> set[str]:
        root = self.pageserver.store.root
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and f"/{kind}/" in str(path)}


async def lives(node: KeepingNode, database: Database, pageserver: Pageserver, count: int) -> None:
    """A database that was started and stopped so often, with some rows each time."""
    for n in range(count):
        await database.start(node)
        sql = "create table t (n int)" if n == 0 else "select 1"
        await database.run(sql, f"insert into t select {n} from generate_series(1, 20000)")
        await database.stop(node)
        await node.keeping._jobs.finish(within_seconds=20)
        await pageserver.round()
    await pageserver.round(after_seconds=61)
