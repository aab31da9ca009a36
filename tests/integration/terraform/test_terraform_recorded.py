"""What users of an earlier version rely on stays: its states plan nothing, and its schema has lost nothing.

`recorded/<version>/` holds a configuration, its state, what the Control Plane had of it, and the schema: names, types, modes.
`python -m integration.terraform.test_terraform_recorded` (in tests/) records the present version: run it at each release and when
an attribute is added. None may go or change without another `schema_version` of its noun and a way to take old states over.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from proof import server as proof_server
from proof.server import API_KEY
from spg99.bridges.terraform.schema import Attribute, Tables, tables
from spg99.prepared import PACKAGE
from terraform_cli import Workspace, attached, settings_of

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = sorted(path for path in RECORDED.glob("*") if path.is_dir())
CONFIGURATION = """
resource "spg99_tenant" "acme" {
  name = "acme"
}

resource "spg99_database" "app" {
  tenant               = spg99_tenant.acme.name
  name                 = "app"
  size                 = "L2"
  idle_timeout_seconds = 60
  allow_replacement    = true
  timeouts             = { create = "5m" }
}

resource "spg99_database" "plain" {
  tenant = spg99_tenant.acme.name
  name   = "plain"
}

resource "spg99_tenant_credentials" "acme" {
  tenant                 = spg99_tenant.acme.name
  rotation_trigger       = "first"
  pg_password_wo         = "correct horse battery"
  pg_password_wo_version = 1
}

resource "spg99_api_key" "ci" {
  name        = "ci"
  permissions = ["can_create_tenant"]
  expires_at  = "2031-01-01T01:00:00+01:00"
}
"""
Recorded = dict[str, Any]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_a_state_of_an_earlier_version_plans_nothing(version: Path, tmp_path: Path) -> None:
    with proof_server.running(PACKAGE) as server, attached(PACKAGE) as environment:
        nouns = {noun.noun: noun for noun in PACKAGE.nouns}
        for kind, human_id, item in json.loads((version / "objects.json").read_text()):
            for output in nouns[kind].outputs:  # what is new since then, the Control Plane tells of old objects too
                item.setdefault(output.name, server._made(nouns[kind], output))
            server.objects[kind, human_id] = item
        work = Workspace(tmp_path, environment=environment, settings=settings_of(server.url, API_KEY))
        work.write((version / "main.tf").read_text()).init()
        state = (version / "state.json").read_text()
        (tmp_path / "terraform.tfstate").write_text(state)
        plan = work.plan()
        assert {address: each.actions for address, each in plan.changes.items()} == {
            f"{each['type']}.{each['name']}": ["no-op"] for each in json.loads(state)["resources"]
        }
        assert len(plan.changes) == 5
        assert work.plan(refresh=False).is_empty
        assert {seen.method for seen in server.requests} == {"GET"}


def schema_now(found: Tables) -> Recorded:
    """All that a configuration or a state can name, flat, one line each."""
    kinds = {
        "resource": found.resources,
        "data": found.data,
        "ephemeral": found.ephemerals,
        "identity": found.identities,
        "list": found.lists,
        "provider": {PACKAGE.name: found.provider},
    }
    now: Recorded = {
        f"{kind} {name}": {"version": block.version, "attributes": dict(_lines(block.attributes, ""))}
        for kind, blocks in kinds.items()
        for name, block in blocks.items()
    }
    for name, function in found.functions.items():
        parameters = {
            f"{place} {each.name}": f"{json.dumps(type_)}{' nullable' if each.nullable else ''}"
            for place, (each, type_) in enumerate(
                zip(function.function.parameters, function.parameters, strict=True), 1
            )
        }
        now[f"function {name}"] = {
            "version": 0,
            "attributes": parameters | {"returns": json.dumps(function.returns, sort_keys=True)},
        }
    return now


def _lines(attributes: tuple[Attribute, ...], at: str) -> list[tuple[str, str]]:
    lines = []
    for each in attributes:
        modes = [
            mode for mode in ("required", "optional", "computed", "sensitive", "write_only") if getattr(each, mode)
        ]
        type_ = each.nested.nesting if each.nested is not None else json.dumps(each.type)
        lines.append((f"{at}{each.name}", " ".join([type_, *modes])))
        if each.nested is not None:
            lines += _lines(each.nested.attributes, f"{at}{each.name}.")
    return lines


def broken(recorded: Recorded, now: Recorded) -> list[str]:
    """What a user of the recorded schema would stumble over; empty when nothing."""
    found = []
    for name, was in recorded.items():
        if name not in now:
            found.append(f"{name} is gone")
            continue
        if now[name]["version"] < was["version"]:
            found.append(f"{name} has an older version")
        if now[name]["version"] > was["version"]:
            continue  # then states are taken over; what configurations lose stands in CHANGELOG
        attributes = now[name]["attributes"]
        for attribute, mode in was["attributes"].items():
            if attribute not in attributes:
                found.append(f"{name}: {attribute} is gone")
            elif not _still_fits(mode, attributes[attribute]):
                found.append(f"{name}: {attribute} was {mode}, is {attributes[attribute]}")
        found += [
            f"{name}: {attribute} is new and required"
            for attribute, mode in attributes.items()
            if attribute not in was["attributes"]
            and "required" in mode.split()
            and attribute.rpartition(".")[0] in ("", *was["attributes"])
        ]
    return found


def _still_fits(was: str, now: str) -> bool:
    """The same, or more lenient: what was required may become optional, and anything may become sensitive."""
    allowed = {was, was.replace(" required", " optional"), was.replace(" required", " optional computed")}
    return now in allowed | {f"{each} sensitive" for each in allowed}


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_nothing_that_was_released_is_gone_or_changed(version: Path) -> None:
    recorded = json.loads((version / "schema.json").read_text())
    assert len(recorded) > 20
    assert broken(recorded, schema_now(tables(PACKAGE))) == []


def test_what_is_new_is_recorded() -> None:
    recorded = json.loads((RECORDED / PACKAGE.version / "schema.json").read_text())
    now = schema_now(tables(PACKAGE))
    assert recorded == now, "record it: python -m integration.terraform.test_terraform_recorded (in tests/)"


DATABASE = "resource spg99_database"


@pytest.mark.parametrize(
    ("attribute", "mode", "said"),
    [
        ("size", None, "size is gone"),
        ("size", '"number" optional computed', "size was"),
        ("size", '"string" required', "size was"),
        ("size", '"string" computed', "size was"),
        ("connection_string", '"string" computed', "connection_string was"),
        ("timeouts.create", None, "timeouts.create is gone"),
        ("new", '"string" required', "new is new and required"),
        ("new", '"string" optional', ""),
        ("name", '"string" optional computed', ""),
        ("size", '"string" optional computed sensitive', ""),
    ],
)
def test_the_comparison_finds_what_breaks_and_only_that(attribute: str, mode: str | None, said: str) -> None:
    was = schema_now(tables(PACKAGE))
    now = copy.deepcopy(was)
    if mode is None:
        del now[DATABASE]["attributes"][attribute]
    else:
        now[DATABASE]["attributes"][attribute] = mode
    assert [each for each in broken(was, now) if said and said in each] == ([] if not said else broken(was, now))
    assert bool(broken(was, now)) is bool(said)
    now[DATABASE]["version"] += 1
    assert broken(was, now) == [], "another version says that old states are taken over"
    assert broken(now, was) != []


def record(version: Path) -> None:
    """Writes what a user of the present version would have."""
    version.mkdir(parents=True, exist_ok=True)
    (version / "schema.json").write_text(json.dumps(schema_now(tables(PACKAGE)), indent=1) + "\n")
    (version / "main.tf").write_text(CONFIGURATION)
    with (
        tempfile.TemporaryDirectory() as folder,
        proof_server.running(PACKAGE) as server,
        attached(PACKAGE) as environment,
    ):
        work = Workspace(Path(folder), environment=environment, settings=settings_of(server.url, API_KEY))
        work.write(CONFIGURATION).apply()
        (version / "state.json").write_text(work.raw_state())
        objects = [[kind, human_id, item] for (kind, human_id), item in server.objects.items()]
        (version / "objects.json").write_text(json.dumps(objects, indent=1) + "\n")


if __name__ == "__main__":
    record(RECORDED / PACKAGE.version)
    print(f"recorded: {PACKAGE.version}")
