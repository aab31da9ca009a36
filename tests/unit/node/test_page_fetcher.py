"""What is put into a server's files comes from the store or from this node's cache, and is what its name says. Not here: servers (tests/integration/node/kept/test_lazy_pages.py),
putting (test_lazy_folder.py)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spg99.errors import Damaged, NotFound
from spg99.ids import new_id
from spg99.images import TenantKey
from spg99.images.manifest import chunk_key
from spg99.node.folder import NodeFolder
from spg99.node.page_fetcher import LATER, NEVER, PageFetcher, Served
from spg99.node.wake_set import NOTHING
from spg99.objects import FolderStore

TENANT, TIMELINE = new_id("ten"), new_id("tl")
KEY = TenantKey(TENANT, b"k" * 32)
RAW = b"a chunk" * 1000
NAME = KEY.name(RAW)
PLACE = chunk_key(TENANT, NAME)


@pytest.fixture
def fetcher(tmp_path: Path) -> PageFetcher:
    return PageFetcher(NodeFolder(tmp_path, tmp_path / "run"), None, library=None, cache_bytes=1 << 20)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    folder: Any = SimpleNamespace(name_of=lambda _: NAME, put=lambda _chunk, raw: raw == RAW)
    return Served(TIMELINE, folder, FolderStore(tmp_path / "objects"), KEY, NOTHING)


def cached(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "chunks").rglob(NAME)
    return found


async def test_a_second_one_comes_from_the_cache(fetcher: PageFetcher, served: Served) -> None:
    await served.objects.put(PLACE, KEY.seal(RAW, NAME))
    assert await fetcher._raw(served, NAME) == RAW
    await served.objects.delete(PLACE)
    assert await fetcher._raw(served, NAME) == RAW
    assert (fetcher.counts.fetched, fetcher.counts.cached) == (1, 1)


@pytest.mark.parametrize("damage", ["a bit", "cut", "another chunk's"])
async def test_what_is_damaged_in_the_cache_is_fetched_anew(
    fetcher: PageFetcher, served: Served, tmp_path: Path, damage: str
) -> None:
    sealed = KEY.seal(RAW, NAME)
    await served.objects.put(PLACE, sealed)
    await fetcher._raw(served, NAME)
    other = KEY.seal(b"other", NAME)
    cached(tmp_path).write_bytes(
        {"a bit": sealed[:-1] + bytes([sealed[-1] ^ 1]), "cut": sealed[:-1], "another chunk's": other}[damage]
    )
    assert await fetcher._raw(served, NAME) == RAW
    assert cached(tmp_path).read_bytes() == sealed


async def test_what_is_damaged_in_the_store_is_never_put(fetcher: PageFetcher, served: Served) -> None:
    """It may be right again once the store was put right."""
    await served.objects.put(PLACE, KEY.seal(b"other", NAME))
    with pytest.raises(Damaged):
        await fetcher._raw(served, NAME)
    assert await fetcher._fetch(served, 0) == NEVER and fetcher.lost == set()


async def test_what_is_gone_makes_the_files_lost(fetcher: PageFetcher, served: Served) -> None:
    """And their compute is replaced."""
    with pytest.raises(NotFound):
        await fetcher._raw(served, NAME)
    assert await fetcher._fetch(served, 0) == NEVER and fetcher.lost == {TIMELINE}


async def test_after_the_end_of_its_server_nothing_is_put(fetcher: PageFetcher, served: Served) -> None:
    await served.objects.put(PLACE, KEY.seal(RAW, NAME))
    served.is_over = True
    assert await fetcher._fetch(served, 0) == LATER
