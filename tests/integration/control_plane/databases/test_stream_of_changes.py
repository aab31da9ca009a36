"""What Gateways hear: within milliseconds of the commit, in order, and again after a break."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from kit.waits import until
from spg99.control_plane.fleet import changes
from spg99.control_plane.records import outbox
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.tenants import rows as tenants
from spg99.control_plane.tenants.passwords import new_password
from spg99.errors import Conflict
from spg99.protocol.gateway import Change


async def heard(stream: AsyncIterator[bytes]) -> tuple[int, Change]:
    """The next change."""
    async for part in stream:
        lines = dict(line.split(": ", 1) for line in part.decode().strip().splitlines())
        if "data" in lines:
            return int(lines["id"]), Change.model_validate(json.loads(lines["data"]))
    raise AssertionError("the stream ended")


async def rotate(platform: InProcessPlatform) -> None:
    async with platform.store.transaction() as tx:
        await tenants.rotate(tx, platform.tenant, new_password(), platform.box, SYSTEM)


async def test_a_rotation_is_heard_at_once(platform: InProcessPlatform) -> None:
    stream = changes.stream(platform.store, platform.plane.life.wakeups, await changes.begin(platform.store, None))
    assert (await anext(stream)).startswith(b": connected\nid: ")
    waits = asyncio.create_task(heard(stream))
    await until("the stream waits", lambda: _streams(platform))
    began = time.monotonic()
    await rotate(platform)
    _, change = await asyncio.wait_for(waits, 5)
    assert (change.kind, change.tenant_id, change.reason) == (
        "tenant",
        platform.tenant.tenant_id,
        "credentials.rotated",
    )
    assert time.monotonic() - began < 1.0
    await stream.aclose()


async def test_a_forwarded_cancel_is_heard_by_every_stream(platform: InProcessPlatform) -> None:
    begin = await changes.begin(platform.store, None)
    streams = [changes.stream(platform.store, platform.plane.life.wakeups, begin) for _ in range(2)]
    for stream in streams:
        await anext(stream)
    waits = [asyncio.create_task(anext(stream)) for stream in streams]
    await until("the streams wait", lambda: _streams(platform))
    async with platform.store.transaction() as tx:
        await changes.forward_cancel(tx, "ab" * 32)
    for part in await asyncio.wait_for(asyncio.gather(*waits), 5):
        change = Change.model_validate_json(part.decode().strip().removeprefix("data: "))
        assert (change.kind, change.cancel_key_hash) == ("cancel", "ab" * 32)
    for stream in streams:
        await stream.aclose()


async def test_a_broken_stream_goes_on_where_it_broke(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create()
    await platform.reaches(row.db_id, "stopped")
    await gateway.connect()
    await gateway.report(row.db_id, 1)
    begin = await changes.begin(platform.store, None)
    await agent.compute_dies()
    await platform.reaches(row.db_id, "ready")
    await gateway.report(row.db_id, 0)
    await platform.want_stopped(row.db_id)
    await platform.reaches(row.db_id, "stopped")
    await platform.delete(row.db_id)
    await platform.is_gone(row.db_id)
    whole = changes.stream(platform.store, platform.plane.life.wakeups, begin)
    told = [await asyncio.wait_for(heard(whole), 5) for _ in range(3)]
    assert [change.reason for _, change in told] == ["compute.changed", "compute.changed", "database.deleting"]
    assert {change.db_id for _, change in told} == {row.db_id}
    epochs = [change.lease_control_epoch or 0 for _, change in told]
    assert epochs == sorted(epochs) and len(set(epochs)) == 3
    resumed = changes.stream(
        platform.store, platform.plane.life.wakeups, await changes.begin(platform.store, told[1][0])
    )
    assert await asyncio.wait_for(heard(resumed), 5) == told[2]
    await whole.aclose()
    await resumed.aclose()


async def test_a_position_that_is_too_old_or_from_elsewhere_is_refused(platform: InProcessPlatform) -> None:
    await rotate(platform)
    await rotate(platform)

    async def published() -> bool:
        async with platform.store.transaction() as tx:
            return (await outbox.lag(tx)).pending == 0

    await until("all is published", published)
    async with platform.store.transaction() as tx:
        last = await outbox.last_position(tx)
    await platform.sql("delete from outbox_events where position < %s", last)
    for position in (0, last + 1):
        with pytest.raises(Conflict):
            await changes.begin(platform.store, position)
    assert await changes.begin(platform.store, last) == last


async def _streams(platform: InProcessPlatform) -> bool:
    return ("spg99_published", None) in platform.plane.wakeups._waiting
