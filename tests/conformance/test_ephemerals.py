"""What is opened for one run, against the real platform: it works while it is open, and ends when it is closed."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from kit.platform import Platform
from spg99.bridges.shared.ephemerals import close_api_key, open_api_key, open_tenant_dsn
from spg99.bridges.shared.inputs import check_fields
from spg99.client import Client
from spg99.errors import NotFound, Unauthorized
from spg99.prepared import PACKAGE
from spg99.shapes import Noun

TENANT_DSN, API_KEY = PACKAGE.ephemerals


def client(platform: Platform, key: str | None = None) -> Client:
    return Client(platform.env["SPG99_CP_URL"], key or platform.env["SPG99_API_KEY"])


def inputs(fields: Any, **values: Any) -> dict[str, Any]:
    checked = check_fields(fields, values, what="an ephemeral")
    assert checked.failures == []
    return checked.inputs


async def test_a_tenants_dsn_opens_its_database(platform: Platform, tenant: str) -> None:
    platform.create_database(tenant)
    async with client(platform) as door:
        whole, private = await open_tenant_dsn(door, inputs(TENANT_DSN.inputs, tenant=tenant, database="app"))
        half, _ = await open_tenant_dsn(door, inputs(TENANT_DSN.inputs, tenant=tenant))
        with pytest.raises(NotFound):
            await open_tenant_dsn(door, inputs(TENANT_DSN.inputs, tenant=tenant, database="none"))
    assert private is None and set(whole) == {field.name for field in TENANT_DSN.outputs} == set(half)
    with psycopg.connect(whole["dsn"], connect_timeout=30) as connection:
        assert connection.execute("select current_user").fetchone() == (whole["user"],)
    assert half["dsn"].replace("<db-name>", "app") == whole["dsn"] and half["database"] is None


async def test_a_key_of_a_run_works_until_it_is_closed(platform: Platform, tenant: str) -> None:
    platform.create_database(tenant)
    tenants: Noun = PACKAGE.nouns[0]
    wanted = inputs(API_KEY.inputs, name="ci", scope="tenant", tenant=tenant, permissions=["can_scale"])
    assert wanted["expires_in_seconds"] == 3600
    async with client(platform) as door:
        made, private = await open_api_key(door, wanted)
        assert set(made) == {field.name for field in API_KEY.outputs}
        assert made["token"] not in str(private)
        async with client(platform, made["token"]) as theirs:
            assert (await theirs.read(tenants, {"name": tenant}))["name"] == tenant
            await close_api_key(door, private)
            with pytest.raises(Unauthorized):
                await theirs.read(tenants, {"name": tenant})
        await close_api_key(door, private)
