"""What the tests of limits share: a node whose bounds are held, a client that writes, a disk that is small."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.node.conftest import Node, dsn
from spg99.protocol.tasks import TimelineCreate
from spg99.resources import Size

MB = 1 << 20
FILL = "INSERT INTO filler SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 20000) g"
"""20 MB."""


@asynccontextmanager
async def held(node: Node) -> AsyncIterator[None]:
    """The loop of the agent that keeps computes within their bounds."""

    async def hold() -> None:
        while True:
            pause = await node.computes.hold(node.observer.connections)
            await asyncio.sleep(pause)

    loop = asyncio.create_task(hold())
    try:
        yield
    finally:
        loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loop


class Tenant:
    """One database that runs, and a session in it."""

    def __init__(self, node: Node, timeline: TimelineCreate, started: dict[str, Any]) -> None:
        self.node, self.timeline, self.started = node, timeline, started

    @classmethod
    async def start(
        cls,
        node: Node,
        *,
        limit: int = 0,
        profile: Size = Size.L1,
        timeline: TimelineCreate | None = None,
        term: int = 1,
    ) -> Tenant:
        timeline = timeline or await node.create()
        order = node.start_order(timeline, profile=profile, term=term).model_copy(update={"storage_limit_bytes": limit})
        result = await node.do("compute.start", order)
        assert result.succeeded, result.error
        return cls(node, timeline, result.result)

    @property
    def dsn(self) -> str:
        return dsn(self.started, self.timeline)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn, autocommit=True, connect_timeout=10, **options)

    def seen(self) -> Any:
        """What the next heartbeat will tell of its storage."""
        return self.node.computes.storage.seen(self.timeline.timeline_id)

    def files_bytes(self) -> int:
        """What is really there."""
        folder = self.node.folder.timeline(self.timeline.timeline_id).data_dir
        done = subprocess.run(
            ["du", "-s", "--apparent-size", "-B1", str(folder)], capture_output=True, text=True, check=False
        )
        return int(done.stdout.split()[0])


def fill(session: psycopg.Connection[Any], *, rounds: int = 100) -> psycopg.Error:
    """Writes until it is refused; answers the refusal."""
    session.execute("CREATE TABLE IF NOT EXISTS filler (id int, body text)")
    for _ in range(rounds):
        try:
            session.execute(FILL)
        except psycopg.Error as error:
            return error
    raise AssertionError("it was never refused")


@contextmanager
def small_disk(folder: Path, *, size_mb: int) -> Iterator[Path]:
    """A file system of its own at `folder`."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0755", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this system lets nobody mount a file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
