"""Terraform against the real platform: the product's nouns from the first apply to the last destroy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.platform import Platform, a_platform
from spg99.bridges.terraform.provider import TerraformProvider
from spg99.prepared import PACKAGE
from spg99.shapes import Field, Noun, Package, Type
from terraform_cli import Workspace, attached, settings_of
from tfplugin.serving import Attached

TWO = """
resource "spg99_tenant" "acme" {
  name = "acme"
}
resource "spg99_database" "app" {
  tenant = spg99_tenant.acme.name
  name   = "app"
  %s
}
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with a_platform() as running:
        yield running


@pytest.fixture
def work(platform: Platform, tmp_path: Path) -> Iterator[Workspace]:
    folder = tmp_path / "configuration"
    with attached(PACKAGE, environment={"TF_DATA_DIR": str(folder / ".terraform")}) as environment:
        yield Workspace(
            folder,
            environment=environment,
            settings=settings_of(platform.env["SPG99_CP_URL"], platform.env["SPG99_API_KEY"]),
        )


def test_a_database_from_plan_to_destroy(work: Workspace, platform: Platform) -> None:
    assert work.write(TWO % "").plan().changes["spg99_database.app"].unknown["db_id"] is True
    work.apply()
    assert work.plan().is_empty and work.plan(refresh=False).is_empty
    kept = work.values("spg99_database.app")
    assert (kept["id"], kept["state"], kept["size"]) == ("acme/app", "stopped", "L1")

    plan = work.write(TWO % 'size = "L2"').plan()
    assert plan.changes["spg99_database.app"].changed == {"size"}
    work.apply(plan.path.name)
    assert platform.database()["size"] == "L2" and work.plan().is_empty

    platform.api("PATCH", "/tenants/acme/dbs/app", json={"idle_timeout_seconds": 17}).raise_for_status()
    assert work.plan().changes["spg99_database.app"].changed == {"idle_timeout_seconds"}
    work.apply()
    assert platform.database()["idle_timeout_seconds"] == 300

    with platform.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert work.plan().is_empty, "a database that woke is no drift"

    for address, ids in (("spg99_database.app", ("acme/app", kept["db_id"])), ("spg99_tenant.acme", ("acme",))):
        for wanted in ids:
            work.forget(address)
            work.import_(address, wanted)
            assert work.plan().is_empty, wanted

    refused = work.write((TWO % "").replace('name   = "app"', 'name   = "other"')).run("plan", check=False)
    assert "would be replaced and its data destroyed" in refused.text
    work.write(TWO % "deletion_protection = true").apply()
    assert "is protected from deletion" in work.run("plan", "-destroy", check=False).text
    work.write(TWO % "").apply()
    work.destroy()
    assert platform.api("GET", "/tenants/acme").status_code == 404


@pytest.mark.long
def test_passwords_that_are_brought_rotated_and_never_stored(work: Workspace, platform: Platform) -> None:
    credentials = """
resource "spg99_tenant_credentials" "acme" {
  tenant = spg99_tenant.acme.name
  %s
}
output "password" {
  value     = spg99_tenant_credentials.acme.password
  sensitive = true
}
"""
    work.write(TWO % "" + credentials % 'rotation_trigger = "a"').apply()
    first = work.outputs()["password"]
    assert work.plan().is_empty
    work.write(TWO % "" + credentials % 'rotation_trigger = "b"').apply()
    second = work.outputs()["password"]
    assert first != second and platform.api("GET", "/tenants/acme").json()["pg_password"] == second
    work.write(
        TWO % ""
        + credentials % 'rotation_trigger = "b"\n  pg_password_wo = "my very own phrase"\n  pg_password_wo_version = 1'
    )
    work.apply()
    assert platform.api("GET", "/tenants/acme").json()["pg_password"] == "my very own phrase"
    assert work.plan().is_empty
    work.destroy()


@pytest.mark.long
def test_secrets_for_one_run_leave_no_trace(work: Workspace, platform: Platform) -> None:
    # A write-only argument takes what may not be kept.
    ephemeral = """
ephemeral "spg99_tenant_dsn" "app" {
  tenant   = spg99_tenant.acme.tenant_id
  database = spg99_database.app.name
}
ephemeral "spg99_api_key" "ci" {
  name        = "ci"
  scope       = "tenant"
  tenant      = spg99_tenant.acme.tenant_id
  permissions = ["can_create_db"]
}
resource "spg99_tenant" "other" {
  name = "other"
}
resource "spg99_tenant_credentials" "other" {
  tenant                 = spg99_tenant.other.name
  pg_password_wo         = provider::spg99::parse_dsn(ephemeral.spg99_tenant_dsn.app.dsn).password
  pg_password_wo_version = 1
}
"""
    (work.folder / "provider.tf").write_text(
        (work.folder / "provider.tf").read_text().replace("}\n", "  secrets_in_state = false\n}\n")
    )
    # An id is known only after apply, so what is opened by id may be made in the same run.
    work.write(TWO % "" + ephemeral).apply()
    password = platform.api("GET", "/tenants/acme").json()["pg_password"]
    assert platform.api("GET", "/tenants/other").json()["pg_password"] == password
    assert password not in work.raw_state() and "spg99_key_" not in work.raw_state()
    assert [key["name"] for key in platform.api("GET", "/keys").json()["items"] if key["name"] == "ci"] == []
    assert work.plan().is_empty
    work.destroy()


MANY = """
resource "spg99_tenant" "acme" {
  name = "acme"
}
resource "spg99_database" "app" {
  count  = 6
  tenant = spg99_tenant.acme.name
  name   = "app${count.index}"
}
"""


def test_children_of_one_parent_are_made_and_deleted_at_once(work: Workspace, platform: Platform) -> None:
    work.write(MANY).apply("-parallelism=6")
    assert len(platform.api("GET", "/tenants/acme/dbs").json()["items"]) == 6
    assert work.plan("-parallelism=6").is_empty
    work.destroy("-parallelism=6")
    assert platform.api("GET", "/tenants/acme").status_code == 404


DSN = """
ephemeral "spg99_tenant_dsn" "app" {
  tenant   = %s
  database = %s
}
resource "spg99_tenant" "other" {
  name = "other"
}
resource "spg99_tenant_credentials" "other" {
  tenant                 = spg99_tenant.other.name
  pg_password_wo         = ephemeral.spg99_tenant_dsn.app.password
  pg_password_wo_version = 1
}
"""


def test_a_dsn_of_what_the_same_run_makes_is_opened_when_it_is_there(work: Workspace, platform: Platform) -> None:
    by_name = DSN % ("spg99_tenant.acme.name", "spg99_database.app.name")
    said = work.write(TWO % "" + by_name).run("plan", check=False)
    assert said.code == 1 and "There is no tenant 'acme'" in said.text
    assert "tenant = spg99_tenant.<name>.tenant_id" in said.text
    assert "database = spg99_database.<name>.db_id" in said.text and "Request id: req_" in said.text

    by_id = DSN % ("spg99_tenant.acme.tenant_id", "spg99_database.app.name")
    assert set(work.write(TWO % "" + by_id).plan().changes) == {
        "spg99_tenant.acme", "spg99_database.app", "spg99_tenant.other", "spg99_tenant_credentials.other",
    }  # fmt: skip
    work.apply()
    password = platform.api("GET", "/tenants/acme").json()["pg_password"]
    assert platform.api("GET", "/tenants/other").json()["pg_password"] == password
    assert work.plan().is_empty, "the id is known now, and what it names is there"

    # A new database of a tenant that is there: its own id puts the opening off.
    later = """
resource "spg99_database" "later" {
  tenant = spg99_tenant.other.name
  name   = "later"
}
"""
    work.write(TWO % "" + later + DSN % ("spg99_tenant.other.name", "spg99_database.later.db_id")).apply()
    wrong = work.write(TWO % "" + later + DSN % ('"acme"', "spg99_database.later.db_id")).run("plan", check=False)
    assert wrong.code == 1 and "Tenant 'acme' has no database 'db_" in wrong.text, "it is another tenant's"
    work.write("").apply()
    assert platform.api("GET", "/tenants/acme").status_code == 404


@pytest.mark.long
def test_what_there_is_can_be_read(work: Workspace, platform: Platform) -> None:
    work.write(TWO % "").apply()
    work.write(
        TWO % ""
        + 'data "spg99_account" "mine" {}\ndata "spg99_tenants" "all" {}\n'
        + 'data "spg99_databases" "acme" {\n  tenant = "acme"\n  name_prefix = "a"\n}\n'
        + 'data "spg99_database" "app" {\n  tenant = "acme"\n  name = "app"\n}\n'
        + 'data "spg99_tenant_credentials" "acme" {\n  tenant = "acme"\n}\n'
        + 'output "managed" {\n  value = data.spg99_tenant_credentials.acme.state\n}\n'
        + 'output "seen" {\n  value = [data.spg99_account.mine.account_id, data.spg99_tenants.all.tenants[*].id, '
        + "data.spg99_databases.acme.databases[*].id, data.spg99_database.app.size]\n}\n"
    ).apply()
    account, tenants, databases, size = work.outputs()["seen"]
    assert account == platform.api("GET", "/account").json()["account_id"]
    assert ("acme" in tenants, databases, size) == (True, ["acme/app"], "L1")
    assert work.outputs()["managed"] == "unmanaged", "nobody manages these credentials, and they are there"
    work.destroy()


OTHER_PROVIDER = Package(
    name="postgresql",
    version="1.0.0",
    description="A provider whose states we take over.",
    configuration=(),
    nouns=(
        Noun(
            noun="database",
            title="Database",
            plural="",
            description="A database of a cluster.",
            inputs=(
                Field("name", Type("text"), "Name.", required=True),
                Field("owner", Type("text"), "Owner.", nullable=True),
            ),
            outputs=(
                Field("name", Type("text"), "Name.", required=True),
                Field("owner", Type("text"), "Owner.", nullable=True),
            ),
            collection_path="/dbs",
            item_path="/dbs/{name}",
            id_format="{name}",
            uid_field="name",
        ),
    ),
    reads=(),
    functions=(),
    ephemerals=(),
)


@pytest.mark.long
def test_a_state_of_another_provider_is_moved(work: Workspace, platform: Platform) -> None:
    platform.create_database()
    state = {
        "version": 4,
        "terraform_version": "1.8.0",
        "serial": 1,
        "lineage": "b3d6f7a0-0000-0000-0000-000000000000",
        "outputs": {},
        "resources": [
            {
                "mode": "managed",
                "type": "postgresql_database",
                "name": "app",
                "provider": 'provider["registry.terraform.io/cyrilgdn/postgresql"]',
                "instances": [{"schema_version": 0, "attributes": {"id": "app", "name": "app", "owner": "acme"}}],
            }
        ],
    }
    with Attached(lambda: TerraformProvider(OTHER_PROVIDER, {}), "registry.terraform.io/cyrilgdn/postgresql") as other:
        both = json.loads(work.environment["TF_REATTACH_PROVIDERS"]) | json.loads(other.reattach)
        work.environment["TF_REATTACH_PROVIDERS"] = json.dumps(both)
        work.init()
        (work.folder / "terraform.tfstate").write_text(json.dumps(state))
        work.write(
            "moved {\n  from = postgresql_database.app\n  to = spg99_database.app\n}\n"
            'resource "spg99_database" "app" {\n  tenant = "acme"\n  name = "app"\n}\n'
        )
        plan = work.plan()
        assert plan.changes["spg99_database.app"].actions == ["no-op"], plan.text
        work.apply()
        assert work.values("spg99_database.app")["db_id"] == platform.database()["db_id"]
    platform.api("DELETE", "/tenants/acme", params={"cascade": "true"}).raise_for_status()
