"""Every object store there is, empty, one after the other."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from moto.server import ThreadedMotoServer

from spg99.ids import random_word
from spg99.objects import ObjectStore, open_store

_OPTIONS = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """moto's server with a bucket `bucket`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT"))
    yield endpoint
    server.stop()


@pytest_asyncio.fixture(params=["folder", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "folder":
        store = open_store(str(tmp_path / "store"))
    else:
        endpoint = request.getfixturevalue("s3_endpoint")
        store = open_store(f"s3://bucket/{random_word(8)}", {**_OPTIONS, "endpoint": endpoint})
    yield store
    await store.close()
