"""`GET /v2/events`: what a stream shows, and that whoever comes back misses nothing and reads nothing twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from kit.waits import until
from spg99.control_plane.serving import feed as feed_module
from spg99.control_plane.serving import sse


@dataclass
class Line:
    id: int = 0
    type: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    comment: str = ""


@asynccontextmanager
async def stream(
    api: Any, *, after: int | None = None, token: str | None = None, **params: Any
) -> AsyncIterator[AsyncIterator[Line]]:
    headers = {"Authorization": f"Bearer {token or api.admin_token}"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    async with api.http.stream("GET", "/v2/events", headers=headers, params=params) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield lines(answer)


async def lines(answer: Any) -> AsyncIterator[Line]:
    line = Line()
    async for text in answer.aiter_lines():
        if not text:
            yield line
            line = Line()
            continue
        name, _, value = text.partition(":")
        value = value.strip()
        if name == "id":
            line.id = int(value)
        elif name == "event":
            line.type = value
        elif name == "data":
            line.data = json.loads(value)
        else:
            line.comment = value


CREATED = ["database.creating", "database.stopped"]
"""What a create tells."""


async def take(source: AsyncIterator[Line], count: int, *, seconds: float = 10) -> list[Line]:
    """The next `count` events; comments left out."""
    found: list[Line] = []

    async def collect() -> None:
        while len(found) < count:
            line = await anext(source)
            if line.type:
                found.append(line)

    await asyncio.wait_for(collect(), seconds)
    return found


async def relayed(url: str) -> bool:
    """Whether every event has its place."""
    with psycopg.connect(url) as connection:
        return connection.execute("select count(*) from outbox_events where position is null").fetchone() == (0,)


async def test_a_stream_tells_what_happens_from_now_on(api: Any, url: str) -> None:
    await api.tenant("before")
    await until("all to be relayed", lambda: relayed(url))
    async with stream(api) as source:
        first = await anext(source)
        assert first.comment == "connected"
        tenant = await api.tenant()
        await api.database()
        created, creating = await take(source, 2)
    assert (created.type, creating.type) == ("tenant.created", "database.creating")
    assert created.id < creating.id
    assert created.data["subject"] == tenant["tenant_id"]
    assert {"event_id", "event_type", "occurred_at", "version", "correlation_id", "payload"} <= created.data.keys()
    assert created.data["payload"]["tenant"] == "acme"
    assert tenant["pg_password"] not in str(created.data)


async def test_a_stream_resumes_where_it_was_left(api: Any) -> None:
    for number in range(5):
        await api.tenant(f"t{number}")
    async with stream(api, after=0) as source:
        every = await take(source, 5)
    for index, line in enumerate(every[:-1]):
        async with stream(api, after=line.id) as source:
            assert [found.id for found in await take(source, 4 - index)] == [found.id for found in every[index + 1 :]]


async def test_the_first_line_of_an_idle_stream_can_be_resumed_from(api: Any, url: str) -> None:
    await api.tenant("before")
    await until("all to be relayed", lambda: relayed(url))

    async def position() -> int:
        async with stream(api) as source:
            return (await anext(source)).id

    known = await position()
    await api.tenant("meanwhile")
    async with stream(api, after=known) as source:
        assert (await take(source, 1))[0].data["payload"]["tenant"] == "meanwhile"


@pytest.mark.parametrize("held_max", [1000, 3])
async def test_no_gap_and_no_repeat_under_writers_and_reconnects(
    make_api: Any, monkeypatch: pytest.MonkeyPatch, held_max: int
) -> None:
    """Two Control Planes write; the reader hops between them and is at times too slow for the feed's memory."""
    monkeypatch.setattr(feed_module, "EVENTS_HELD_MAX", held_max)
    planes = [await make_api(), await make_api()]
    total, seen, last = 60, [], 0

    async def write(plane: Any, prefix: str) -> None:
        for number in range(total // 2):
            await plane.ok("POST", "/tenants", {"name": f"{prefix}{number}"})

    writers = asyncio.gather(write(planes[0], "a"), write(planes[1], "b"))
    hop = 0
    while len(seen) < total:
        async with stream(planes[hop % 2], after=last, type="tenant.created") as source:
            for line in await take(source, min(7, total - len(seen)), seconds=30):
                seen.append(line)
                last = line.id
        hop += 1
    await writers
    assert [line.id for line in seen] == sorted({line.id for line in seen})
    names = [line.data["payload"]["tenant"] for line in seen]
    assert sorted(names) == sorted([f"a{n}" for n in range(total // 2)] + [f"b{n}" for n in range(total // 2)])


async def test_filters_by_tenant_and_type(api: Any) -> None:
    await api.tenant("acme")
    await api.tenant("bolt")
    await api.database("acme")
    await api.database("bolt")
    await api.ok("PATCH", "/tenants/acme/dbs/app", {"size": "L2"})

    async def types(count: int, **params: Any) -> list[str]:
        async with stream(api, after=0, **params) as source:
            return [line.type for line in await take(source, count)]

    assert await types(4, tenant="acme") == ["tenant.created", *CREATED, "database.updated"]
    assert await types(5, type="database.*") == [*CREATED, *CREATED, "database.updated"]
    assert await types(1, type="database.updated") == ["database.updated"]
    assert await types(2, tenant="acme", type=["tenant.created", "database.updated"]) == [
        "tenant.created",
        "database.updated",
    ]
    assert await types(2, tenant="acme", type="tenant.created,database.updated") == [
        "tenant.created",
        "database.updated",
    ]


async def test_a_tenant_key_hears_only_of_its_tenant(api: Any) -> None:
    await api.tenant("acme")
    await api.tenant("bolt")
    token = await api.key(scope="tenant", tenant="acme")
    await api.database("bolt")
    await api.database("acme")
    async with stream(api, after=0, token=token) as source:
        found = await take(source, 4)
    assert [line.type for line in found] == ["tenant.created", "key.created", *CREATED]
    assert {line.data["tenant_id"] for line in found} == {found[0].data["tenant_id"]}


@pytest.mark.parametrize("last_event_id", ["x", "-1", "1e3", "999999999", "٣", "1" * 20])
async def test_a_made_up_position_is_refused(api: Any, last_event_id: str) -> None:
    answer = await api.http.get(
        "/v2/events",
        headers={"Authorization": f"Bearer {api.admin_token}".encode(), "Last-Event-ID": last_event_id.encode()},
    )
    assert answer.status_code == 400


async def test_a_position_that_is_no_longer_kept_is_told(api: Any, url: str) -> None:
    for number in range(4):
        await api.tenant(f"t{number}")
    await until("all to be relayed", lambda: relayed(url))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("delete from outbox_events where position < (select max(position) from outbox_events)")
    answer = await api.call("GET", "/events", headers={"Last-Event-ID": "1"})
    assert answer.status_code == 409
    async with stream(api, after=0) as source:
        assert (await take(source, 1))[0].id == answer.json()["details"]["first_position"]


async def test_a_stream_lives_on_in_silence_and_ends_with_its_key(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.1)
    made = await api.ok("POST", "/keys", {"name": "watcher"})
    async with stream(api, token=made["token"], type="nothing.*") as source:
        comments = [(await asyncio.wait_for(anext(source), 5)).comment for _ in range(3)]
        assert comments == ["connected", "keep-alive", "keep-alive"]
        await api.call("DELETE", f"/keys/{made['key_id']}")

        async def rest() -> None:
            async for _ in source:
                pass

        await asyncio.wait_for(rest(), 5)


async def test_many_streams_share_one_listener(api: Any, url: str) -> None:
    async def connections() -> int:
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'"
            ).fetchone()
            assert row is not None
            return int(row[0])

    before = await connections()
    async with asyncio.TaskGroup() as group:
        ready: list[asyncio.Event] = [asyncio.Event() for _ in range(30)]

        async def watch(event: asyncio.Event) -> list[Line]:
            async with stream(api) as source:
                await anext(source)
                event.set()
                return await take(source, 1)

        watchers = [group.create_task(watch(event)) for event in ready]
        await asyncio.gather(*(event.wait() for event in ready))
        assert await connections() == before == 1
        await api.tenant()
    assert {task.result()[0].type for task in watchers} == {"tenant.created"}
