"""Kept databases for tests: nodes with a store, safekeepers, a pageserver. Not here: what they are (databases.py, pasts.py, pageservers.py, lazy_nodes.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from integration.node.kept.databases import Database, KeepingNode
from integration.node.kept.lazy_nodes import LazyNode
from integration.node.kept.pageservers import Pageserver, Sweeper
from integration.node.kept.pasts import Past
from kit.safekeepers import ServedSafekeeper, kept_by
from spg99.ids import new_id
from spg99.node.folder import NodeFolder
from spg99.postgres import Account, Binaries


@pytest_asyncio.fixture
async def make_node(
    data_dir: Path, prepared: tuple[Binaries, Account | None, Path, Path]
) -> AsyncIterator[Callable[..., KeepingNode]]:
    nodes: list[KeepingNode] = []
    binaries, account, template, extensions = prepared

    def make(name: str, kind: type[KeepingNode] = KeepingNode) -> KeepingNode:
        folder = NodeFolder.prepare(data_dir, name, account)
        node = kind(folder, binaries, account, template, extensions, objects_dir=data_dir / "objects")
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        await node.end()


@pytest_asyncio.fixture
async def safekeepers(data_dir: Path) -> AsyncIterator[list[ServedSafekeeper]]:
    made = [ServedSafekeeper(data_dir / f"sk{n}", data_dir / f"sk{n}.sock") for n in range(3)]
    for one in made:
        await one.start()
    yield made
    for one in made:
        await one.stop()


@pytest.fixture
def node(make_node: Callable[..., KeepingNode]) -> KeepingNode:
    return make_node("n1")


@pytest.fixture
def lazy_node(make_node: Callable[..., KeepingNode]) -> LazyNode:
    made = make_node("n1", LazyNode)
    assert isinstance(made, LazyNode)
    return made


@pytest.fixture
def database(safekeepers: list[ServedSafekeeper]) -> Database:
    return Database(kept_by(safekeepers[0], tenant_id=new_id("ten")))


@pytest.fixture
def of_three(safekeepers: list[ServedSafekeeper]) -> Database:
    return Database(kept_by(*safekeepers, tenant_id=new_id("ten")))


@pytest.fixture
def past(node: KeepingNode, database: Database) -> Past:
    return Past(node, database)


@pytest_asyncio.fixture
async def pageserver(node: KeepingNode, database: Database) -> AsyncIterator[Pageserver]:
    made = Pageserver(node, database)
    yield made
    await made.rounds.aclose()


@pytest.fixture
def sweeper(pageserver: Pageserver, past: Past) -> Sweeper:
    return Sweeper(pageserver, past)
