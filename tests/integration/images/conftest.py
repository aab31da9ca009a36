"""A stopped cluster with tables in it, a store and a tenant's key."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from spg99.images import MasterKeyFile, Origin, TenantKey, TenantKeys
from spg99.objects import FolderStore
from spg99.postgres import Account, Binaries, Cluster, find_binaries, service_account

SETTINGS = {"shared_buffers": "16MB", "huge_pages": "off", "fsync": "off", "autovacuum": "off"}
ROWS = 20_000


async def statements_on(cluster: Cluster, *statements: str) -> list[tuple[object, ...]]:
    """Starts it, runs SQL, stops it cleanly; answers the rows of the last statement."""
    await cluster.start(SETTINGS)
    try:
        with psycopg.connect(
            host=str(cluster.socket_dir), user="spg99_admin", dbname="template1", autocommit=True
        ) as db:
            for statement in statements:
                found = db.execute(statement)
            return found.fetchall() if found.description else []
    finally:
        await cluster.stop()


@dataclass
class Room:
    """What a test of images needs."""

    root: Path
    binaries: Binaries
    account: Account | None
    store: FolderStore
    keys: TenantKeys
    key: TenantKey
    origin: Origin

    def cluster(self, name: str) -> Cluster:
        """A cluster in a folder of this name, there or not."""
        return Cluster(self.root / name / "pg", self.root / f"run-{name}", self.binaries, self.account)

    def control_data(self, cluster: Cluster) -> dict[str, str]:
        """What pg_controldata says."""
        command = [self.binaries.program("pg_controldata"), cluster.data_dir]
        said = subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C", "TZ": "UTC"})
        return {name: text.strip() for name, _, text in (line.partition(":") for line in said.stdout.splitlines())}

    def bad_checksums(self, cluster: Cluster) -> str:
        """What pg_checksums complains of; empty = nothing."""
        command = [self.binaries.program("pg_checksums"), "--check", "-D", cluster.data_dir]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
        return "" if done.returncode == 0 and "Bad checksums:  0" in done.stdout else done.stdout + done.stderr


@pytest.fixture(scope="session")
def binaries(session_data_dir: Path) -> Binaries:
    return find_binaries(None, copy_to=session_data_dir / "pg", account=service_account(None), major=18)


@pytest.fixture(scope="session")
def prepared(session_data_dir: Path, binaries: Binaries) -> Path:
    """The folder of a cluster with rows, made once and stopped cleanly; each test has a copy."""
    cluster = Cluster(
        session_data_dir / "images" / "pg", session_data_dir / "run-images", binaries, service_account(None)
    )

    async def prepare() -> None:
        await cluster.init()
        await statements_on(
            cluster,
            "create table notes (id int primary key, text text)",
            f"insert into notes select n, repeat('note ' || n, 20) from generate_series(1, {ROWS}) n",
            "create table few (id int)",
            "insert into few values (1)",
        )

    asyncio.run(prepare())
    return cluster.data_dir


@pytest_asyncio.fixture
async def room(data_dir: Path, binaries: Binaries) -> AsyncIterator[Room]:
    store = FolderStore(data_dir / "store")
    keys = TenantKeys(store, MasterKeyFile.at(data_dir / "keys" / "master.json"))
    key = await keys.get_or_make("ten_a")
    yield Room(data_dir, binaries, service_account(None), store, keys, key, Origin("ten_a", "tl_1", 1))
    await store.close()


@pytest_asyncio.fixture
async def cluster(room: Room, prepared: Path) -> AsyncIterator[Cluster]:
    """With rows, stopped cleanly."""
    cluster = room.cluster("first")
    await cluster.create_from(prepared)
    yield cluster
    await cluster.stop("immediate")


@pytest.fixture
def count() -> str:
    """A question whose answer is all rows."""
    return "select count(*), sum(id)::int8, md5(string_agg(text, '' order by id)) from notes"
