"""`pip install ./sdk/python`, and programs that use it through the native plugin and the embedded engine."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kit.platform import BIN
from integration.sdk.sdk_project import ROOT, Project, changes
from proof.server import API_KEY, SECRET, Server
from spg99.engine.operations import run_destroy, run_preview, run_refresh, run_up
from spg99.engine.values import UNKNOWN
from spg99.prepared import PACKAGE

PROGRAM = """
import pulumi
import pulumi_spg99 as spg99

acme = spg99.Tenant("acme", name="acme")
app = spg99.Database("app", tenant=acme.name, name="app", size=spg99.Size.L2, idle_timeout_seconds=60)
found = spg99.get_databases_output(tenant=app.tenant, name_prefix="a")
address = spg99.parse_dsn_output(dsn="postgres://u@db.example.com:5432/app")
pulumi.export("id", app.id)
pulumi.export("found", found.databases.apply(lambda items: [[item.name, item.size] for item in items]))
pulumi.export("host", address.host)
pulumi.export("connection", app.connection_string)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SDK, built and installed into an empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    command = [BIN / "uv", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*map(str, command), "--target", str(folder), str(ROOT / "sdk" / "python")], check=True, timeout=100)
    return folder


@pytest.fixture
def project(server: Server, tmp_path: Path, installed: Path) -> Project:
    (tmp_path / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    return Project(tmp_path, server, str(installed))


def write(project: Project, program: str) -> None:
    (project.folder / "__main__.py").write_text(textwrap.dedent(program))


def test_what_is_installed_is_whole(installed: Path) -> None:
    module = installed / "pulumi_spg99"
    assert sorted(path.name for path in module.iterdir() if path.is_file()) == sorted(
        path.name for path in (ROOT / "sdk/python/pulumi_spg99").iterdir() if path.is_file()
    )
    assert (installed / f"pulumi_spg99-{PACKAGE.version}.dist-info").is_dir()
    assert json.loads((module / "pulumi-plugin.json").read_text())["resource"] is True


def test_a_program_lives_its_life(project: Project, server: Server) -> None:
    write(project, PROGRAM)
    assert changes(project.run(run_preview)) == {"create": 3} and server.created == 0
    made = project.run(run_up)
    assert changes(made) == {"create": 3}
    assert made.outputs["id"] == "acme/app"
    # What a call answers beside a secret is a secret to Pulumi's SDK.
    assert made.outputs["host"]["value"] == "db.example.com" and made.outputs["found"]["value"] == [["app", "L2"]]
    assert server.objects["database", "acme/app"]["idle_timeout_seconds"] == 60
    assert changes(project.run(run_up)) == {}, "the second up has nothing to do"
    write(project, PROGRAM.replace("Size.L2", "Size.L3"))
    assert changes(project.run(run_up)) == {"update": 1}
    assert server.objects["database", "acme/app"]["size"] == "L3"
    assert changes(project.run(run_refresh)) == {}
    state = project.state_text
    assert SECRET not in state and API_KEY not in state, "secrets are encrypted in the state"
    assert project.resource("app")["type"] == "spg99:index:Database"
    assert project.run(run_destroy).ok and server.objects == {}


def test_what_is_wrong_is_told_on_the_property(project: Project) -> None:
    write(project, 'import pulumi_spg99 as spg99\nspg99.Database("app", tenant="acme", name="app", size="L9")\n')
    result = project.run(run_preview, ok=False)
    assert "size" in str(result.failures) and "L9" in str(result.failures)


def test_a_look_up_of_what_is_not_there_says_so(project: Project) -> None:
    write(project, 'import pulumi_spg99 as spg99\nspg99.get_database(tenant="acme", name="gone")\n')
    result = project.run(run_preview, ok=False)
    said = str(result.failures) + str(project.events)
    assert "acme/gone" in said


def test_a_look_up_of_what_the_same_program_makes_waits_for_it(project: Project, server: Server) -> None:
    write(
        project,
        """
        import pulumi, pulumi_spg99 as spg99
        acme = spg99.Tenant("acme", name="acme")
        app = spg99.Database("app", tenant=acme.name, name="app")
        found = spg99.get_database_output(tenant=app.tenant, name=app.name)
        pulumi.export("found", found.db_id)
        pulumi.export("name", app.name)
        pulumi.export("id", app.id)
        """,
    )
    planned = project.run(run_preview)
    assert changes(planned) == {"create": 3} and server.requests == [], "what is not there yet is not looked up"
    assert planned.outputs["found"] == planned.outputs["id"] == UNKNOWN and planned.outputs["name"] == "app"
    made = project.run(run_up).outputs
    assert (made["found"]["value"], made["id"]) == (server.objects["database", "acme/app"]["db_id"], "acme/app")
    assert changes(project.run(run_preview)) == {}


def test_an_explicit_provider_has_its_own_settings(project: Project, server: Server) -> None:
    write(
        project,
        f"""
        import pulumi, pulumi_spg99 as spg99
        own = spg99.Provider("own", url={server.url!r}, api_key={API_KEY!r})
        spg99.Tenant("acme", name="acme", opts=pulumi.ResourceOptions(provider=own))
        """,
    )
    assert project.run(run_up).ok and ("tenant", "acme") in server.objects
    assert "::own::" in project.resource("acme")["provider"]
    assert API_KEY not in project.state_text
    write(
        project,
        'import pulumi, pulumi_spg99 as spg99\npulumi.export("id", spg99.Tenant.get("read", "acme").tenant_id)\n'
        'spg99.Tenant("acme", name="acme", opts=pulumi.ResourceOptions(provider=spg99.Provider("own")))\n',
    )
    assert project.run(run_up).outputs["id"] == server.objects["tenant", "acme"]["tenant_id"]


def test_moving_from_the_dynamic_provider_is_a_change_of_one_import(project: Project, server: Server) -> None:
    program = """
        import pulumi
        import spg99.dynamic as spg99
        acme = spg99.Tenant("acme", name="acme")
        app = spg99.Database("app", tenant=acme.name, name="app", size="L2", idle_timeout_seconds=60)
        pulumi.export("connection", app.connection_string)
        """
    write(project, program)
    assert changes(project.run(run_up)) == {"create": 3}
    uid = server.objects["database", "acme/app"]["db_id"]
    assert project.resource("app")["type"].startswith("pulumi-python:dynamic")
    write(project, program.replace("import spg99.dynamic as spg99", "import pulumi_spg99 as spg99"))
    assert changes(project.run(run_preview)) == {}
    assert changes(project.run(run_up)) == {}
    assert project.resource("app")["type"] == "spg99:index:Database"
    assert changes(project.run(run_refresh)) == {} and changes(project.run(run_up)) == {}
    assert server.objects["database", "acme/app"]["db_id"] == uid and server.created == 2
