"""What `spg99 import-file` writes for Terraform, read by the real one: a state that was lost whole comes back. Real resources, on a
small Control Plane in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.bridges.plane_stub import API_KEY, Plane
from spg99.bridges.terraform.import_blocks import import_blocks
from spg99.client import Client
from spg99.prepared import PACKAGE
from spg99.resources import Database, Resource, Tenant
from terraform_cli import Workspace, attached, settings_of, terraform, tofu


async def _made(url: str) -> list[Resource]:
    async with Client(url, API_KEY) as client:
        tenant = await client.create(Tenant, {"name": "acme"})
        plain = await client.create(Database, {"tenant": "acme", "name": "app"})
        spec = {
            "tenant": "acme",
            "name": "bills$1",
            "size": "L2",
            "idle_timeout_seconds": 77,
            "deletion_protection": True,
        }
        return [tenant, plain, await client.create(Database, spec)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("binary", [terraform, pytest.param(tofu, marks=pytest.mark.slow)], ids=["terraform", "tofu"])
def test_a_lost_state_comes_back_by_import_blocks(tmp_path: Path, binary: Callable[[], Path]) -> None:
    folder = tmp_path / "configuration"
    with (
        Plane().running() as plane,
        attached(PACKAGE, environment={"TF_DATA_DIR": str(folder / ".terraform")}) as environment,
    ):
        text = import_blocks(asyncio.run(_made(plane.url)))
        work = Workspace(folder, binary=binary(), environment=environment, settings=settings_of(plane.url, API_KEY))
        work.write("")
        (folder / "import.tf").write_text(text)
        for _ in range(2):
            plan = work.plan()
            assert [change.actions for change in plan.changes.values()] == [["no-op"]] * 3, plan.changes
            assert all(change.importing for change in plan.changes.values())
            work.apply()
            assert work.plan().is_empty
            (folder / "terraform.tfstate").unlink()  # lost again: the same file still brings it back
    assert '"bills$1"' in text and "pg_password" not in text


def test_names_that_look_alike_get_labels_of_their_own() -> None:
    fields = {"state": "active", "tenant_id": "t", "pg_user": "u", "dsn_template": "d"}
    times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
    tenants = [Tenant.model_construct(name=name, **fields, **times) for name in ("a$b", "a_b", "_${x}")]
    text = import_blocks(tenants)
    assert 'resource "spg99_tenant" "a_b"' in text and 'resource "spg99_tenant" "a_b_2"' in text
    assert 'id = "_$${x}"' in text, "no template"
