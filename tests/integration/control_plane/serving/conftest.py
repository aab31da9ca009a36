"""A real catalogue (PostgreSQL 18 and 16) and real HTTP servers on it, for the tests in this folder.

One cluster a session, one database a test (copied from a migrated one), as many Control Planes on it as a test wants.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from kit.servers import Server
from spg99.clock import Clock
from spg99.config import ControlPlaneSettings
from spg99.control_plane import bootstrap
from spg99.control_plane.catalogue import EmbeddedCatalogue
from spg99.control_plane.identity.keys import new_token
from spg99.control_plane.records import policies
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.records.secret_box import SecretBox
from spg99.control_plane.server import create_app
from spg99.control_plane.serving import http_server as serving
from spg99.control_plane.store import Store, migrate
from spg99.postgres import Binaries

BOX = SecretBox(os.urandom(32))


@dataclass
class Cluster:
    """A running PostgreSQL of one major version with a migrated template."""

    owner_url: str
    major: int
    programs: Binaries
    made: int = 0

    def program(self, name: str) -> Path:
        return self.programs.program(name)

    def url(self, database: str, role: str = "spg99_owner") -> str:
        return self.owner_url.replace("spg99_owner@/spg99?", f"{role}@/{database}?")

    def database(self, *, migrated: bool = True) -> str:
        """A fresh database; answers its URL as the owner."""
        self.made += 1
        name = f"test_{os.getpid()}_{self.made}"
        with psycopg.connect(self.url("postgres", "spg99_admin"), autocommit=True) as admin:
            template = "spg99" if migrated else "template1"
            admin.execute(f"create database {name} template {template} owner spg99_owner")
        return self.url(name)


@contextmanager
def running_cluster(major: int) -> Iterator[Cluster]:
    memory = Path("/dev/shm")  # thousands of small files: seconds in memory, minutes on a busy disk
    folder = Path(tempfile.mkdtemp(prefix="spg99-api-", dir=memory if os.access(memory, os.W_OK) else None))
    folder.chmod(0o755)  # as root another user runs PostgreSQL in there
    # A session makes a hundred databases in it and throws all away.
    catalogue = EmbeddedCatalogue(folder, major=major, settings={"fsync": "off", "full_page_writes": "off"})
    try:
        url = asyncio.run(catalogue.start())
        migrate.up(url)
        yield Cluster(url, major, catalogue.binaries)
    finally:
        asyncio.run(catalogue.stop())
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster18() -> Iterator[Cluster]:
    with running_cluster(18) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster16() -> Iterator[Cluster]:
    with running_cluster(16) as cluster:
        yield cluster


@pytest.fixture(params=[18, pytest.param(16, marks=pytest.mark.slow)], ids=["pg18", "pg16"])
def either_cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each test that takes this runs on both versions."""
    found: Cluster = request.getfixturevalue(f"cluster{request.param}")
    return found


@pytest.fixture
def url(cluster18: Cluster) -> str:
    """A migrated catalogue of one's own."""
    return cluster18.database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = Store(url, pool_size=6)
    await opened.open()
    yield opened
    await opened.close()


@dataclass
class Api:
    """One Control Plane and a way to call it."""

    app: FastAPI
    base_url: str
    admin_token: str
    http: httpx.AsyncClient = field(repr=False)

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.admin_token}"} | more.pop("headers", {})
        return await self.http.request(method, f"/v2{path}", json=body, headers=headers, **more)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The JSON of a call that must succeed."""
        answer = await self.call(method, path, body, **more)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def key(self, *permissions: str, name: str = "k", **spec: Any) -> str:
        """The token of a new key."""
        made = await self.ok("POST", "/keys", {"name": name, "permissions": list(permissions), **spec})
        return str(made["token"])

    async def tenant(self, name: str = "acme") -> Any:
        return await self.ok("POST", "/tenants", {"name": name})

    async def database(self, tenant: str = "acme", name: str = "app", **spec: Any) -> Any:
        return await self.ok("POST", f"/tenants/{tenant}/dbs", {"name": name, **spec})


MakeApi = Callable[..., Awaitable[Api]]


@pytest.fixture
async def make_api(url: str) -> AsyncIterator[MakeApi]:
    """Starts Control Planes on the catalogue of this test; they end with it."""
    token = new_token()
    async with _Servers() as servers:

        async def make(catalogue_url: str = url, clock: Clock | None = None, **settings: Any) -> Api:
            return await servers.start(catalogue_url, token, clock, **settings)

        yield make


@pytest.fixture
async def api(make_api: MakeApi) -> Api:
    """One Control Plane on a fresh catalogue."""
    return await make_api()


@asynccontextmanager
async def _bootstrapped(url: str, token: str) -> AsyncIterator[None]:
    store = Store(url, pool_size=2)
    await store.open()
    await bootstrap.bootstrap(store, admin_token=token)
    await store.close()
    yield


class _Servers:
    def __init__(self) -> None:
        self._running: list[tuple[Server, asyncio.Task[None], Api]] = []

    async def __aenter__(self) -> _Servers:
        return self

    async def __aexit__(self, *_: object) -> None:
        for server, task, api in self._running:
            await api.http.aclose()
            api.app.state.plane.close()
            server.should_exit = True
            await task

    async def start(self, url: str, token: str, clock: Clock | None, **settings: Any) -> Api:
        async with _bootstrapped(url, token):
            pass
        chosen = ControlPlaneSettings(
            catalogue_url=url, data_dir=Path(os.devnull), gateway_host="db.example", gateway_port=6543, **settings
        )
        app = create_app(chosen, Store(url, pool_size=6), clock, box=BOX)
        listener = socket.create_server(("127.0.0.1", 0))
        server = Server(serving.config_for(app))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.01)
        await asyncio.wait_for(app.state.plane.wakeups.listening.wait(), 10)
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        api = Api(app, base_url, token, httpx.AsyncClient(base_url=base_url, timeout=30, verify=False))
        self._running.append((server, task, api))
        return api


class ControlPlane:
    """`spg99 control-plane` as a process of its own."""

    def __init__(self, folder: Path, url: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spg99", "control-plane", "--data-dir", folder, "--catalogue-url", url, "--port", "0"],
            stdout=subprocess.PIPE, stderr=(folder / "stderr").open("ab"), env=os.environ | environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (folder / "stderr").read_text()
        self.ready = json.loads(line)
        self.token = token = (folder / "secrets" / "admin.key").read_text().strip()
        self.http = httpx.Client(base_url=self.ready["url"], headers={"Authorization": f"Bearer {token}"}, timeout=20)

    def __enter__(self) -> ControlPlane:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(20) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def control_plane() -> type[ControlPlane]:
    """`with control_plane(folder, catalogue_url, SPG99_X="..."):` is a real process."""
    return ControlPlane


async def set_policy(store: Store, key: str, value: int | bool | str, **where: Any) -> None:
    async with store.transaction() as tx:
        await policies.set_value(tx, key, value, SYSTEM, **where)


@pytest.fixture
def policy(store: Store) -> Callable[..., Awaitable[None]]:
    """Sets a policy: `await policy("limits.tenants_max", 1)`."""

    async def set_it(key: str, value: int | bool | str, **where: Any) -> None:
        await set_policy(store, key, value, **where)

    return set_it


@pytest.fixture
def was_started(url: str) -> Callable[..., Awaitable[None]]:
    """Makes a database one that was started once, has a safekeeper and sleeps, and a pageserver: as far as rows say."""
    members = {"safekeeper_ids": ["sk_1"], "quorum": 1}
    configuration = json.dumps({"number": 1, "members": members, "next_members": None})

    async def start(name: str) -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(
                "update timelines set state = 'present', configuration = %s where db_id in (select db_id from databases where name = %s)",
                [configuration, name],
            )
            await connection.execute("update databases set writer_term = 3 where name = %s", [name])
            pageserver = "insert into pageservers (pageserver_id, name, token_sha256) values ('ps_1', 'ps-1', 'hash') on conflict do nothing"
            await connection.execute(pageserver)

    return start
