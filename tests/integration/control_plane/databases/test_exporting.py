"""Exports as the Control Plane brings them forward: one at a time on a node, taken in, failed, withdrawn, removed with what is stored of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent
from integration.control_plane.databases.test_branching import kept_platform, pins
from kit.waits import until
from spg99 import images
from spg99.config import ControlPlaneSettings
from spg99.control_plane import storage
from spg99.control_plane.databases import exports
from spg99.control_plane.databases.branch_points import Wanted
from spg99.control_plane.databases.branching import Branching
from spg99.control_plane.databases.exporting import Exporting
from spg99.control_plane.databases.exports import ExportRow
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.rows import find as find_database
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict
from spg99.objects import open_store, require_installation
from spg99.processes import WatchedClock
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import TaskKind


class Platform:
    """A platform with an agent that makes exports, and a loop that is turned by hand."""

    def __init__(self, inner: InProcessPlatform, agent: Agent, exporting: Exporting, objects: Any) -> None:
        self.inner, self.agent, self.exporting, self.objects = inner, agent, exporting, objects

    async def ask(self, name: str) -> ExportRow:
        async def source_of(tx: Transaction) -> DatabaseRow:
            row = await find_database(tx, self.inner.tenant.tenant_id, name)
            assert row is not None
            return row

        branching = Branching(self.inner.plane.store, self.inner.plane.wakeups, self.inner.clock)
        source, found = await branching.find(source_of, Wanted())
        async with self.inner.locked(source.db_id) as (tx, row):
            return await exports.create(tx, row, found, SYSTEM, schema_only=False, now=self.inner.clock.now())

    async def state(self, export: ExportRow) -> str | None:
        async with self.inner.plane.store.reading() as tx:
            row = await exports.find(tx, export.export_id)
        return row.state if row is not None else None

    async def turns_to(self, export: ExportRow, state: str | None) -> None:
        async def is_so() -> bool:
            await self.exporting.turn()
            return await self.state(export) == state

        await until(f"the export is {state}", is_so)


@pytest.fixture
async def platform_(platform: InProcessPlatform, tmp_path: Path) -> Platform:
    agent = await kept_platform(platform)
    objects = open_store(str(tmp_path / "objects"))
    installation = storage.Installation()
    async with platform.plane.store.reading() as tx:
        await require_installation(objects, await installation.id(tx))
    await images.open_keys(objects, tmp_path / "secrets" / "storage.key")
    settings = ControlPlaneSettings(data_dir=tmp_path, object_store=str(tmp_path / "objects"))
    access = storage.StoreAccess(settings)
    clock = WatchedClock(platform.clock, lambda: platform.clock.now().timestamp())
    return Platform(platform, agent, Exporting(platform.plane.store, clock, access, installation), objects)


def result_of(task: Task) -> TaskResult:
    said = {"timeline_id": task.payload["timeline_id"], "export_id": task.payload["export_id"]}
    return TaskResult(
        succeeded=True, attempt=task.attempt, result=said | {"attempt_id": "att_1", "size_bytes": 9, "piece_bytes": 4}
    )


async def test_one_is_made_after_the_other_on_a_node_and_what_it_needs_stays_meanwhile(platform_: Platform) -> None:
    one = await platform_.inner.create_used("one")
    await platform_.inner.create_used("two")
    may_end = False

    async def made(task: Task) -> TaskResult | None:
        await until("it may end", lambda: _so(may_end))
        return result_of(task)

    platform_.agent.hooks[TaskKind.TIMELINE_EXPORT] = made
    first, second = await platform_.ask("one"), await platform_.ask("two")
    with pytest.raises(Conflict, match="is being made already"):
        await platform_.ask("one")
    await platform_.turns_to(first, "running")
    await platform_.exporting.turn()
    assert await platform_.state(second) == "waiting"
    assert {pin["owner_id"] for pin in await pins(platform_.inner)} == {first.export_id, second.export_id}
    with pytest.raises(Conflict, match="export"):
        await platform_.inner.delete(one.db_id, force=True)
    may_end = True
    for export in (first, second):
        await platform_.turns_to(export, "ready")
    assert await pins(platform_.inner) == []
    (order, *_) = platform_.agent.orders(TaskKind.TIMELINE_EXPORT)
    assert order.payload["origin"]["kept"]["tenant_id"] == one.tenant_id and order.payload["database_name"] == "one"
    assert [row["status"] for row in await platform_.inner.sql("select status from operations where kind = 'database.export'")] == [
        "succeeded", "succeeded",
    ]  # fmt: skip


async def _so(value: bool) -> bool:
    return value


async def test_what_has_had_its_time_is_removed_with_its_objects(platform_: Platform) -> None:
    row = await platform_.inner.create_used("one")

    async def made(task: Task) -> TaskResult | None:
        return result_of(task)

    platform_.agent.hooks[TaskKind.TIMELINE_EXPORT] = made
    export = await platform_.ask("one")
    key = f"tenants/{row.tenant_id}/exports/{export.export_id}/att_1/00000000"
    other = f"tenants/{row.tenant_id}/timelines/tl_1/images/x"
    for one in (key, other):
        await platform_.objects.put(one, b"x")
    await platform_.turns_to(export, "ready")
    platform_.inner.clock.advance(seconds=timedelta(days=8).total_seconds())
    await platform_.turns_to(export, None)
    assert await platform_.objects.head(key) is None and await platform_.objects.head(other) is not None


async def test_one_that_is_deleted_while_a_node_writes_it_is_removed_when_that_is_done(platform_: Platform) -> None:
    row = await platform_.inner.create_used("one")
    may_end = False

    async def made(task: Task) -> TaskResult | None:
        await until("it may end", lambda: _so(may_end))
        return result_of(task)

    platform_.agent.hooks[TaskKind.TIMELINE_EXPORT] = made
    export = await platform_.ask("one")
    await platform_.turns_to(export, "running")
    await until("the node has it", lambda: _dispatched(platform_))
    async with platform_.inner.plane.store.transaction() as tx:
        locked = await exports.lock(tx, export.export_id)
        assert locked is not None
        await exports.begin_delete(tx, locked, SYSTEM, now=platform_.inner.clock.now())
    await platform_.exporting.turn()
    key = f"tenants/{row.tenant_id}/exports/{export.export_id}/att_1/00000000"
    await platform_.objects.put(key, b"late")
    assert await platform_.state(export) == "deleting"
    assert [pin["owner_id"] for pin in await pins(platform_.inner)] == [export.export_id]
    may_end = True
    await platform_.turns_to(export, None)
    assert await platform_.objects.head(key) is None and await pins(platform_.inner) == []


async def _dispatched(platform_: Platform) -> bool:
    rows = await platform_.inner.sql(
        "select 1 from node_tasks where kind = 'timeline.export' and status = 'dispatched'"
    )
    return bool(rows)


async def test_an_agent_that_cannot_gets_none_and_one_that_fails_says_why(platform_: Platform) -> None:
    await platform_.inner.create_used("one")
    platform_.agent.makes_exports = False
    await platform_.agent.heartbeat()
    export = await platform_.ask("one")
    await platform_.exporting.turn()
    assert await platform_.state(export) == "waiting" and not platform_.agent.orders(TaskKind.TIMELINE_EXPORT)

    async def failed(task: Task) -> TaskResult | None:
        return TaskResult(succeeded=False, attempt=task.attempt, error="The disk is away.")

    platform_.agent.hooks[TaskKind.TIMELINE_EXPORT] = failed
    platform_.agent.makes_exports = True
    await platform_.agent.heartbeat()
    await platform_.turns_to(export, "failed")
    (row,) = await platform_.inner.sql("select error from exports")
    assert row["error"] == "The disk is away." and await pins(platform_.inner) == []
    # It may be tried again at once.
    await platform_.ask("one")
