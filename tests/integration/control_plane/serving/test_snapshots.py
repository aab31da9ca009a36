"""Snapshots over HTTP: made, listed, changed, deleted; what they hold up; what may begin in one and go back to one; restores that are refused."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from spg99.errors import BadRequest, Conflict, Forbidden, NotFound, Spg99Error, from_envelope


async def refused(api: Any, method: str, path: str, body: Any, kind: type[Spg99Error], **more: Any) -> Any:
    answer = await api.call(method, path, body, **more)
    assert answer.status_code == kind.http_status, answer.text
    return from_envelope(answer.status_code, answer.json())


@pytest.fixture
async def kept(api: Any, was_started: Any) -> Any:
    await api.tenant("acme")
    await api.database()
    await was_started("app")
    return api


SNAPSHOTS = "/tenants/acme/snapshots"


async def test_a_snapshot_is_made_listed_changed_and_deleted(kept: Any) -> None:
    made = [await kept.ok("POST", SNAPSHOTS, {"name": name, "database": "app"}) for name in ("b", "a", "c")]
    assert made[0]["timeline"] == (await kept.ok("GET", "/tenants/acme/dbs/app"))["timeline"]
    page = await kept.ok("GET", SNAPSHOTS, params={"limit": 2})
    rest = await kept.ok("GET", SNAPSHOTS, params={"limit": 2, "cursor": page["next_cursor"]})
    assert [one["name"] for one in page["items"] + rest["items"]] == ["a", "b", "c"]
    assert (await kept.ok("GET", SNAPSHOTS, params={"database": "other"}))["items"] == []
    assert await kept.ok("GET", f"{SNAPSHOTS}/b") == made[0]
    changed = await kept.ok("PATCH", f"{SNAPSHOTS}/b", {"expires_at": "2031-01-01T00:00:00Z"})
    assert changed["expires_at"] == "2031-01-01T00:00:00Z" and changed["snapshot_id"] == made[0]["snapshot_id"]
    await refused(kept, "PATCH", f"{SNAPSHOTS}/b", {"database": "other"}, BadRequest)
    await refused(kept, "POST", SNAPSHOTS, {"name": "b", "database": "app"}, Conflict)
    for name in "abc":
        await kept.ok("DELETE", f"{SNAPSHOTS}/{name}")
    await refused(kept, "GET", f"{SNAPSHOTS}/b", None, NotFound)


async def test_a_replayed_create_makes_one(kept: Any) -> None:
    once = {"Idempotency-Key": "once"}
    first, second = [await kept.ok("POST", SNAPSHOTS, {"name": "s", "database": "app"}, headers=once) for _ in "12"]
    assert first == second


async def test_a_branch_is_made_once_also_when_its_source_has_gone_since(kept: Any) -> None:
    await kept.ok("POST", SNAPSHOTS, {"name": "s", "database": "app"})
    once = {"Idempotency-Key": "once"}
    body = {"name": "preview", "source_snapshot": "s"}
    first = await kept.ok("POST", "/tenants/acme/dbs", body, headers=once)
    await kept.ok("DELETE", f"{SNAPSHOTS}/s")
    assert await kept.ok("POST", "/tenants/acme/dbs", body, headers=once) == first


async def test_a_database_stays_while_a_snapshot_keeps_a_moment_of_it(kept: Any) -> None:
    await kept.ok("POST", SNAPSHOTS, {"name": "s", "database": "app"})
    error = await refused(kept, "DELETE", "/tenants/acme/dbs/app?force=true", None, Conflict)
    assert "snapshots keep moments of it ('s')" in str(error)
    branch = await kept.ok("POST", "/tenants/acme/dbs", {"name": "preview", "source_snapshot": "s"})
    assert (branch["source_snapshot"], branch["source_database"]) == ("s", None)
    await kept.ok("DELETE", f"{SNAPSHOTS}/s")
    error = await refused(kept, "DELETE", "/tenants/acme/dbs/app?force=true", None, Conflict)
    assert "'preview' begins in it" in str(error)
    await kept.ok("DELETE", "/tenants/acme/dbs/preview")
    assert await kept.call("DELETE", "/tenants/acme/dbs/app?force=true")


async def test_all_of_a_tenant_goes_with_its_snapshots(kept: Any) -> None:
    await kept.ok("POST", SNAPSHOTS, {"name": "s", "database": "app"})
    await kept.ok("POST", "/tenants/acme/dbs", {"name": "preview", "source_snapshot": "s"})
    await kept.ok("DELETE", "/tenants/acme?cascade=true&force=true")


async def test_what_is_no_moment_to_keep_is_refused_at_its_field(kept: Any) -> None:
    await kept.database(name="fresh")
    for body, field in (
        ({"database": "nothing"}, "database"),
        ({"database": "fresh"}, "database"),
        ({"database": "app", "time": "2999-01-01T00:00:00Z"}, "time"),
        ({"database": "app", "time": "2026-01-01T00:00:00Z", "lsn": "0/1"}, "lsn"),
    ):
        error = await refused(kept, "POST", SNAPSHOTS, {"name": "s", **body}, BadRequest)
        assert field in error.fields, error.fields
    assert (await kept.ok("GET", SNAPSHOTS))["items"] == []


async def test_what_is_no_snapshot_to_begin_in_or_go_back_to_is_refused_at_its_field(
    kept: Any, was_started: Any
) -> None:
    await kept.database(name="other")
    await was_started("other")
    await kept.ok("POST", SNAPSHOTS, {"name": "of_other", "database": "other"})
    await kept.ok("POST", SNAPSHOTS, {"name": "old", "database": "app", "expires_at": "2020-01-01T00:00:00Z"})
    for name in ("nothing", "old"):
        error = await refused(kept, "POST", "/tenants/acme/dbs", {"name": "x", "source_snapshot": name}, BadRequest)
        assert "source_snapshot" in error.fields
    for name in ("nothing", "old", "of_other"):
        error = await refused(kept, "POST", "/tenants/acme/dbs/app/restore", {"snapshot": name}, BadRequest)
        assert "snapshot" in error.fields
        body = {"restore_trigger": name, "restore_to": name}
        error = await refused(kept, "PATCH", "/tenants/acme/dbs/app", body, BadRequest)
        assert "restore_to" in error.fields
    for body in ({}, {"time": "2026-01-01T00:00:00Z", "lsn": "0/1"}, {"lsn": "x"}, {"when": "now"}):
        await refused(kept, "POST", "/tenants/acme/dbs/app/restore", body, BadRequest)
    assert (await kept.ok("GET", "/tenants/acme/dbs/app"))["restore_trigger"] is None


async def test_a_database_goes_back_to_a_snapshot_by_declaration_and_only_once(kept: Any) -> None:
    before = await kept.ok("GET", "/tenants/acme/dbs/app")
    await kept.ok("POST", SNAPSHOTS, {"name": "s", "database": "app"})
    body = {"restore_trigger": "1", "restore_to": "s"}
    after = await kept.ok("PATCH", "/tenants/acme/dbs/app", body)
    assert after["timeline"] != before["timeline"] and after["db_id"] == before["db_id"]
    assert after["connection_string"] == before["connection_string"]
    again = await kept.ok("PATCH", "/tenants/acme/dbs/app", body)
    assert again["timeline"] == after["timeline"]
    names = [one["name"] for one in (await kept.ok("GET", "/tenants/acme/dbs"))["items"]]
    assert len(names) == 2 and any(name.startswith("app_before_") for name in names)


async def test_one_is_verified_when_somebody_asks_for_it(kept: Any, url: str) -> None:
    made = await kept.ok("POST", SNAPSHOTS, {"name": "s", "database": "app"})
    assert (made["last_verified_at"], made["last_error"]) == (None, None)
    asked = await kept.ok("POST", f"{SNAPSHOTS}/s/verify")
    assert asked["snapshot_id"] == made["snapshot_id"] and await kept.ok("POST", f"{SNAPSHOTS}/s/verify")
    await refused(kept, "POST", f"{SNAPSHOTS}/s/verify", {"deep": True}, BadRequest)
    await refused(kept, "POST", f"{SNAPSHOTS}/t/verify", None, NotFound)
    reader = await kept.key(name="reader")
    await refused(kept, "POST", f"{SNAPSHOTS}/s/verify", None, Forbidden, token=reader)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("delete from pageservers")
    error = await refused(kept, "POST", f"{SNAPSHOTS}/s/verify", None, Conflict)
    assert "no pageserver" in str(error)


async def test_rights(kept: Any) -> None:
    reader = await kept.key(name="reader")
    maker = await kept.key("can_create_db", name="maker")
    await refused(kept, "POST", SNAPSHOTS, {"name": "s", "database": "app"}, Forbidden, token=reader)
    await refused(kept, "POST", "/tenants/acme/dbs/app/restore", {"lsn": "0/1"}, Forbidden, token=reader)
    await kept.ok("POST", SNAPSHOTS, {"name": "s", "database": "app"}, token=maker)
    await refused(kept, "DELETE", f"{SNAPSHOTS}/s", None, Forbidden, token=maker)
