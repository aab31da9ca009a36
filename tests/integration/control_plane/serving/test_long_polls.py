"""Long polls: woken by the change, free while they wait, ended by time, by the end of the object and of the process."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest


def set_state(url: str, name: str, state: str) -> None:
    """Moves a database as the reconciler would, and tells of it as it would."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "update databases set state = %s, compute_id = 'cmp_x', state_reason = 'because', reconcile_at = null where name = %s",
            (state, name),
        )
        connection.execute("select pg_notify('spg99_database', db_id) from databases where name = %s", (name,))


@pytest.fixture
async def sleeper(api: Any, url: str) -> str:
    await api.tenant()
    await api.database()
    set_state(url, "app", "stopped")
    return "/tenants/acme/dbs/app"


async def test_a_read_waits_for_the_state(api: Any, url: str, sleeper: str) -> None:
    waiting = asyncio.create_task(api.ok("GET", sleeper, params={"wait_for": "ready", "wait": 30}))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    set_state(url, "app", "booting")
    await asyncio.sleep(0.2)
    assert not waiting.done()
    began = time.monotonic()
    set_state(url, "app", "ready")
    assert (await waiting)["state"] == "ready"
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("wanted", ["idle", "ready", "stopped,idle", "settled"])
async def test_words_to_wait_for(api: Any, url: str, sleeper: str, wanted: str) -> None:
    set_state(url, "app", "idle")
    assert (await api.ok("GET", sleeper, params={"wait_for": wanted, "wait": 30}))["state"] == "idle"


async def test_after_the_time_the_answer_shows_what_is(api: Any, sleeper: str) -> None:
    began = time.monotonic()
    assert (await api.ok("GET", sleeper, params={"wait_for": "ready", "wait": 1}))["state"] == "stopped"
    assert 0.9 < time.monotonic() - began < 3


async def test_a_wait_ends_when_the_database_is_gone(api: Any, sleeper: str) -> None:
    waiting = asyncio.create_task(api.call("GET", sleeper, params={"wait_for": "ready", "wait": 30}))
    await asyncio.sleep(0.2)
    operation = await api.ok("DELETE", sleeper)
    assert (await asyncio.wait_for(waiting, 15)).status_code == 404
    assert (await api.ok("GET", f"/operations/{operation['op_id']}", params={"wait": 10}))["status"] == "succeeded"


async def test_an_operation_is_waited_for_on_another_control_plane(make_api: Any, url: str) -> None:
    one, two = await make_api(), await make_api()
    await one.tenant()
    await one.database()
    operation = await one.ok("POST", "/tenants/acme/dbs/app/start")  # no node is there to start it
    with psycopg.connect(url, autocommit=True) as connection:
        waiting = asyncio.create_task(two.ok("GET", f"/operations/{operation['op_id']}", params={"wait": 30}))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        connection.execute(
            "update operations set status = 'succeeded', finished_at = clock_timestamp() where op_id = %s",
            (operation["op_id"],),
        )
        connection.execute("select pg_notify('spg99_operation', %s)", (operation["op_id"],))
    assert (await asyncio.wait_for(waiting, 5))["status"] == "succeeded"


async def test_waiting_costs_the_catalogue_nothing(api: Any, url: str, sleeper: str) -> None:
    """50 waiters for two seconds: no statement of theirs, no connection of the pool held."""
    waiting = [asyncio.create_task(api.ok("GET", sleeper, params={"wait_for": "ready", "wait": 20})) for _ in range(50)]

    def waiters() -> int:
        return int(api.app.state.plane.wakeups.waiting)

    deadline = time.monotonic() + 10
    while waiters() < 50:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)

    def reads(connection: Any) -> int:
        connection.execute("select pg_stat_clear_snapshot()")
        row = connection.execute(
            "select coalesce(sum(idx_scan), 0) + coalesce(sum(seq_scan), 0) from pg_stat_user_tables where relname = 'tenants'"
        ).fetchone()
        return int(row[0])

    with psycopg.connect(url, autocommit=True) as connection:
        deadline = time.monotonic() + 30
        before = -1
        while (now := reads(connection)) != before:  # an idle backend tells its statistics within ten seconds
            assert time.monotonic() < deadline, "somebody goes on reading"
            before = now
            await asyncio.sleep(2.0)
    assert len(api.app.state.plane.store._pool._pool) >= 1, "no waiter holds a connection"
    set_state(url, "app", "ready")
    assert {answer["state"] for answer in await asyncio.gather(*waiting)} == {"ready"}


@pytest.mark.parametrize(
    "params",
    [{"wait": 61}, {"wait": -1}, {"wait": "x"}, {"wait_for": "awake"}, {"wait_for": ""}, {"wait_for": "ready,"}],
)
async def test_a_wrong_wait_is_refused(api: Any, sleeper: str, params: dict[str, Any]) -> None:
    answer = await api.call("GET", sleeper, params=params)
    assert answer.status_code == 400
    assert answer.json()["details"]["fields"].keys() == params.keys()
