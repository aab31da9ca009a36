"""A node for tests: real PostgreSQL, once prepared, and tools to look at it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from integration.node.fake_plane import FakePlane
from spg99.ids import new_id
from spg99.node.computes import Computes
from spg99.node.folder import NodeFolder
from spg99.node.handlers import Handlers
from spg99.node.observation import Observer
from spg99.node.template import prepare_extensions, prepare_template
from spg99.node.timelines import Timelines
from spg99.postgres import Account, Binaries, find_binaries, service_account
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import ComputeStart, TimelineCreate
from spg99.resources import Size

_task_ids = itertools.count(1)
BEARER = "bearer-of-this-node"


class Node:
    """A node without its agent's loops: orders go straight to the handlers."""

    def __init__(
        self, folder: NodeFolder, binaries: Binaries, account: Account | None, template: Path, extensions: Path
    ) -> None:
        self.folder, self.binaries, self.account = folder, binaries, account
        self.template, self.extensions = template, extensions
        self.fresh_agent()

    def fresh_agent(self) -> None:
        """What an agent knows right after its start: nothing."""
        self.computes = Computes(self.folder, self.binaries, self.account, extensions_dir=self.extensions)
        self.timelines = Timelines(self.folder, self.template, self.binaries, self.account)
        self.observer = Observer(self.folder, self.computes)
        self.handlers = Handlers(self.computes, self.timelines, self.observer)

    async def do(self, kind: str, order: Any) -> TaskResult:
        """Carries out an order as a signed task."""
        payload = order if isinstance(order, dict) else order.model_dump(mode="json")
        expires_at = datetime.now(UTC) + timedelta(minutes=1)
        task = Task(task_id=next(_task_ids), kind=kind, payload=payload, attempt=1, expires_at=expires_at)
        signed = task.signed_with(hashlib.sha256(BEARER.encode()).hexdigest())
        return await self.handlers.carry_out(signed, bearer_token=BEARER, now=datetime.now(UTC))

    async def create(self, *, database_name: str = "app", pg_user: str = "acme_user") -> TimelineCreate:
        """A timeline that is there."""
        order = TimelineCreate(timeline_id=new_id("tl"), database_name=database_name, pg_user=pg_user)
        result = await self.do("timeline.create", order)
        assert result.succeeded, result.error
        return order

    def start_order(self, timeline: TimelineCreate, *, term: int = 1, profile: Size = Size.L1) -> ComputeStart:
        return ComputeStart(
            compute_id=new_id("cmp"), timeline_id=timeline.timeline_id, db_id=new_id("db"), writer_term=term,
            profile=profile, database_name=timeline.database_name, pg_user=timeline.pg_user,
        )  # fmt: skip

    async def start(self, timeline: TimelineCreate, *, term: int = 1) -> dict[str, Any]:
        """A compute that runs: the result of its start."""
        result = await self.do("compute.start", self.start_order(timeline, term=term))
        assert result.succeeded, result.error
        return result.result

    async def end(self) -> None:
        await self.computes.adopt()
        await self.computes.stop_all("the test is over")
        await self.computes.leave()


def dsn(started: dict[str, Any], timeline: TimelineCreate, **other: str) -> str:
    """The way the Gateway goes in."""
    parts = {
        "host": started["backend_addr"], "port": str(started["backend_port"]), "user": timeline.pg_user,
        "dbname": timeline.database_name, **other,
    }  # fmt: skip
    return psycopg.conninfo.make_conninfo("", **parts)


@pytest.fixture(scope="session")
def prepared(session_data_dir: Path) -> tuple[Binaries, Account | None, Path, Path]:
    """Programs, account, template and extensions: what an agent makes at its first start."""
    account = service_account(None)
    folder = NodeFolder.prepare(session_data_dir, "prepared", account)
    binaries = find_binaries(None, copy_to=folder.pg_dir, account=account)
    template = asyncio.run(prepare_template(folder, binaries, account))
    return binaries, account, template, prepare_extensions(folder, binaries)


@pytest_asyncio.fixture
async def node(data_dir: Path, prepared: tuple[Binaries, Account | None, Path, Path]) -> AsyncIterator[Node]:
    binaries, account, template, extensions = prepared
    node = Node(NodeFolder.prepare(data_dir, "n1", account), binaries, account, template, extensions)
    yield node
    await node.end()


@pytest.fixture
def plane() -> Iterator[FakePlane]:
    plane = FakePlane()
    yield plane
    plane.close()
