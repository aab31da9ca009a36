"""A kept database as the Control Plane orders it about, a node that keeps some, and what befalls them. Not here: fixtures (conftest.py)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psycopg

from integration.node.conftest import Node, dsn
from kit.waits import until
from spg99.ids import new_id
from spg99.images.manifest import images_prefix
from spg99.node.computes import Computes
from spg99.node.handlers import Handlers
from spg99.node.keeping import Keeping
from spg99.node.observation import Observer
from spg99.node.page_fetcher import PageFetcher
from spg99.protocol.node import TaskResult
from spg99.protocol.tasks import ComputeStart, ComputeStop, Kept, TimelineCreate
from spg99.resources import Size

APP = "app"
USER = "acme_user"


class KeepingNode(Node):
    """A node with an object store."""

    def __init__(self, *parts: Any, objects_dir: Path) -> None:
        self.objects_dir = objects_dir
        self.object_store = str(objects_dir)
        super().__init__(*parts)

    def page_fetcher(self) -> PageFetcher:
        return PageFetcher(self.folder, self.account, library=None)

    def fresh_agent(self) -> None:
        super().fresh_agent()
        self.keeping = Keeping(
            self.folder, self.account, object_store=self.object_store, template_dir=self.template,
            master_key_file=self.objects_dir.parent / "master.key", pages=self.page_fetcher(),
        )  # fmt: skip
        self.computes = Computes(
            self.folder, self.binaries, self.account, extensions_dir=self.extensions, keeping=self.keeping
        )
        self.observer = Observer(self.folder, self.computes)
        self.handlers = Handlers(self.computes, self.timelines, self.observer)


class Database:
    """One database as the Control Plane orders it about."""

    def __init__(self, kept: Kept) -> None:
        self.kept, self.timeline_id, self.db_id = kept, new_id("tl"), new_id("db")
        self.term = 0
        self.compute_id = ""
        self.started: dict[str, Any] = {}
        self.has_started = False

    async def attempt(self, node: Node) -> TaskResult:
        """One start, with a term of its own."""
        self.term += 1
        self.compute_id = new_id("cmp")
        order = ComputeStart(
            compute_id=self.compute_id, timeline_id=self.timeline_id, db_id=self.db_id, writer_term=self.term,
            profile=Size.L1, database_name=APP, pg_user=USER, kept=self.kept, makes_timeline=not self.has_started,
        )  # fmt: skip
        result = await node.do("compute.start", order)
        if result.succeeded:
            self.started, self.has_started = result.result, True
        return result

    async def start(self, node: Node, *, error: str | None = None) -> None:
        result = await self.attempt(node)
        if error is not None:
            assert not result.succeeded and error in (result.error or ""), result
            return
        assert result.succeeded, result.error

    async def stop(self, node: Node, mode: str = "fast") -> None:
        order = ComputeStop(compute_id=self.compute_id, timeline_id=self.timeline_id, mode=mode)
        assert (await node.do("compute.stop", order)).succeeded

    def connect_string(self) -> str:
        timeline = TimelineCreate(timeline_id=self.timeline_id, database_name=APP, pg_user=USER)
        return dsn(self.started, timeline)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.connect_string(), autocommit=True, **options)

    async def run(self, *statements: str) -> list[tuple[Any, ...]]:
        def run() -> list[tuple[Any, ...]]:
            with self.connect() as db:
                for statement in statements[:-1]:
                    db.execute(statement)
                cursor = db.execute(statements[-1])
                return cursor.fetchall() if cursor.description else []

        return await asyncio.wait_for(asyncio.to_thread(run), 30)

    def kill(self) -> None:
        os.kill(self.started["pid"], signal.SIGKILL)

    async def tli(self) -> int:
        return int((await self.run("select timeline_id from pg_control_checkpoint()"))[0][0])


def lose(node: KeepingNode, database: Database) -> None:
    root = node.folder.timeline(database.timeline_id).root
    aside = root.with_name(".trash-lost")
    root.rename(aside)
    database.kill()
    shutil.rmtree(aside, ignore_errors=True)


async def image_after_stop(node: KeepingNode, database: Database, *, seconds: float = 30) -> None:
    """Stops it, and waits until its image is in the store."""
    place = node.objects_dir / images_prefix(database.kept.tenant_id, database.timeline_id)
    before = set(place.iterdir())
    await database.stop(node)
    await until("an image", lambda: set(place.iterdir()) - before, seconds=seconds)
    await until("all that follows it", lambda: len(node.keeping._jobs) == 0)


async def checkpoint(database: Database) -> None:
    """As much WAL as PostgreSQL makes a checkpoint after by itself, and some behind it. The superuser cannot log in."""
    before = await database.run("select checkpoint_lsn::text from pg_control_checkpoint()")
    for _ in range(60):
        await database.run(
            "create table filler as select repeat(md5(n::text), 60) from generate_series(1, 3000) n",
            "drop table filler",
        )
        if await database.run("select checkpoint_lsn::text from pg_control_checkpoint()") != before:
            return
    raise AssertionError("no checkpoint came")
