"""No background loop ends unseen: whatever the catalogue says, it is logged, counted, told to /readyz, and over once it is healed.

The whole Control Plane as a process, with an agent that does nothing but answer. The catalogue is broken for some seconds in
a way that is no outage: a column has another name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from kit.waits import until
from spg99.client import InternalClient
from spg99.clock import SystemClock
from spg99.control_plane import bootstrap
from spg99.control_plane.store import Store
from spg99.errors import Spg99Error
from spg99.protocol import Enrolment
from spg99.protocol.node import Heartbeat, LeaseTasks, TaskResult


@pytest.mark.parametrize(
    ("loop", "status", "table", "column", "ring"),
    [
        ("reconciler", 503, "databases", "reconcile_at", "spg99_reconcile"),
        pytest.param("reconciler", 503, "leases", "expires_at", "spg99_reconcile", marks=pytest.mark.slow),
        pytest.param("outbox-relay", 503, "outbox_events", "attempt_count", "spg99_outbox", marks=pytest.mark.slow),
        pytest.param("event-feed", 200, "outbox_events", "envelope", "spg99_published", marks=pytest.mark.slow),
        pytest.param("ended-tenants", 200, "tenants", "project_id", "spg99_tenant", marks=pytest.mark.slow),
    ],
)
async def test_a_loop_that_fails_says_so_and_lives_on(
    cluster18: Any, control_plane: Any, tmp_path: Path, loop: str, status: int, table: str, column: str, ring: str
) -> None:
    url = cluster18.database()

    async def sql(statement: str) -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(statement)

    with control_plane(tmp_path, url) as plane:
        agent = asyncio.create_task(answer_every_order(url, plane.ready["url"]))
        try:
            plane.http.post("/tenants", json={"name": "acme"}).raise_for_status()
            await settles(plane.http, "before")

            await sql(f"alter table {table} rename column {column} to renamed_{column}")
            # The feed reads events only for who follows them.
            following = plane.http.stream("GET", "/events") if loop == "event-feed" else nullcontext()
            try:
                with following:
                    told = await until("readyz tells of it", lambda: unhealthy(plane, loop, ring, sql))
                assert told.status_code == status, told.text
                assert told.json()["status"] == ("not ready" if status == 503 else "degraded")
            finally:
                await sql(f"alter table {table} rename column renamed_{column} to {column}")

            metrics = httpx.get(plane.ready["url"].replace("/v2", "/metrics")).text
            counted = next(line for line in metrics.splitlines() if f'failures_total{{loop="{loop}"}}' in line)
            assert float(counted.split()[-1]) >= 2
            logged = (tmp_path / "stderr").read_text()
            assert any("a turn failed" in line and loop in line for line in logged.splitlines())
            assert f"renamed_{column}" not in told.text, "what the catalogue said is for the log"

            await settles(plane.http, "after")
            await until("readyz is content again", lambda: healthy(plane, loop))
        finally:
            agent.cancel()
            with suppress(asyncio.CancelledError):
                await agent


async def unhealthy(plane: Any, loop: str, ring: str, sql: Callable[[str], Awaitable[None]]) -> httpx.Response | None:
    await sql(f"notify {ring}")
    answer = httpx.get(plane.ready["url"].replace("/v2", "/readyz"))
    return answer if f"loop is not well: {loop}," in answer.text else None


async def healthy(plane: Any, loop: str) -> bool:
    answer = httpx.get(plane.ready["url"].replace("/v2", "/readyz"))
    return answer.status_code == 200 and loop not in answer.text


async def settles(http: httpx.Client, name: str) -> None:
    """A database that is made now becomes what was asked."""
    await asyncio.to_thread(lambda: http.post("/tenants/acme/dbs", json={"name": name}).raise_for_status())
    answer = await asyncio.to_thread(lambda: http.get(f"/tenants/acme/dbs/{name}?wait_for=stopped&wait=15"))
    assert answer.json()["state"] == "stopped", answer.text


async def answer_every_order(url: str, base_url: str) -> None:
    store = Store(url, pool_size=2)
    await store.open()
    token = await bootstrap.new_enrolment_token(store, "node", SystemClock())
    await store.close()
    client = InternalClient(base_url, None)
    client.authenticate((await client.enroll_node(Enrolment(enrolment_token=token, name="node-1"))).bearer_token)
    seen_at = 0.0
    while True:
        try:
            if time.monotonic() - seen_at > 5:
                await client.heartbeat(Heartbeat(computes=[], disk_free_bytes=10**9))
                seen_at = time.monotonic()
            for task in (await client.lease_tasks(LeaseTasks(wait_seconds=2, held_task_ids=[]))).tasks:
                await client.finish_task(task.task_id, TaskResult(succeeded=True, attempt=task.attempt))
        except Spg99Error:
            await asyncio.sleep(0.1)  # the catalogue is broken just now
