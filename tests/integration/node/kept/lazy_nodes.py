"""A node whose servers start on files that are not here, and what is here of them. Not here: its fixture (conftest.py)."""

from __future__ import annotations

import pytest

from integration.node.kept.databases import Database, KeepingNode
from spg99.node.folder import TimelineFolder
from spg99.node.lazy_map import LazyMap
from spg99.node.page_fetcher import LIBRARY, PageFetcher

with_library = pytest.mark.skipif(not LIBRARY.is_file(), reason="no library was built")


class LazyNode(KeepingNode):
    """A node whose servers start on files that are not here."""

    def page_fetcher(self) -> PageFetcher:
        return PageFetcher(self.folder, self.account)


def home(node: KeepingNode, database: Database) -> TimelineFolder:
    return node.folder.timeline(database.timeline_id)


def map_of(node: KeepingNode, database: Database) -> LazyMap:
    found = LazyMap.open(home(node, database).map_file)
    assert found is not None
    return found


def states(node: KeepingNode, database: Database) -> dict[str, bytes]:
    found = map_of(node, database)
    try:
        return found.states_by_path(home(node, database).data_dir)
    finally:
        found.close()


async def path_of(database: Database, table: str) -> str:
    return str((await database.run(f"select pg_relation_filepath('{table}')"))[0][0])
