"""What was written once, laid out again and read. Not here: whose past it is (databases.py)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg

from integration.node.kept.databases import APP, Database, KeepingNode
from kit.safekeepers import live_of, reached
from spg99.archive import Archive, Laid, Point, lay_out_at
from spg99.images import MasterKeyFile, TenantKey, TenantKeys
from spg99.objects import FolderStore
from spg99.pageserver.archiving import Archived, archive_turn
from spg99.postgres import Cluster
from spg99.protocol.tasks import Kept
from spg99.wal.lsn import parse_lsn


class Past:
    """A database's past as a restore sees it."""

    def __init__(self, node: KeepingNode, database: Database) -> None:
        self.node, self.database = node, database
        self.store = FolderStore(node.objects_dir)
        self.archived = Archived()
        self._count = 0

    async def key(self) -> TenantKey:
        master = MasterKeyFile.at(self.node.objects_dir.parent / "master.key")
        return await TenantKeys(self.store, master).get(self.database.kept.tenant_id)

    async def archive(self, *, rests: bool = False) -> Archived:
        """One turn; `rests`: as after a minute in which nothing was written."""
        key = await self.key()
        async with live_of(self.database.timeline_id, self.database.kept) as live:
            await live.ask()
            idle = 0.0 if rests else 60.0
            archive = Archive(self.store, key, self.database.timeline_id)
            await archive_turn(self.archived, live, archive, time.monotonic(), idle_seconds=idle)
        return self.archived

    async def lay_out(self, point: Point, kept: Kept | None = None) -> tuple[Path, Laid]:
        self._count += 1
        data_dir = self.node.folder.root / f"past{self._count}" / "pg"
        data_dir.parent.mkdir(mode=0o755)
        kept = kept or self.database.kept
        async with reached() as clients:
            laid = await lay_out_at(
                point,
                self.database.timeline_id,
                kept,
                clients,
                self.store,
                await self.key(),
                data_dir,
                self.node.account,
            )
        return data_dir, laid

    async def rows(self, point: Point, sql: str, kept: Kept | None = None) -> list[tuple[Any, ...]]:
        """What a query answers on the files of that moment."""
        data_dir, laid = await self.lay_out(point, kept)
        cluster = Cluster(data_dir, self.node.folder.run_dir / f"p{self._count}", self.node.binaries, self.node.account)
        await cluster.start({"shared_buffers": "16MB", "fsync": "off", "huge_pages": "off", **laid.settings})
        try:
            with psycopg.connect(host=str(cluster.socket_dir), user="spg99_admin", dbname=APP) as db:
                return db.execute(sql).fetchall()
        finally:
            await cluster.stop("immediate")

    async def lsn(self) -> int:
        return parse_lsn((await self.database.run("select pg_current_wal_insert_lsn()::text"))[0][0])


def alone(kept: Kept) -> Kept:
    """As after the loss of all its safekeepers."""
    return kept.model_copy(update={"addresses": {}})
