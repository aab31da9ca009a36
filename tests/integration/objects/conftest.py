"""Every object store there is, empty, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from spg99.objects import FolderStore, ObjectStore


@pytest_asyncio.fixture(params=["folder"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    store = FolderStore(tmp_path / "store")
    yield store
    await store.close()
