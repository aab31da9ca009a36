"""Forced replacements with Pulumi's real CLI: whatever it is told to replace, the database that the state holds stays.

Here: the orders that users give. Not here: every sequence of calls (test_forced_replacements.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.bridges.plane_stub import API_KEY, Plane
from integration.bridges.test_forced_replacements import PLUGIN, uid
from kit.pulumi_cli import pulumi, pulumi_environment

DYNAMIC = """
import os
import pulumi
from spg99.dynamic import Database, Tenant
acme = Tenant("acme", name="acme")
app = Database("app", tenant=acme.name, name="app", opts=pulumi.ResourceOptions(replacement_trigger=os.environ["TRIGGER"]))
"""
NATIVE = """
resources:
  acme:
    type: spg99:Tenant
    properties: {name: acme}
  app:
    type: spg99:Database
    properties: {tenant: "${acme.name}", name: app}
"""
OPTION = {"dynamic": "delete_before_replace", "native": "deleteBeforeReplace"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["dynamic", "native"])
def test_an_order_to_replace_keeps_the_database(
    kind: str, plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIGGER", "one")
    run = project(kind, plane, tmp_path)
    token = "pulumi-python:dynamic/spg99:Database" if kind == "dynamic" else "spg99:index:Database"
    urn = f"urn:pulumi:dev::proj::{token}::app"
    run(0, "stack", "init", "dev")
    run(0, "up", "--yes", "--skip-preview")
    was = uid(plane)
    assert was is not None

    def refused(*arguments: str) -> None:
        said = run(None, "up", "--yes", "--skip-preview", *arguments)
        assert said.returncode != 0 and OPTION[kind] in said.stdout + said.stderr and uid(plane) == was
        assert "Traceback" not in said.stdout.partition("error:")[0]

    refused("--target-replace", urn)
    refused("--replace", urn)
    refused("--replace", "**")  # the provider is replaced as well: another process deletes
    run(0, "state", "taint", urn, "--yes")
    refused()
    run(0, "state", "untaint", urn, "--yes")
    if kind == "dynamic":
        monkeypatch.setenv("TRIGGER", "another")
        refused()
        monkeypatch.setenv("TRIGGER", "one")
    run(0, "up", "--yes", "--skip-preview", "--expect-no-changes")
    assert uid(plane) == was
    run(0, "destroy", "--yes", "--skip-preview")
    assert uid(plane) is None


def project(kind: str, plane: Plane, folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    command = pulumi()
    (folder / "state").mkdir()
    plugin = folder / "bin" / "pulumi-resource-spg99"
    plugin.parent.mkdir()
    plugin.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{PLUGIN[2]}" "$@"\n')
    plugin.chmod(0o755)
    runtime = "python" if kind == "dynamic" else "yaml"
    (folder / "Pulumi.yaml").write_text(f"name: proj\nruntime: {runtime}\n" + (NATIVE if kind == "native" else ""))
    if kind == "dynamic":
        (folder / "__main__.py").write_text(DYNAMIC)

    def run(code: int | None, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "PULUMI_", "CP_"))}
        environment = kept | pulumi_environment(folder, passphrase="x")
        environment |= {"SPG99_CP_URL": plane.url, "SPG99_API_KEY": API_KEY}
        environment["PATH"] = (
            f"{plugin.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        )
        done = subprocess.run(
            [str(command), *arguments, "--non-interactive"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run
