"""Ephemerals against a server that answers oddly: what is refused, and what a close may find."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from pytest_httpserver import HTTPServer

from spg99.bridges.shared.ephemerals import close_api_key, open_api_key, open_tenant_dsn
from spg99.client import Client
from spg99.errors import Forbidden, Internal, NotFound, Unavailable

SECRET = "hunter2"


@pytest_asyncio.fixture
async def client(httpserver: HTTPServer) -> AsyncIterator[Client]:
    async with Client(httpserver.url_for("/v2"), "spg99_key_x", max_attempts=1) as client:
        yield client


async def test_the_parts_of_a_dsn_are_percent_decoded(httpserver: HTTPServer, client: Client) -> None:
    dsn = "postgres://tnt_1:p%40ss@gw.example.com:6432/<db-name>?sslmode=require"
    httpserver.expect_request("/v2/tenants/a b/credentials").respond_with_json({"dsn_template": dsn})
    told, private = await open_tenant_dsn(client, {"tenant": "a b"})
    assert told == {
        "tenant": "a b",
        "database": None,
        "dsn": dsn.replace("postgres://", "postgresql://"),
        "host": "gw.example.com",
        "port": 6432,
        "user": "tnt_1",
        "password": "p@ss",
        "sslmode": "require",
    }
    assert private is None


TENANT_ID, DATABASE_ID = "ten_" + "0a" * 10, "db_" + "z9" * 10
DSN = "postgresql://tnt_1:p@h:5432/app?sslmode=require"


async def test_ids_are_taken_where_names_are(httpserver: HTTPServer, client: Client) -> None:
    httpserver.expect_request(f"/v2/tenants/{TENANT_ID}").respond_with_json({"name": "acme"})
    httpserver.expect_request(f"/v2/dbs/{DATABASE_ID}").respond_with_json({"tenant": "acme", "connection_string": DSN})
    httpserver.expect_request("/v2/tenants/acme/dbs/app").respond_with_json({"connection_string": DSN})
    for tenant, database in ((TENANT_ID, DATABASE_ID), (TENANT_ID, "app"), ("acme", DATABASE_ID)):
        told, _ = await open_tenant_dsn(client, {"tenant": tenant, "database": database})
        assert (told["tenant"], told["database"], told["dsn"]) == (tenant, database, DSN)


async def test_a_database_of_another_tenant_is_not_opened_by_its_id(httpserver: HTTPServer, client: Client) -> None:
    none = {"error": "NotFound", "message": "Tenant 'acme' has no such database."}
    httpserver.expect_request(f"/v2/dbs/{DATABASE_ID}").respond_with_json({"tenant": "bolt", "connection_string": DSN})
    httpserver.expect_request(f"/v2/tenants/acme/dbs/{DATABASE_ID}").respond_with_json(none, status=404)
    with pytest.raises(NotFound):
        await open_tenant_dsn(client, {"tenant": "acme", "database": DATABASE_ID})


async def test_a_name_that_looks_like_an_id_is_still_a_name(httpserver: HTTPServer, client: Client) -> None:
    none = {"error": "NotFound", "message": "No such database."}
    httpserver.expect_request(f"/v2/dbs/{DATABASE_ID}").respond_with_json(none, status=404)
    httpserver.expect_request(f"/v2/tenants/acme/dbs/{DATABASE_ID}").respond_with_json({"connection_string": DSN})
    told, _ = await open_tenant_dsn(client, {"tenant": "acme", "database": DATABASE_ID})
    assert told["dsn"] == DSN


async def test_a_key_of_a_tenant_that_is_named_by_its_id(httpserver: HTTPServer, client: Client) -> None:
    httpserver.expect_request(f"/v2/tenants/{TENANT_ID}").respond_with_json({"name": "acme"})
    httpserver.expect_request("/v2/keys", method="POST").respond_with_json({"key_id": "key_1", "token": SECRET})
    wanted = {"name": "ci", "scope": "tenant", "tenant": TENANT_ID, "permissions": [], "expires_in_seconds": 60}
    told, _ = await open_api_key(client, wanted)
    assert httpserver.log[-1][0].json["tenant"] == "acme" and told["tenant"] == TENANT_ID


async def test_a_key_that_may_not_read_credentials_is_told_so(httpserver: HTTPServer, client: Client) -> None:
    template = {"dsn_template": "postgres://tnt_1@h:5432/<db-name>?sslmode=require"}
    httpserver.expect_request("/v2/tenants/acme/credentials").respond_with_json(template)
    with pytest.raises(Forbidden, match="may not read the credentials of the tenant 'acme'.*can_read_credentials"):
        await open_tenant_dsn(client, {"tenant": "acme"})


@pytest.mark.parametrize("answer", [{}, [], {"dsn_template": 5}, {"dsn_template": f"mysql://u:{SECRET}@h"}])
async def test_an_answer_without_a_dsn_is_no_dsn(httpserver: HTTPServer, client: Client, answer: Any) -> None:
    httpserver.expect_request("/v2/tenants/acme/credentials").respond_with_json(answer)
    with pytest.raises(Internal) as caught:
        await open_tenant_dsn(client, {"tenant": "acme"})
    assert SECRET not in str(caught.value)


async def test_a_key_ends_by_itself_should_nobody_close_it(httpserver: HTTPServer, client: Client) -> None:
    httpserver.expect_request("/v2/keys", method="POST").respond_with_json({"key_id": "key_1", "token": SECRET})
    before = datetime.now(UTC)
    wanted = {"name": "ci", "scope": "account", "permissions": [], "expires_in_seconds": 60}
    told, private = await open_api_key(client, wanted)
    (request, _) = httpserver.log[0]
    assert set(request.json) == {"name", "scope", "permissions", "expires_at"} and request.headers["Idempotency-Key"]
    ends = datetime.fromisoformat(request.json["expires_at"])
    assert timedelta(seconds=58) < ends - before < timedelta(seconds=63)
    assert (told["key_id"], told["token"], told["tenant"]) == ("key_1", SECRET, None)
    assert private == {"key_id": "key_1"}, "what a tool may keep until the close holds no secret"


async def test_closing_finds_it_gone_or_says_that_it_could_not(httpserver: HTTPServer, client: Client) -> None:
    gone = {"error": "NotFound", "message": "No such key."}
    httpserver.expect_ordered_request("/v2/keys/key_1", method="DELETE").respond_with_json(gone, status=404)
    away = {"error": "Unavailable", "message": "Starting."}
    httpserver.expect_ordered_request("/v2/keys/key_1", method="DELETE").respond_with_json(away, status=503)
    await close_api_key(client, {"key_id": "key_1"})
    with pytest.raises(Unavailable):
        await close_api_key(client, {"key_id": "key_1"})
