"""Every object store there is, empty, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from kit import s3_servers
from kit.s3_servers import S3Server
from spg99.ids import random_word
from spg99.objects import ObjectStore, open_store


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """moto's server."""
    with s3_servers.moto() as server:
        yield server


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 gateway over a folder."""
    with s3_servers.versitygw(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@pytest_asyncio.fixture(params=["folder", "moto", pytest.param("versitygw", marks=pytest.mark.slow)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with _opened(request, tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture(params=["folder", "moto"])
async def fenced_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """Without versitygw: on a folder it asks for the condition and then writes, in two steps, and of two writers within a millisecond both
    may be told that they were alone (`posix.PutObject` of 1.8.0; seen with ten at once in six of six runs)."""
    async with _opened(request, tmp_path) as opened:
        yield opened


@contextlib.asynccontextmanager
async def _opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "folder":
        store = open_store(str(tmp_path / "store"))
    else:
        server: S3Server = request.getfixturevalue(request.param)
        store = server.store(random_word(8))
    yield store
    await store.close()
