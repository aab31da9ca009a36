"""A state that holds `postgres://`, as the platform said before, is no difference in any bridge, and stays one until something changes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.platform import BIN, Platform
from terraform_cli import Workspace, settings_of, terraform

pytestmark = pytest.mark.slow  # again

PYTHON = """
import pulumi
from spg99.dynamic import Database, Tenant

acme = Tenant("acme", name="old_dynamic")
app = Database("app", tenant=acme.name, name="app", idle_timeout_seconds=int(pulumi.Config().get("idle") or 300))
pulumi.export("dsn", app.connection_string)
"""
YAML = """
name: shop
runtime: yaml
config:
  idle: {type: integer, default: 300}
resources:
  acme:
    type: spg99:Tenant
    properties: {name: old_native}
  app:
    type: spg99:Database
    properties: {tenant: "${acme.name}", name: app, idleTimeoutSeconds: "${idle}"}
outputs:
  dsn: ${app.connectionString}
"""


def older(text: str) -> str:
    """A state as it was before."""
    assert "postgresql://" in text
    return text.replace("postgresql://", "postgres://")


@pytest.mark.parametrize("kind", ["dynamic", "native"])
@pytest.mark.timeout(300)
def test_pulumi(platform: Platform, tmp_path: Path, kind: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n" if kind == "dynamic" else YAML)
    if kind == "dynamic":
        (tmp_path / "__main__.py").write_text(PYTHON)
    environment = {
        **os.environ,
        **platform.env,
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [BIN / "spg99", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, input="",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dsn() -> str:
        return run("stack", "output", "dsn", "--show-secrets", "--stack", "dev").strip()

    if kind == "native":
        run("plugin", "install")
    run("stack", "init", "dev")
    up = ("up", "--yes", "--skip-preview", "--stack", "dev")
    run(*up)
    assert dsn().startswith("postgresql://")
    file = tmp_path / "old.json"
    file.write_text(older(run("stack", "export", "--show-secrets", "--stack", "dev")))
    run("stack", "import", "--file", str(file), "--stack", "dev")
    for command in (("refresh", "--yes", "--skip-preview", "--stack", "dev"), up):
        run(*command, "--expect-no-changes")
        assert dsn().startswith("postgres://")
    run("config", "set", "idle", "60", "--stack", "dev")
    run(*up)
    run(*up, "--expect-no-changes")
    run("destroy", "--yes", "--skip-preview", "--stack", "dev")


@pytest.mark.parametrize("binary", [terraform], ids=["terraform"])
def test_terraform(platform: Platform, tmp_path: Path, binary: Callable[[], Path]) -> None:
    mirror = tmp_path / "mirror"
    subprocess.run([BIN / "spg99", "terraform", "install", "--dir", mirror], check=True, capture_output=True)
    settings = settings_of(platform.env["SPG99_CP_URL"], platform.env["SPG99_API_KEY"])
    work = Workspace(tmp_path / "work", binary=binary(), mirror=mirror, settings=settings)
    program = (
        'resource "spg99_tenant" "acme" {{\n  name = "old_terraform"\n}}\n'
        'resource "spg99_database" "app" {{\n  tenant = spg99_tenant.acme.name\n  name = "app"\n  idle_timeout_seconds = {idle}\n}}\n'
        'output "dsn" {{\n  value = spg99_database.app.connection_string\n  sensitive = true\n}}\n'
    )
    work.write(program.format(idle=300))
    work.apply()
    state = tmp_path / "work" / "terraform.tfstate"
    told = json.loads(older(state.read_text()))
    state.write_text(json.dumps(told | {"serial": told["serial"] + 1}))
    assert work.plan().is_empty and work.plan(refresh=False).is_empty  # outputs count as well
    work.write(program.format(idle=60))
    work.apply()  # what comes back must be what was planned
    assert work.plan().is_empty
    work.destroy()
