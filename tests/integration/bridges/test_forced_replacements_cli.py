"""Forced replacements with Pulumi's real CLI: whatever it is told to replace, the database that the state holds stays.

Here: the orders that users give. Not here: every sequence of calls (test_forced_replacements.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.bridges.engine_calls import PLUGIN
from integration.bridges.plane_stub import API_KEY, Plane
from integration.bridges.test_forced_replacements import uid
from kit.pulumi_cli import pulumi, pulumi_environment

pytestmark = pytest.mark.slow  # again

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


@dataclass(frozen=True)
class Way:
    """A program after an edit, and the order that makes the engine replace the database in it."""

    name: str = "app"
    """In the program; another than `app` has that as its alias."""
    first: bool = False
    """delete_before_replace"""
    explicit: bool = False
    """Its provider is one of the program's."""
    host: str = "127.0.0.1"
    """Where that provider finds the Control Plane."""
    order: tuple[str, ...] = ("--replace", "{urn}")


WAYS = {
    "renamed with an alias": Way(name="renamed", order=("--replace", "**")),
    "renamed with an alias, the old one first": Way(name="renamed", first=True, order=("--replace", "**")),
    "the old one first": Way(first=True),
    "its provider too": Way(explicit=True, order=("--replace", "**")),
    "its provider too, the old one first": Way(explicit=True, first=True, order=("--replace", "**")),
    "its provider has changed, and too, the old one first": Way(
        explicit=True, first=True, host="localhost", order=("--replace", "**")
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("kind", ["dynamic", "native"])
def test_an_edit_and_an_order_keep_the_database(kind: str, way: Way, plane: Plane, tmp_path: Path) -> None:
    run = project(kind, plane, tmp_path)
    write(kind, tmp_path, plane, Way(explicit=way.explicit))
    run(0, "stack", "init", "dev")
    run(0, "up", "--yes", "--skip-preview")
    was = uid(plane)
    write(kind, tmp_path, plane, way)
    order = [word.format(urn=urn_of(kind, way.name)) for word in way.order]
    said = run(None, "up", "--yes", "--skip-preview", *order)
    text = said.stdout + said.stderr
    assert said.returncode != 0 and OPTION[kind] in text and uid(plane) == was is not None, text[-3000:]
    run(0, "up", "--yes", "--skip-preview")
    run(0, "preview", "--expect-no-changes")
    assert uid(plane) == was


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", [False, True], ids=["", "the old one first"])
def test_the_automation_api_keeps_the_database(
    first: bool, plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulumi import automation

    run = project("dynamic", plane, tmp_path)
    write("dynamic", tmp_path, plane, Way(first=first))
    run(0, "stack", "init", "dev")
    for name, value in environment_of(plane, tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{pulumi().parent}{os.pathsep}{os.environ['PATH']}")
    stack = automation.select_stack("dev", work_dir=str(tmp_path))
    stack.up()
    was = uid(plane)
    with pytest.raises(automation.CommandError) as error:
        stack.up(replace=[urn_of("dynamic", "app")])
    assert "delete_before_replace" in str(error.value) and uid(plane) == was is not None
    stack.up(expect_no_changes=True)
    stack.destroy()
    assert uid(plane) is None


def urn_of(kind: str, name: str) -> str:
    token = "pulumi-python:dynamic/spg99:Database" if kind == "dynamic" else "spg99:index:Database"
    return f"urn:pulumi:dev::proj::{token}::{name}"


def write(kind: str, folder: Path, plane: Plane, way: Way) -> None:
    """The program, in the language of the kind."""
    own_settings = {"url": plane.url.replace("127.0.0.1", way.host), "apiKey": API_KEY}
    if kind == "native":
        options: dict[str, Any] = {"deleteBeforeReplace": way.first}
        options |= {"provider": "${own}"} if way.explicit else {}
        options |= {"aliases": [urn_of(kind, "app")]} if way.name != "app" else {}
        own = {"type": "pulumi:providers:spg99", "properties": own_settings}
        database = {
            "type": "spg99:Database",
            "properties": {"tenant": "${acme.name}", "name": "app"},
            "options": options,
        }
        acme = {"type": "spg99:Tenant", "properties": {"name": "acme"}}
        resources = {"acme": acme, way.name: database} | ({"own": own} if way.explicit else {})
        (folder / "Pulumi.yaml").write_text(json.dumps({"name": "proj", "runtime": "yaml", "resources": resources}))
        return
    (folder / "__main__.py").write_text(f"""
import pulumi
from spg99.dynamic import Database, Tenant
own = pulumi.ProviderResource("pulumi-python", "own", {own_settings!r}) if {way.explicit} else None
aliases = [pulumi.Alias(name="app")] if {way.name!r} != "app" else []
acme = Tenant("acme", name="acme")
options = pulumi.ResourceOptions(delete_before_replace={way.first}, aliases=aliases, provider=own)
Database({way.name!r}, tenant=acme.name, name="app", opts=options)
""")


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
        done = subprocess.run(
            [str(command), *arguments, "--non-interactive"],
            cwd=folder,
            env=kept | environment_of(plane, folder),
            capture_output=True,
            text=True,
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run


def environment_of(plane: Plane, folder: Path) -> dict[str, str]:
    path = f"{folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    address = {"SPG99_CP_URL": plane.url, "SPG99_API_KEY": API_KEY}
    return pulumi_environment(folder, passphrase="x") | address | {"PATH": path}
