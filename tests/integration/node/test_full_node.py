"""A node whose disk somebody else has filled: the reserve lets it decide, stop, delete and wake until there is room again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from integration.node.conftest import Node
from integration.node.limits import FILL, MB, Tenant, held, small_disk
from kit.waits import until
from spg99.node.folder import NodeFolder
from spg99.postgres import Account, Binaries
from spg99.protocol.tasks import TimelineDelete
from spg99.resources import StorageState

pytestmark = pytest.mark.slow  # broken


@pytest.fixture
def small_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="spg99-"))
    try:
        with small_disk(folder, size_mb=400):
            folder.chmod(0o711)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def small_node(small_folder: Path, prepared: tuple[Binaries, Account | None, Path, Path]) -> AsyncIterator[Node]:
    binaries, account, template, extensions = prepared
    node = Node(NodeFolder.prepare(small_folder, "n1", account), binaries, account, template, extensions)
    yield node
    await node.end()


def fill_the_disk(path: Path) -> None:
    """Takes all that is left, as a log of somebody else would."""
    with path.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * MB)


async def test_somebody_else_fills_the_disk(small_node: Node) -> None:
    storage = small_node.computes.storage
    busy, sleeper, doomed = await Tenant.start(small_node), await small_node.create(), await small_node.create()
    with busy.connect() as session:
        session.execute("CREATE TABLE rows (id serial, body text)")
    async with held(small_node):
        await until("the reserve is there", small_node.folder.reserve_file.exists)
        foreign = small_node.folder.root / "somebody_elses.log"
        await asyncio.to_thread(fill_the_disk, foreign)
        await until("the reserve is given up", lambda: storage.reserve_is_given_up)
        assert not small_node.folder.reserve_file.exists() and storage.is_short
        with busy.connect() as session:
            session.execute("CREATE TABLE filler (id int, body text)")
            with pytest.raises(psycopg.errors.DiskFull, match="disk of this database's node is nearly full"):
                session.execute(FILL)
            for _ in range(50):  # what is in pages that are there is written and committed
                session.execute("INSERT INTO rows (body) VALUES ('x')")
                session.execute("UPDATE rows SET body = 'y' WHERE id = 1")
            session.execute("DROP TABLE filler")
        assert busy.seen().state is StorageState.NODE_FULL
        woken = await Tenant.start(small_node, timeline=sleeper)
        with woken.connect() as session:
            assert session.execute("SELECT 1").fetchone() == (1,)
        deletion = TimelineDelete(timeline_id=doomed.timeline_id)
        assert (await small_node.do("timeline.delete", deletion)).succeeded
        stop = {"compute_id": woken.started["compute_id"], "timeline_id": sleeper.timeline_id, "mode": "fast"}
        assert (await small_node.do("compute.stop", stop)).succeeded
        foreign.unlink()
        await until("the reserve is there again", lambda: not storage.reserve_is_given_up)
        await until("it heals by itself", lambda: not storage.is_short)
        with busy.connect() as session:
            session.execute("CREATE TABLE filler (id int, body text)")
            session.execute(FILL)
