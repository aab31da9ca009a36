"""What a create writes is known without an answer. Here: it is what every later question finds. Not here: what a create refuses
(serving/test_tenants_and_databases.py)."""

from __future__ import annotations

from typing import Any

import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from spg99.control_plane.databases import rows
from spg99.control_plane.tenants import rows as tenants
from spg99.errors import Conflict


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {
            "size": "L2",
            "min_size": "L1",
            "max_size": "L3",
            "idle_timeout_seconds": 7,
            "storage_limit_bytes": 1 << 33,
            "deletion_protection": True,
        },
    ],
)
async def test_a_new_database_is_the_row_that_is_found(platform: InProcessPlatform, spec: dict[str, Any]) -> None:
    made = await platform.create("app", **spec)
    async with platform.store.transaction() as tx:
        found = await rows.by_id(tx, made.db_id)
        assert found == made
    assert [type(value) for value in vars(made).values()] == [type(vars(found)[name]) for name in vars(made)]


async def test_a_new_tenant_is_the_row_that_is_found(platform: InProcessPlatform) -> None:
    made = await platform.create_tenant("second")
    async with platform.store.transaction() as tx:
        assert await tenants.by_id(tx, made.tenant_id) == made


async def test_one_of_two_with_the_same_name_is_refused_by_the_commit(platform: InProcessPlatform) -> None:
    await platform.create("app")
    with pytest.raises(Conflict, match="has a database called 'app' already"):
        await platform.create("app")
    await platform.create_tenant("second")
    with pytest.raises(Conflict, match="A tenant called 'second' exists already"):
        await platform.create_tenant("second")
