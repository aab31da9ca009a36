"""`spg99 orphans` after real kills: a tool dies when its create is carried out and not yet answered, on the real platform; what it made is
found, taken in, or deleted. Not here: which object is an orphan (tests/unit/commands/test_orphan_rules.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.platform import BIN, Platform, a_platform, wait_for
from kit.pulumi_cli import pulumi, pulumi_environment
from spg99.declarer import HEADER, Declarer
from terraform_cli import Workspace, settings_of, terraform, tofu

pytestmark = [
    pytest.mark.slow,  # broken
    pytest.mark.timeout(300),  # real platform, real tools; the first test starts the platform
]

FOUND = 3
TERRAFORM = """
resource "spg99_tenant" "it" {
  name = "%(tenant)s"
}
resource "spg99_database" "app" {
  tenant = spg99_tenant.it.name
  name   = "app"
}
"""
PYTHON = """
from spg99.dynamic import Database, Tenant
tenant = Tenant("it", name="%(tenant)s")
Database("app", tenant=tenant.name, name="app")
"""
YAML = {
    "tenant": {"type": "spg99:Tenant", "properties": {"name": "?"}},
    "app": {"type": "spg99:Database", "properties": {"tenant": "${tenant.name}", "name": "app"}},
}


@pytest.fixture(scope="module")
def fault_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults") / "order"


@pytest.fixture(scope="module")
def platform(fault_file: Path) -> Iterator[Platform]:
    with a_platform(environment={"SPG99_FAULT_FILE": str(fault_file)}) as running:
        yield running


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    subprocess.run([BIN / "spg99", "terraform", "install", "--dir", folder], capture_output=True, text=True, check=True)
    return folder


@pytest.fixture
def tenant(platform: Platform, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"o_{abs(hash(request.node.nodeid)) % 10**8}"
    yield name
    platform.api("DELETE", f"/tenants/{name}?cascade=true&force=true")


def orphans(
    platform: Platform, folder: Path, *arguments: str, code: int, environment: dict[str, str] | None = None
) -> tuple[dict[str, Any], str]:
    """`spg99 orphans` in a project's folder: its answer as JSON (empty where it gives none), and all it said."""
    done = subprocess.run(
        [BIN / "spg99", "orphans", *arguments],
        cwd=folder,
        env={**os.environ, **platform.env, **(environment or {})},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout) if "--json" in arguments else {}
    return answer, done.stdout + done.stderr


def killed_at_its_second_create(process: subprocess.Popen[Any], fault_file: Path) -> None:
    """The tool is killed when the Control Plane has carried out its second create (the database) and has not answered."""
    taken = fault_file.with_suffix(".taken")
    taken.unlink(missing_ok=True)
    temporary = fault_file.with_suffix(".new")
    temporary.write_text(f"api.after_commit:2 {process.pid}")
    temporary.rename(fault_file)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert fault_file.with_name(fault_file.name + ".taken").exists()


class Stack:
    """A Pulumi project with the stack `dev` in a file backend."""

    def __init__(self, platform: Platform, folder: Path, tenant: str, *, kind: str, engine: Path) -> None:
        self.folder, self.engine = folder, engine
        (folder / "state").mkdir()
        runtime = "python" if kind == "dynamic" else "yaml"
        project: dict[str, Any] = {"name": "shop", "runtime": runtime}
        if kind == "native":
            resources = json.loads(json.dumps(YAML))
            resources["tenant"]["properties"]["name"] = tenant
            project["resources"] = resources
        else:
            (folder / "__main__.py").write_text(PYTHON % {"tenant": tenant})
        (folder / "Pulumi.yaml").write_text(json.dumps(project))
        self.environment = {
            **os.environ, **platform.env, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **pulumi_environment(folder, passphrase="x"),
            "SPG99_STATE_NAME": tenant,  # all stacks of this file are called shop/dev
        }  # fmt: skip
        self.run("stack", "init", "dev")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.engine, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def killed_up(self, fault_file: Path) -> None:
        process = subprocess.Popen(
            [self.engine, "up", "--yes", "--skip-preview", "--stack", "dev"], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        killed_at_its_second_create(process, fault_file)


@pytest.mark.parametrize("kind", ["dynamic", "native"])
@pytest.mark.parametrize("engine", ["embedded", "pulumi"])
def test_a_killed_up_leaves_an_orphan_that_is_taken_in(
    platform: Platform, tmp_path: Path, tenant: str, fault_file: Path, kind: str, engine: str
) -> None:
    program = BIN / "spg99" if engine == "embedded" else pulumi()
    stack = Stack(platform, tmp_path, tenant, kind=kind, engine=program)
    stack.killed_up(fault_file)
    if engine == "embedded":
        stack.run("cancel", "--yes")
    else:
        stack.run("cancel", "--yes", "--stack", "dev")
    token = "pulumi-python:dynamic/spg99:Database" if kind == "dynamic" else "spg99:index:Database"
    urn = f"urn:pulumi:dev::shop::{token}::app"
    environment = stack.environment
    answer, _ = orphans(platform, tmp_path, "--stack", "dev", "--json", code=FOUND, environment=environment)
    assert answer["state"] == f"pulumi:{tenant}"
    (found,) = (each for each in answer["orphans"] if each["noun"] == "database")
    assert (found["id"], found["tool"], found["resource"]) == (f"{tenant}/app", f"pulumi-{kind}", urn)
    assert found["is_pending"] and found["by_this_key"]
    _, said = orphans(platform, tmp_path, "--stack", "dev", code=FOUND, environment=environment)
    assert "\n  spg99 orphans --import --stack dev\n" in said and "--clear-pending-creates" not in said
    _, said = orphans(platform, tmp_path, "--stack", "dev", "--import", "--yes", code=0, environment=environment)
    assert "taken into the stack" in said
    orphans(platform, tmp_path, "--stack", "dev", code=0, environment=environment)
    stack.run("refresh", "--yes", "--skip-preview", "--stack", "dev")
    stack.run("up", "--yes", "--skip-preview", "--stack", "dev", "--expect-no-changes")
    there = platform.database(tenant, "app")
    assert there["db_id"] == found["uid"]
    stack.run("destroy", "--yes", "--skip-preview", "--stack", "dev")
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 404


@pytest.mark.parametrize("binary", [terraform, tofu], ids=["terraform", "tofu"])
def test_a_killed_apply_leaves_an_orphan_that_is_taken_in_or_deleted(
    platform: Platform, tmp_path: Path, tenant: str, fault_file: Path, mirror: Path, binary: Any
) -> None:
    program = binary()
    settings = settings_of(platform.env["SPG99_CP_URL"], platform.env["SPG99_API_KEY"])
    folder = tmp_path / "infra"
    work = Workspace(folder, binary=program, mirror=mirror, settings=settings)
    work.write(TERRAFORM % {"tenant": tenant})
    work.init()
    killed_at_its_second_create(work.start("apply", "-auto-approve", "-input=false"), fault_file)
    # What waits for Terraform's next run is not there where the next run is on another machine.
    for left in (folder / ".terraform" / "spg99-creates").glob("*"):
        left.unlink()
    (folder / ".terraform.tfstate.lock.info").unlink(missing_ok=True)
    tool = "opentofu" if program.name == "tofu" else "terraform"
    environment = work.environment | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    answer, _ = orphans(platform, folder, "--for", tool, "--json", code=FOUND, environment=environment)
    (found,) = (each for each in answer["orphans"] if each["noun"] == "database")
    assert (found["id"], found["tool"], found["resource"]) == (f"{tenant}/app", tool, None)
    assert answer["state"].startswith("terraform:local:infra-")
    orphans(platform, folder, "--for", tool, "--import", "-o", "taken.tf", code=0, environment=environment)
    written = (folder / "taken.tf").read_text()
    assert f'id = "{tenant}/app"' in written
    # The configuration declares it already: only the import block, with that address.
    blocks = [
        f'import {{\n  to = {address}\n  id = "{id_}"\n}}\n'
        for address, id_ in (("spg99_tenant.it", tenant), ("spg99_database.app", f"{tenant}/app"))
        if f'id = "{id_}"' in written
    ]
    (folder / "taken.tf").write_text("\n".join(blocks))
    work.apply()
    assert work.plan().is_empty
    assert work.values("spg99_database.app")["db_id"] == found["uid"]
    orphans(platform, folder, "--for", tool, code=0, environment=environment)

    # The state forgets it: `state rm`, or a state that was restored from yesterday.
    (folder / "taken.tf").unlink()
    work.forget("spg99_database.app")
    _, said = orphans(platform, folder, "--for", tool, "--delete", "--yes", code=1, environment=environment)
    assert "that of a folder" in said, "nothing is deleted on a guess"
    platform.database(tenant, "app")
    arguments = ("--for", tool, "--delete", "--yes", "--name", answer["state"])
    orphans(platform, folder, *arguments, code=0, environment=environment)
    assert platform.api("GET", f"/tenants/{tenant}/dbs/app").status_code == 404
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 200, "what the state holds stays"
    work.destroy()


def made(platform: Platform, path: str, body: dict[str, Any], state: str, **more: Any) -> dict[str, Any]:
    """An object that a stack declares."""
    urn = f"urn:pulumi:dev::{state}::spg99:index:Thing::{body['name']}"
    header = {HEADER: Declarer("pulumi-native", f"pulumi:{state}/dev", urn).header()}
    answer = platform.api("POST", path, json=body, headers=header, **more)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def state_of(folder: Path, project: str, *held: dict[str, Any]) -> str:
    """A file with the stack's state, which holds these tenants."""
    resources = [
        {
            "urn": f"urn:pulumi:dev::{project}::spg99:index:Tenant::{each['name']}", "type": "spg99:index:Tenant",
            "custom": True, "id": each["name"], "outputs": {"tenantId": each["tenant_id"]},
        }
        for each in held
    ]  # fmt: skip
    root = {"urn": f"urn:pulumi:dev::{project}::pulumi:pulumi:Stack::s", "type": "pulumi:pulumi:Stack", "custom": False}
    path = folder / "state.json"
    path.write_text(json.dumps({"version": 3, "deployment": {"manifest": {}, "resources": [root, *resources]}}))
    return str(path)


def test_what_is_protected_or_owns_something_stays_and_says_so(platform: Platform, tmp_path: Path, tenant: str) -> None:
    kept = made(platform, "/tenants", {"name": tenant}, "guarded")
    lost = made(platform, "/tenants", {"name": f"{tenant}x"}, "guarded")
    made(platform, f"/tenants/{tenant}x/dbs", {"name": "safe", "deletion_protection": True}, "guarded")
    made(platform, f"/tenants/{tenant}x/dbs", {"name": "gone"}, "guarded")
    made(platform, f"/tenants/{tenant}/dbs", {"name": "gone"}, "guarded")
    state = state_of(tmp_path, "guarded", kept)
    _, said = orphans(platform, tmp_path, "--state", state, "--delete", code=1)
    assert "Nothing was done." in said, "without --yes and a terminal the answer is no"
    assert platform.api("GET", f"/tenants/{tenant}/dbs/gone").status_code == 200
    _, said = orphans(platform, tmp_path, "--state", state, "--delete", "--yes", code=1)
    assert "is protected" in said and "owns a database" in said
    assert platform.api("GET", f"/tenants/{tenant}x/dbs/safe").status_code == 200
    for path in (f"/tenants/{tenant}x/dbs/gone", f"/tenants/{tenant}/dbs/gone"):
        wait_for(f"{path} to be gone", lambda path=path: platform.api("GET", path).status_code == 404)  # type: ignore[misc]
    platform.api("PATCH", f"/tenants/{tenant}x/dbs/safe", json={"deletion_protection": False}).raise_for_status()
    orphans(platform, tmp_path, "--state", state, "--delete", "--yes", code=0)
    assert platform.api("GET", f"/tenants/{tenant}x").status_code == 404
    assert platform.api("GET", f"/tenants/{tenant}").json()["tenant_id"] == kept["tenant_id"]
    assert lost["tenant_id"] != kept["tenant_id"]


def test_a_wrong_or_lost_state_deletes_nothing_without_a_person(
    platform: Platform, tmp_path: Path, tenant: str
) -> None:
    made(platform, "/tenants", {"name": tenant}, "lost")
    state = state_of(tmp_path, "lost")
    _, said = orphans(platform, tmp_path, "--state", state, code=FOUND)
    assert "--import" in said and "--delete" in said, "whoever reads the list reads what to do with it"
    assert "Is it the right one?" in said and tenant in said
    _, said = orphans(platform, tmp_path, "--state", state, "--delete", "--yes", code=1)
    assert "--allow-empty-state" in said
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 200
    orphans(platform, tmp_path, "--state", state, "--delete", "--yes", "--allow-empty-state", code=0)
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 404


def test_what_another_stack_took_over_or_another_key_made_is_nobodys_orphan(
    platform: Platform, tmp_path: Path, tenant: str
) -> None:
    kept = made(platform, "/tenants", {"name": tenant}, "first")
    made(platform, f"/tenants/{tenant}/dbs", {"name": "imported"}, "first")
    spec = {"name": "second", "scope": "account", "permissions": ["can_create_db"]}
    key = platform.api("POST", "/keys", json=spec).json()
    made(platform, f"/tenants/{tenant}/dbs", {"name": "theirs"}, "first", key=key["token"])
    reader = {HEADER: Declarer("terraform", "terraform:other").header()}
    platform.api("GET", f"/tenants/{tenant}/dbs/imported", headers=reader).raise_for_status()
    state = state_of(tmp_path, "first", kept)
    _, said = orphans(platform, tmp_path, "--state", state, "--delete", "--yes", code=0)
    assert "terraform:other" in said and "1 object declared with other API keys" in said
    answer, _ = orphans(platform, tmp_path, "--state", state, "--any-key", "--json", code=FOUND)
    assert [each["id"] for each in answer["orphans"]] == [f"{tenant}/theirs"]
    assert [each["id"] for each in answer["known_elsewhere"]] == [f"{tenant}/imported"]
    for name in ("imported", "theirs"):
        assert platform.api("GET", f"/tenants/{tenant}/dbs/{name}").status_code == 200
    platform.api("DELETE", f"/keys/{key['key_id']}")


def test_what_cannot_be_judged_is_an_error_and_not_a_clean_state(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"version": 3, "deployment": {"resources": [')
    (tmp_path / "empty.json").write_text("")
    _, said = orphans(platform, tmp_path, "--state", "half.json", code=1)
    assert "only a part" in said
    _, said = orphans(platform, tmp_path, "--state", "empty.json", code=1)
    assert "--for" in said
    _, said = orphans(platform, tmp_path, "--state", "missing.json", code=1)
    assert "No such file" in said
    _, said = orphans(platform, tmp_path, code=2)
    assert "no project" in said
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    nowhere = {"PULUMI_BACKEND_URL": "https://127.0.0.1:9", "PATH": str(tmp_path)}
    _, said = orphans(platform, tmp_path, code=1, environment=nowhere)
    assert "`pulumi` is not on the PATH" in said
    (tmp_path / "main.tf").write_text("")
    _, said = orphans(platform, tmp_path, code=2)
    assert "both a Pulumi and a Terraform project" in said
    failing = tmp_path / "terraform"
    failing.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('Error: Backend initialization required')\n")
    failing.chmod(0o755)
    broken = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    _, said = orphans(platform, tmp_path, "--for", "terraform", code=1, environment=broken)
    assert "Backend initialization required" in said
