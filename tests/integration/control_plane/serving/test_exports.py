"""Exports over HTTP: asked for, followed, listed, linked, downloaded in parts without a key, deleted; who may and who may not."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.control_plane.serving.test_snapshots import refused
from spg99 import images
from spg99.errors import BadRequest, Conflict, Forbidden, NotFound
from spg99.objects import open_store, require_installation

CONTENT = b"PGDMP" + os.urandom(2500)
PIECE_BYTES = 1000


@pytest.fixture
async def exported(make_api: Any, was_started: Any, url: str, tmp_path: Path) -> Any:
    """A database that was started, and a Control Plane that knows an object store."""
    api = await make_api(object_store=str(tmp_path / "objects"), master_key_file=tmp_path / "master.key")
    await api.tenant("acme")
    await api.database()
    await was_started("app")
    store = open_store(str(tmp_path / "objects"))
    async with await psycopg.AsyncConnection.connect(url) as connection:
        (installation_id,) = await (
            await connection.execute("select installation_id from installation")
        ).fetchone() or ("",)
    await require_installation(store, installation_id)
    api.objects, api.keys = store, await images.open_keys(store, tmp_path / "master.key")
    return api


async def becomes_ready(api: Any, url: str, export: Any) -> None:
    """What a node stores, and what becomes of the row then."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        rows = await (await connection.execute("select tenant_id from exports")).fetchall()
        tenant_id = rows[0][0]
        key = await api.keys.get_or_make(tenant_id)
        for number in range(3):
            place = f"tenants/{tenant_id}/exports/{export['export_id']}/att_1/{number:08d}"
            await api.objects.put(place, key.seal(CONTENT[number * PIECE_BYTES :][:PIECE_BYTES], place))
        await connection.execute(
            "update exports set state = 'ready', attempt_id = 'att_1', size_bytes = %s, piece_bytes = %s where export_id = %s",
            [len(CONTENT), PIECE_BYTES, export["export_id"]],
        )


EXPORTS = "/tenants/acme/dbs/app/exports"


async def test_an_export_waits_is_followed_listed_and_deleted(exported: Any) -> None:
    made = await exported.ok("POST", EXPORTS, {"schema_only": True})
    assert (made["state"], made["database"], made["schema_only"], made["size_bytes"]) == ("waiting", "app", True, None)
    assert (await exported.ok("GET", f"/operations/{made['op_id']}"))["kind"] == "database.export"
    assert await exported.ok("GET", f"/exports/{made['export_id']}") == made
    assert (await exported.ok("GET", "/tenants/acme/exports"))["items"] == [made]
    error = await refused(exported, "POST", EXPORTS, {}, Conflict)
    assert "is being made already" in error.message
    error = await refused(exported, "DELETE", "/tenants/acme/dbs/app?force=true", None, Conflict)
    assert "export" in error.message
    await refused(exported, "POST", f"/exports/{made['export_id']}/link", {}, Conflict)
    await exported.ok("DELETE", f"/exports/{made['export_id']}")
    await refused(exported, "GET", f"/exports/{made['export_id']}", None, NotFound)
    assert (await exported.ok("GET", f"/operations/{made['op_id']}"))["status"] == "failed"


async def test_a_link_needs_no_key_and_answers_parts(exported: Any, url: str) -> None:
    made = await exported.ok("POST", EXPORTS, {})
    await becomes_ready(exported, url, made)
    link = await exported.ok("POST", f"/exports/{made['export_id']}/link", {"seconds": 60})
    assert datetime.fromisoformat(link["expires_at"]) > datetime.now(UTC)
    whole = await exported.http.get(link["path"])
    assert whole.status_code == 200 and whole.content == CONTENT and whole.headers["accept-ranges"] == "bytes"
    assert 'filename="app.dump"' in whole.headers["content-disposition"]
    for asked, first, last in (("bytes=990-1010", 990, 1010), ("bytes=2000-", 2000, 2504), ("bytes=-5", 2500, 2504)):
        part = await exported.http.get(link["path"], headers={"Range": asked})
        assert part.status_code == 206 and part.content == CONTENT[first : last + 1]
        assert part.headers["content-range"] == f"bytes {first}-{last}/{len(CONTENT)}"
    again = await exported.http.get(link["path"], headers={"Range": "bytes=5-", "If-Range": '"another"'})
    assert (again.status_code, again.content) == (200, CONTENT)
    behind = await exported.http.get(link["path"], headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")


async def test_a_link_that_is_wrong_changed_over_or_of_what_is_gone_is_refused_alike(exported: Any, url: str) -> None:
    made = await exported.ok("POST", EXPORTS, {})
    await becomes_ready(exported, url, made)
    path = (await exported.ok("POST", f"/exports/{made['export_id']}/link", {}))["path"]
    expires = path.partition("expires=")[2].partition("&")[0]
    wrong = [
        path[:-1] + ("0" if path[-1] != "0" else "1"),
        path.replace(expires, str(int(expires) + 1)),
        path.replace(made["export_id"], "exp_00000000000000000000"),
    ]
    answers = [await exported.http.get(one) for one in wrong]
    await exported.ok("DELETE", f"/exports/{made['export_id']}")
    answers.append(await exported.http.get(path))
    said = {(one.status_code, one.json()["message"]) for one in answers}
    assert len(said) == 1 and said.pop()[0] == 403


async def test_who_may_not_read_rows_may_export_and_link_nothing(exported: Any, url: str) -> None:
    made = await exported.ok("POST", EXPORTS, {})
    await becomes_ready(exported, url, made)
    may_all_else = await exported.key("can_create_tenant", "can_create_db", "can_scale", "can_delete")
    for path in (EXPORTS, f"/exports/{made['export_id']}/link"):
        await refused(exported, "POST", path, {}, Forbidden, token=may_all_else)
    reads = await exported.key("can_read_credentials", name="r")
    await refused(exported, "DELETE", f"/exports/{made['export_id']}", None, Forbidden, token=reads)
    await exported.tenant("other")
    of_other = await exported.key("can_read_credentials", "can_delete", name="o", scope="tenant", tenant="other")
    for method, path in (("GET", ""), ("POST", "/link"), ("DELETE", "")):
        await refused(exported, method, f"/exports/{made['export_id']}{path}", None, NotFound, token=of_other)


async def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    exported: Any, make_api: Any, url: str
) -> None:
    await exported.database(name="never")
    await refused(exported, "POST", "/tenants/acme/dbs/never/exports", {}, BadRequest)
    await refused(exported, "POST", EXPORTS, {"time": "2026-12-01T00:00:00Z", "lsn": "0/1"}, BadRequest)
    await refused(exported, "POST", EXPORTS, {"format": "plain"}, BadRequest)
    assert (await exported.ok("GET", "/tenants/acme/exports"))["items"] == []
    without_store = await make_api()
    error = await refused(without_store, "POST", EXPORTS, {}, Conflict)
    assert "--object-store" in error.message


async def test_a_damaged_piece_is_an_error_and_no_archive(exported: Any, url: str) -> None:
    made = await exported.ok("POST", EXPORTS, {})
    await becomes_ready(exported, url, made)
    async for entry in exported.objects.entries("tenants/"):
        if entry.key.endswith("/att_1/00000000"):
            await exported.objects.put(entry.key, b"\x01" * 100)
    path = (await exported.ok("POST", f"/exports/{made['export_id']}/link", {}))["path"]
    assert (await exported.http.get(path)).status_code == 500
    assert (await exported.http.get(path, headers={"Range": "bytes=1000-1999"})).content == CONTENT[1000:2000]


async def test_a_replayed_request_makes_one(exported: Any) -> None:
    once = {"Idempotency-Key": "once"}
    first, second = [await exported.ok("POST", EXPORTS, {}, headers=once) for _ in "12"]
    assert first == second
