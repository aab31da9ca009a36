"""The native plugin under every kind of program: YAML, Python and Node.js with the generated SDKs, and a stack that moves to it from
the dynamic provider."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from conformance.stacks import Stack
from kit.platform import BIN, Platform
from node_packages import node_modules

pytestmark = pytest.mark.slow  # again

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def native(stack: Stack) -> Stack:
    """A stack whose plugins are installed, with the Python SDK on its path."""
    stack.environment["PYTHONPATH"] = str(ROOT / "sdk/python")
    stack.environment["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    folder = stack.folder / "home/plugins"
    subprocess.run([BIN / "spg99", "plugin", "install", "--dir", folder], check=True, capture_output=True, timeout=60)
    return stack


def _project(stack: Stack, runtime: str, rest: str = "") -> Path:
    """A project in another language; its folder."""
    folder = stack.folder / "project"
    (folder / "__main__.py").unlink(missing_ok=True)
    (folder / "Pulumi.yaml").write_text(f"name: conformance\nruntime: {runtime}\n{rest}")
    return folder


YAML = """
config:
  idle: {{type: integer, default: 60}}
resources:
  tenant: {{type: spg99:Tenant, properties: {{name: {tenant}}}}}
  app:
    type: spg99:Database
    properties: {{tenant: "${{tenant.name}}", name: app, idleTimeoutSeconds: "${{idle}}"}}
variables:
  parts: {{fn::spg99:parseDsn: {{dsn: "${{app.connectionString}}"}}}}
  seen: {{fn::invoke: {{function: spg99:getDatabase, arguments: {{tenant: "${{app.tenant}}", name: "${{app.name}}"}}}}}}
outputs:
  idle: ${{app.idleTimeoutSeconds}}
  seen: ${{seen.idleTimeoutSeconds}}
  host: ${{parts.host}}
"""


@pytest.mark.long  # examples/04 runs in every run
def test_a_program_in_yaml(native: Stack, platform: Platform, tenant: str) -> None:
    _project(native, "yaml", YAML.format(tenant=tenant))
    native.preview().ok()
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 404
    native.up().ok()
    made = platform.database(tenant)
    assert made["idle_timeout_seconds"] == 60
    assert made["connection_string"] not in native.files(), "a DSN is encrypted in the state"
    native.nothing_to_do()
    native.run("config", "set", "idle", "61").ok()
    native.up().ok()
    assert platform.database(tenant)["db_id"] == made["db_id"]
    told = json.loads(native.run("stack", "output", "--json").ok().text)
    assert told["idle"] == 61 and told["seen"] in (60, 61)
    native.run("refresh", "--yes", "--skip-preview", "--expect-no-changes").ok()
    native.run("destroy", "--yes", "--skip-preview").ok()
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 404


MOVED = """
from pulumi import Alias, ResourceOptions
from pulumi_spg99 import Database, Tenant
def was(kind):
    return ResourceOptions(aliases=[Alias(type_=f"pulumi-python:dynamic/spg99:{{kind}}")])
tenant = Tenant("tenant", name="{tenant}", opts=was("Tenant"))
app = Database("app", tenant=tenant.name, name="app", idle_timeout_seconds={idle}, opts=was("Database"))
pulumi.export("dsn", app.connection_string)
"""


def test_a_stack_moves_from_the_dynamic_to_the_native_provider(native: Stack, platform: Platform, tenant: str) -> None:
    native.up(f"""
        tenant = Tenant("tenant", name="{tenant}")
        app = Database("app", tenant=tenant.name, name="app", idle_timeout_seconds=60)
        pulumi.export("dsn", app.connection_string)
    """).ok()
    made = platform.database(tenant)
    native.preview(MOVED.format(tenant=tenant, idle=60), "--expect-no-changes").ok()
    native.run("up", "--yes", "--expect-no-changes").ok()
    assert native.resources()["app"]["type"] == "spg99:index:Database"
    assert platform.database(tenant)["db_id"] == made["db_id"]
    native.run("refresh", "--yes", "--skip-preview", "--expect-no-changes").ok()
    changed = native.preview(MOVED.format(tenant=tenant, idle=61), "--diff").ok()
    assert "idleTimeoutSeconds: 60 => 61" in changed.text
    native.up().ok()
    assert platform.database(tenant) | {"idle_timeout_seconds": 61} == platform.database(tenant)
    assert platform.database(tenant)["db_id"] == made["db_id"]


JAVASCRIPT = """
const pulumi = require("@pulumi/pulumi");
const spg99 = require("@spg99/pulumi");
const tenant = new spg99.Tenant("tenant", { name: "%(tenant)s" });
const app = new spg99.Database("app", { tenant: tenant.name, name: "app", idleTimeoutSeconds: 60 });
exports.name = pulumi.interpolate`${app.tenant}/${app.name}`;
exports.dsn = app.connectionString;
"""


@pytest.mark.long
def test_a_program_in_javascript(native: Stack, platform: Platform, tenant: str) -> None:
    packages = node_modules()
    folder = _project(native, "{name: nodejs, options: {typescript: false}}")
    (folder / "package.json").write_text('{"name": "conformance", "main": "index.js"}')
    (folder / "index.js").write_text(JAVASCRIPT % {"tenant": tenant})
    (folder / "node_modules/@spg99").mkdir(parents=True)
    for package in packages.iterdir():
        (folder / "node_modules" / package.name).symlink_to(package)
    shutil.copytree(ROOT / "sdk/nodejs", folder / "node_modules/@spg99/pulumi")
    native.up().ok()
    made = platform.database(tenant)
    assert made["idle_timeout_seconds"] == 60 and made["connection_string"] not in native.files()
    assert native.run("stack", "output", "name").ok().text.strip() == f"{tenant}/app"
    native.nothing_to_do()
