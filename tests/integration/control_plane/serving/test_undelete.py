"""Deleted databases over HTTP: listed, brought back, and every way in which that is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from kit.waits import until
from spg99.errors import BadRequest, Conflict, Forbidden, LimitExceeded, NotFound, Spg99Error, from_envelope

DBS = "/tenants/acme/dbs"
Delete = Callable[..., Awaitable[Any]]


async def refused(api: Any, path: str, body: Any, kind: type[Spg99Error], **more: Any) -> Any:
    answer = await api.call("POST", path, body, **more)
    assert answer.status_code == kind.http_status, answer.text
    return from_envelope(answer.status_code, answer.json())


async def listed(api: Any, tenant: str = "acme", **params: Any) -> list[Any]:
    page = await api.ok("GET", f"/tenants/{tenant}/dbs", params={"state": "deleted", **params})
    return list(page["items"])


@pytest.fixture
async def delete(api: Any, was_started: Any) -> Delete:
    """Makes a database that has safekeepers and was started, and deletes it; answers what it was."""
    await api.tenant("acme")

    async def make_and_delete(name: str = "app", **spec: Any) -> Any:
        made = await api.database(name=name, **spec)
        await was_started(name)
        op = await api.ok("DELETE", f"{DBS}/{name}")
        ended = await api.ok("GET", f"/operations/{op['op_id']}", params={"wait": 20})
        assert ended["status"] == "succeeded"
        return made

    return make_and_delete


async def test_it_is_gone_for_everybody_listed_as_deleted_and_comes_back_the_same(api: Any, delete: Delete) -> None:
    made = await delete(idle_timeout_seconds=7)
    for path in (f"{DBS}/app", f"/dbs/{made['db_id']}"):
        assert (await api.call("GET", path)).status_code == 404
    assert (await api.call("DELETE", f"{DBS}/app")).status_code == 404
    assert (await api.ok("GET", DBS))["items"] == []
    (one,) = await listed(api)
    assert (one["db_id"], one["state"]) == (made["db_id"], "deleted") and one["undelete_until"]
    back = await api.ok("POST", f"{DBS}/app/undelete")
    same = ("db_id", "name", "timeline", "connection_string", "idle_timeout_seconds", "created_at")
    assert {name: back[name] for name in same} == {name: made[name] for name in same}
    assert (back["state"], back["undelete_until"]) == ("stopped", None)
    assert await api.ok("GET", f"{DBS}/app") == back
    assert await listed(api) == []
    audited = await api.call("POST", f"{DBS}/app/undelete")
    assert audited.status_code == 404


async def test_of_several_the_latest_comes_back_or_the_one_that_is_named(api: Any, delete: Delete) -> None:
    first, second, third = [await delete() for _ in range(3)]
    pages = [await api.ok("GET", DBS, params={"state": "deleted", "limit": 2})]
    pages.append(await api.ok("GET", DBS, params={"state": "deleted", "limit": 2, "cursor": pages[0]["next_cursor"]}))
    assert {one["db_id"] for page in pages for one in page["items"]} == {one["db_id"] for one in (first, second, third)}
    assert (await api.ok("POST", f"{DBS}/app/undelete"))["db_id"] == third["db_id"]
    error = await refused(api, f"{DBS}/app/undelete", {}, Conflict)
    assert "another database called 'app'" in str(error)
    back = await api.ok("POST", f"{DBS}/app/undelete", {"name": "first", "db_id": first["db_id"]})
    assert (back["db_id"], back["name"]) == (first["db_id"], "first") and "/first?" in back["connection_string"]
    assert [one["db_id"] for one in await listed(api)] == [second["db_id"]]


async def test_a_replayed_call_is_one(api: Any, delete: Delete) -> None:
    await delete()
    once = {"Idempotency-Key": "once"}
    first, second = [await api.ok("POST", f"{DBS}/app/undelete", {}, headers=once) for _ in "12"]
    assert first == second


async def test_what_cannot_come_back_says_why(api: Any, delete: Delete, url: str, policy: Any) -> None:
    made = await delete()
    other = await api.database(name="other")
    for path, body, kind, why in (
        (f"{DBS}/never/undelete", {}, NotFound, "no deleted database 'never'"),
        (f"{DBS}/other/undelete", {}, NotFound, "no deleted database 'other'"),
        (f"{DBS}/app/undelete", {"db_id": other["db_id"]}, NotFound, "with the id"),
        (f"{DBS}/a%20b/undelete", {}, NotFound, "no deleted database"),
        ("/tenants/nobody/dbs/app/undelete", {}, NotFound, "no tenant 'nobody'"),
        (f"{DBS}/app/undelete", {"as": "x"}, BadRequest, "as"),
        (f"{DBS}/app/undelete", {"name": "template1"}, BadRequest, "reserved"),
        (f"{DBS}/app/undelete", {"name": "1x"}, BadRequest, "name"),
    ):
        error = await refused(api, path, body, kind)
        assert why in f"{error} {error.fields if isinstance(error, BadRequest) else ''}", (path, body)
    await policy("limits.databases_max", 1)
    await refused(api, f"{DBS}/app/undelete", {}, LimitExceeded)
    await policy("limits.databases_max", 2)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "update databases set undelete_until = now() - interval '1 minute' where state = 'deleted'"
        )
        error = await refused(api, f"{DBS}/app/undelete", {}, NotFound)
        assert "could come back until" in str(error) and await listed(api) == []
        await connection.execute(
            "update databases set undelete_until = now() + interval '1 day' where state = 'deleted'"
        )
    assert (await api.ok("POST", f"{DBS}/app/undelete"))["db_id"] == made["db_id"], "nothing was half done"


async def test_keys_that_may_not(api: Any, delete: Delete) -> None:
    await delete()
    await api.tenant("other")
    reader = await api.key(name="reader")
    await refused(api, f"{DBS}/app/undelete", {}, Forbidden, token=reader)
    foreign = await api.key("can_create_db", name="foreign", scope="tenant", tenant="other")
    await refused(api, f"{DBS}/app/undelete", {}, NotFound, token=foreign)
    assert (await api.call("GET", DBS, params={"state": "deleted"}, token=foreign)).status_code == 404
    await refused(api, "/tenants/other/dbs/app/undelete", {}, NotFound, token=foreign)
    maker = await api.key("can_create_db", name="maker")
    await api.ok("POST", f"{DBS}/app/undelete", {}, token=maker)


async def test_a_tenant_goes_with_what_was_deleted(api: Any, delete: Delete, url: str) -> None:
    await delete()
    await api.ok("DELETE", "/tenants/acme")

    async def is_going() -> bool:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            found = await connection.execute("select state from databases")
            return [row[0] for row in await found.fetchall()] in ([], [("deleting")])

    await until("its databases to be on their way out for good", is_going)
    assert (await api.call("POST", f"{DBS}/app/undelete")).status_code == 404
