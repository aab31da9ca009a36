"""What an earlier version has left behind still works: a recorded stack shows no changes, and the schema has lost nothing.

`python -m integration.native.test_native_recorded` (in the folder of the tests) records the present version, beside what is
there: run it once for each release.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integration.native.native_project import Project, changes
from proof import server as proof_server
from proof.server import Server
from spg99.emit import pulumi_plugin
from spg99.emit.pulumi_schema import schema
from spg99.engine.operations import run_refresh, run_up
from spg99.prepared import PACKAGE
from spg99.shapes import Package

RECORDED = Path(__file__).with_name("recorded")
VERSIONS = sorted(path for path in RECORDED.iterdir() if path.is_dir())
STACK = "state/.pulumi/stacks/proj/dev.json"
PROGRAM = """
    import spg99.dynamic

    ApiKey = resource("ApiKey", ["name", "permissions", "token"])
    Credentials = resource("TenantCredentials", ["tenant", "password"])
    acme = Tenant("acme", name="acme")
    Database("app", tenant=acme.name, name="app", size="L2", idleTimeoutSeconds=60)
    Credentials("credentials", tenant=acme.name, rotationTrigger="first", pgPassword="correct horse battery")
    ApiKey("ci", name="ci", permissions=["can_create_tenant"])

    old = spg99.dynamic.Tenant("old", name="old")
    spg99.dynamic.Database("old-app", tenant=old.name, name="app", size="L2", idle_timeout_seconds=60)
    spg99.dynamic.ApiKey("old-ci", name="old_ci", permissions=["can_create_tenant"])
"""


def prepared(folder: Path, server: Server) -> Project:
    (folder / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    pulumi_plugin.install(folder / "home/plugins")
    return Project(folder, server.url)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_a_stack_of_an_earlier_version_shows_no_changes(version: Path, tmp_path: Path) -> None:
    with proof_server.running(PACKAGE) as server:
        nouns = {noun.noun: noun for noun in PACKAGE.nouns}
        for kind, human_id, item in json.loads((version / "objects.json").read_text()):
            for output in nouns[kind].outputs:  # what is new since then, the Control Plane tells of old objects too
                item.setdefault(output.name, server._made(nouns[kind], output))
            server.objects[kind, human_id] = item
        project = prepared(tmp_path, server)
        (tmp_path / STACK).parent.mkdir(parents=True)
        shutil.copy(version / "stack.json", tmp_path / STACK)
        assert changes(project.run(run_up, PROGRAM)) == {}
        assert changes(project.run(run_refresh)) == {}
        assert {seen.method for seen in server.requests} == {"GET"}


Schema = dict[str, Any]


def surface(package: Package) -> Schema:
    """What programs hold on to: of each resource and function its inputs, which of them are required, and outputs, with types."""
    made = schema(package)

    def typed(properties: dict[str, Any]) -> dict[str, str]:
        told = ("type", "$ref", "items", "additionalProperties", "secret", "oneOf")
        return {
            name: json.dumps({key: item[key] for key in told if key in item}, sort_keys=True)
            for name, item in properties.items()
        }

    found: Schema = {}
    for token, item in made["resources"].items():
        found[token] = {
            "inputs": typed(item["inputProperties"]),
            "required": sorted(item.get("requiredInputs", [])),
            "outputs": typed(item["properties"]),
        }
    for token, item in made["functions"].items():
        taken, answered = item.get("inputs", {}), item["outputs"]
        found[token] = {
            "inputs": typed(taken.get("properties", {})),
            "required": sorted(taken.get("required", [])),
            "outputs": typed(answered.get("properties", {})),
        }
    for token, item in made.get("types", {}).items():
        values = {str(each["value"]): "" for each in item.get("enum", [])}
        found[token] = {"inputs": {}, "required": [], "outputs": values or typed(item.get("properties", {}))}
    return found


def broken(before: Schema, now: Schema) -> list[str]:
    """What programs written for `before` would miss: things may be added, none removed, renamed, retyped or newly required."""
    found = []
    for token, old in before.items():
        if token not in now:
            found.append(f"{token} is gone")
            continue
        new = now[token]
        found += [f"{token} needs {name} now" for name in sorted({*new["required"]} - {*old["required"]})]
        for part in ("inputs", "outputs"):
            for name, type_ in old[part].items():
                if name not in new[part]:
                    found.append(f"{token}: {part} have no {name} any more")
                elif new[part][name] != type_:
                    found.append(f"{token}: {name} in {part} has another type")
    return found


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_the_schema_has_lost_nothing(version: Path) -> None:
    assert broken(json.loads((version / "surface.json").read_text()), surface(PACKAGE)) == []


DATABASE = "spg99:index:Database"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop(DATABASE), f"{DATABASE} is gone"),
        (lambda s: s.pop("spg99:index:getDatabases"), "spg99:index:getDatabases is gone"),
        (lambda s: s[DATABASE]["inputs"].pop("size"), f"{DATABASE}: inputs have no size any more"),
        (lambda s: s[DATABASE]["outputs"].pop("dbId"), f"{DATABASE}: outputs have no dbId any more"),
        (lambda s: s[DATABASE]["required"].append("size"), f"{DATABASE} needs size now"),
        (lambda s: s[DATABASE]["inputs"].update(name="{}"), f"{DATABASE}: name in inputs has another type"),
        (lambda s: s["spg99:index:Size"]["outputs"].pop("L1"), "spg99:index:Size: outputs have no L1 any more"),
    ],
)
def test_what_would_break_programs_is_noticed(change: Callable[[Schema], Any], said: str) -> None:
    now = surface(PACKAGE)
    before = copy.deepcopy(now)
    now[DATABASE]["inputs"]["added"] = "{}"
    assert broken(before, now) == [], "what is added breaks nothing"
    change(now)
    assert broken(before, now) == [said]


def record() -> None:
    """Makes the stack with the present version and keeps its state, what the Control Plane holds, and the schema's surface."""
    folder = RECORDED / PACKAGE.version
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, proof_server.running(PACKAGE) as server:
        prepared(Path(name), server).run(run_up, PROGRAM)
        shutil.copy(Path(name) / STACK, folder / "stack.json")
        objects = [[kind, human_id, item] for (kind, human_id), item in sorted(server.objects.items())]
        (folder / "objects.json").write_text(json.dumps(objects, indent=1) + "\n")
    (folder / "surface.json").write_text(json.dumps(surface(PACKAGE), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    record()
