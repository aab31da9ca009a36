"""What a user of the Pulumi resources sees, through every engine and against the real platform."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from conformance.stacks import BIN, Stack
from kit.platform import Platform, wait_for

BOTH = """
    tenant = Tenant("tenant", name="{tenant}")
    app = Database("app", tenant=tenant.name, name="app", idle_timeout_seconds={idle})
    pulumi.export("dsn", app.connection_string)
    pulumi.export("idle", app.idle_timeout_seconds)
"""


def api_status(platform: Platform, tenant: str) -> int:
    return platform.api("GET", f"/tenants/{tenant}/dbs/app").status_code


def test_preview_writes_nothing(stack: Stack, platform: Platform, tenant: str) -> None:
    seen = stack.preview(BOTH.format(tenant=tenant, idle=60)).ok()
    assert "create" in seen.text
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 404
    assert "tenant" not in stack.resources()


def test_create_no_change_update_in_place_destroy(stack: Stack, platform: Platform, tenant: str) -> None:
    stack.up(BOTH.format(tenant=tenant, idle=60)).ok()
    made = platform.database(tenant)
    assert made["idle_timeout_seconds"] == 60
    stack.nothing_to_do()
    changed = stack.up(BOTH.format(tenant=tenant, idle=61)).ok()
    assert "updated" in changed.text or "to update" in changed.text
    after = platform.database(tenant)
    assert (after["db_id"], after["idle_timeout_seconds"]) == (made["db_id"], 61)
    assert stack.run("stack", "output", "idle").ok().text.strip() == "61"  # a whole number stays whole
    stack.nothing_to_do()
    stack.run("destroy", "--yes", "--skip-preview").ok()
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 404
    stack.run("destroy", "--yes", "--skip-preview").ok()


@pytest.mark.slow  # again
def test_defaults_are_the_apis_and_no_later_difference(stack: Stack, platform: Platform, tenant: str) -> None:
    stack.up(f"""
        tenant = Tenant("tenant", name="{tenant}")
        Database("app", tenant=tenant.name, name="app")
    """).ok()
    assert platform.database(tenant)["size"] == "L1"
    stack.nothing_to_do()
    stack.run("refresh", "--yes", "--skip-preview", "--expect-no-changes").ok()


def test_all_errors_of_a_check_at_once_on_their_property(stack: Stack, tenant: str) -> None:
    stack.preview(f"""
        Database("app", tenant="{tenant}", name="1 bad name", size="XXL", idle_timeout_seconds=-1)
    """).refused("name", "size", "idleTimeoutSeconds", "L1")


@pytest.mark.slow  # again
def test_a_change_that_would_replace_a_database_is_refused_in_preview(
    stack: Stack, platform: Platform, tenant: str
) -> None:
    program = """
        tenant = Tenant("tenant", name="{tenant}")
        app = Database("app", tenant=tenant.name, name="{name}"{more})
    """
    stack.up(program.format(tenant=tenant, name="app", more="")).ok()
    before = platform.database(tenant)
    stack.preview(program.format(tenant=tenant, name="other", more="")).refused("allow_replacement")
    stack.up().refused("allow_replacement")
    assert platform.database(tenant)["db_id"] == before["db_id"]
    stack.up(program.format(tenant=tenant, name="other", more=", allow_replacement=True")).ok()
    assert platform.database(tenant, "other")["db_id"] != before["db_id"]
    wait_for("the old database to be gone", lambda: api_status(platform, tenant) == 404)
    stack.nothing_to_do()


@pytest.mark.slow  # again
def test_drift_is_shown_by_refresh_and_mended_by_up(stack: Stack, platform: Platform, tenant: str) -> None:
    stack.up(BOTH.format(tenant=tenant, idle=60)).ok()
    platform.api("PATCH", f"/tenants/{tenant}/dbs/app", json={"idle_timeout_seconds": 99}).raise_for_status()
    seen = stack.run("refresh", "--yes", "--skip-preview").ok()
    assert "update" in seen.text
    assert stack.resources()["app"]["outputs"]["idleTimeoutSeconds"] == 99
    stack.up().ok()
    assert platform.database(tenant)["idle_timeout_seconds"] == 60


@pytest.mark.slow  # again
def test_what_was_deleted_outside_is_made_again(stack: Stack, platform: Platform, tenant: str) -> None:
    stack.up(BOTH.format(tenant=tenant, idle=60)).ok()
    before = platform.database(tenant)
    platform.api("DELETE", f"/tenants/{tenant}/dbs/app").raise_for_status()
    wait_for("404", lambda: api_status(platform, tenant) == 404)
    stack.run("refresh", "--yes", "--skip-preview").ok()
    assert "app" not in stack.resources()
    stack.up().ok()
    assert platform.database(tenant)["db_id"] != before["db_id"]


@pytest.mark.slow  # again
def test_secrets_are_nowhere_in_plain(stack: Stack, platform: Platform, tenant: str) -> None:
    printed = stack.up(BOTH.format(tenant=tenant, idle=60)).ok().text
    password = platform.api("GET", f"/tenants/{tenant}").json()["pg_password"]
    printed += stack.run("stack", "output").ok().text + stack.run("stack", "export").ok().text
    printed += stack.run("refresh", "--yes", "--skip-preview", "--diff").ok().text
    for text in (printed, stack.files()):
        assert password not in text
        assert platform.env["SPG99_API_KEY"] not in text
    shown = stack.run("stack", "output", "dsn", "--show-secrets").ok().text
    assert password in shown


@pytest.mark.slow  # again
def test_the_state_holds_only_a_constant_reference(stack: Stack, platform: Platform, tenant: str) -> None:
    stack.up(BOTH.format(tenant=tenant, idle=60)).ok()
    kept = {r["inputs"]["__provider"] for r in stack.resources().values() if "__provider" in (r.get("inputs") or {})}
    assert len(kept) == 2, "one constant for each noun: a tenant and a database"
    assert all(isinstance(reference, str) and len(reference) < 150 for reference in kept)


@pytest.mark.slow  # again
def test_unknown_values_are_accepted_anywhere(stack: Stack, tenant: str) -> None:
    program = f"""
        tenant = Tenant("tenant", name="{tenant}")
        first = Database("first", tenant=tenant.name, name="first")
        Database(
            "second", tenant=tenant.name, name=first.db_id.apply(lambda made: "after_" + made[-8:]),
            idle_timeout_seconds=first.db_id.apply(lambda made: 100 + len(made)),
        )
    """
    stack.preview(program).ok()
    stack.up(program).ok()
    stack.nothing_to_do()


@pytest.mark.slow  # again
def test_get_reads_and_a_missing_one_is_an_error(stack: Stack, platform: Platform, tenant: str) -> None:
    database = platform.create_database(tenant)
    stack.up(f"""
        found = Database.get("found", "{tenant}/app")
        pulumi.export("id", found.db_id)
    """).ok()
    assert stack.run("stack", "output", "id").ok().text.strip() == database["db_id"]
    stack.up(f'Database.get("missing", "{tenant}/nothing")').refused("nothing")


def test_functions_read_what_exists(stack: Stack, platform: Platform, tenant: str) -> None:
    database = platform.create_database(tenant)
    stack.up(f"""
        pulumi.export("one", spg99.get_database("{tenant}", "app").db_id)
        pulumi.export("names", [each.name for each in spg99.get_databases("{tenant}")])
        pulumi.export("user", spg99.get_tenant("{tenant}").pg_user)
    """).ok()
    assert stack.run("stack", "output", "one").ok().text.strip() == database["db_id"]
    assert json.loads(stack.run("stack", "output", "names", "--json").ok().text) == ["app"]


def test_import_by_an_import_file(stack: Stack, platform: Platform, tenant: str) -> None:
    made = platform.create_database(tenant, idle_timeout_seconds=77)
    file = stack.folder / "import.json"
    subprocess.run(
        [BIN / "spg99", "import-file", f"tenants:{tenant}", f"dbs:{tenant}/app", "--output", file],
        env={**platform.env, "PATH": "/usr/bin:/bin"},
        check=True,
    )
    # Pulumi's CLI would write code for what it imports, and there is no schema of a dynamic provider to write it from.
    told = [] if stack.program[0].endswith("/spg99") else ["--generate-code=false"]
    stack.run("import", "--file", str(file), "--yes", *told).ok()
    entries = {r["id"]: r["urn"].rsplit("::", 1)[1] for r in stack.resources().values() if r.get("id")}
    database, owner = entries[f"{tenant}/app"], entries[tenant]
    stack.write(f"""
        tenant = Tenant("{owner}", name="{tenant}")
        Database("{database}", tenant=tenant.name, name="app", idle_timeout_seconds=77)
    """)
    stack.nothing_to_do()
    assert platform.database(tenant)["db_id"] == made["db_id"]


def test_missing_configuration_is_one_sentence_that_names_all_ways(stack: Stack, tenant: str) -> None:
    stack.write(f'Tenant("tenant", name="{tenant}")')
    away = {"SPG99_CP_URL": "", "SPG99_API_KEY": "", "CP_URL": "", "SPG99_TOKEN": ""}
    stack.run("preview", environment=away).refused("spg99:url", "SPG99_API_KEY", "spg99 env")
    stack.run("up", "--yes", environment=away).refused("spg99:url", "SPG99_API_KEY", "spg99 env")


@pytest.mark.slow  # again
def test_configuration_of_the_stack(stack: Stack, platform: Platform, tenant: str) -> None:
    stack.run("config", "set", "spg99:url", platform.env["SPG99_CP_URL"]).ok()
    stack.run("config", "set", "--secret", "spg99:apiKey", platform.env["SPG99_API_KEY"]).ok()
    away = {"SPG99_CP_URL": "", "SPG99_API_KEY": ""}
    stack.up(f'Tenant("tenant", name="{tenant}")', environment=away).ok()
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 200
    assert platform.env["SPG99_API_KEY"] not in stack.files()
    stack.run("destroy", "--yes", "--skip-preview", environment=away).ok()


@pytest.mark.slow  # again
def test_an_unreachable_platform_is_a_sentence_and_the_state_stays(stack: Stack, tenant: str) -> None:
    stack.up(BOTH.format(tenant=tenant, idle=60)).ok()
    before = stack.run("stack", "export").ok().text
    nowhere = {"SPG99_CP_URL": "http://127.0.0.1:9/v2"}
    stack.run("refresh", "--yes", "--skip-preview", environment=nowhere).refused("127.0.0.1:9")
    exported = json.loads(stack.run("stack", "export").ok().text)["deployment"]["resources"]
    assert {r["urn"] for r in exported} == {r["urn"] for r in json.loads(before)["deployment"]["resources"]}


@pytest.mark.slow  # again
def test_deletion_protection_refuses_and_says_how(stack: Stack, platform: Platform, tenant: str) -> None:
    program = """
        tenant = Tenant("tenant", name="{tenant}")
        Database("app", tenant=tenant.name, name="app", deletion_protection={protected})
    """
    stack.up(program.format(tenant=tenant, protected=True)).ok()
    stack.run("destroy", "--yes", "--skip-preview").refused("deletion_protection")
    assert api_status(platform, tenant) == 200
    stack.up(program.format(tenant=tenant, protected=False)).ok()
    stack.run("destroy", "--yes", "--skip-preview").ok()


@pytest.mark.slow  # again
def test_an_api_key_lives_and_dies_with_the_stack(stack: Stack, platform: Platform, tenant: str) -> None:
    stack.up("""
        key = ApiKey("key", name="ci", permissions=["can_create_tenant"])
        pulumi.export("token", key.token)
    """).ok()
    token = stack.run("stack", "output", "token", "--show-secrets").ok().text.strip()
    assert token not in stack.files()
    assert platform.api("GET", "/tenants", key=token).status_code == 200
    stack.nothing_to_do()
    stack.run("refresh", "--yes", "--skip-preview").ok()
    assert stack.run("stack", "output", "token", "--show-secrets").ok().text.strip() == token
    stack.run("destroy", "--yes", "--skip-preview").ok()
    wait_for("the key to be refused", lambda: platform.api("GET", "/tenants", key=token).status_code == 401, seconds=5)


def test_forty_databases_are_waited_for_together(stack: Stack, platform: Platform, tenant: str) -> None:
    began = time.monotonic()
    stack.up(f"""
        tenant = Tenant("tenant", name="{tenant}")
        for number in range(40):
            Database(f"d{{number}}", tenant=tenant.name, name=f"d{{number}}")
    """).ok()
    listed = platform.api("GET", f"/tenants/{tenant}/dbs", params={"limit": 100}).json()["items"]
    assert [d["state"] for d in listed] == ["stopped"] * 40
    assert time.monotonic() - began < 60
    stack.nothing_to_do()
