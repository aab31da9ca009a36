"""Names and values on Pulumi's wire, the constant reference, and the import file."""

from __future__ import annotations

import base64
import json
import pickle
import pickletools
from pathlib import Path

from pulumi.output import UNKNOWN as PULUMI_UNKNOWN

from spg99.bridges.pulumi.dynamic import wire
from spg99.bridges.pulumi.dynamic.import_file import write_import_file
from spg99.bridges.pulumi.dynamic.provider import Provider
from spg99.bridges.pulumi.dynamic.reference import provider_reference, type_token
from spg99.bridges.pulumi.shared.naming import from_wire, to_wire, wire_path
from spg99.bridges.shared.objects import idempotency_key
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.prepared import PACKAGE
from spg99.resources import Tenant
from unit.bridges.shared.everything import THING

TENANT, DATABASE, API_KEY = PACKAGE.nouns[:3]
VALUES = {
    "name": "a",
    "is_on": True,
    "labels": {"is_on": "x", "max_items": "y"},
    "limits": {"max_items": 1},
    "steps": [{"max_items": 2}],
    "by_zone": {"max_items": {"max_items": 3}},
}
ON_THE_WIRE = {
    "name": "a",
    "isOn": True,
    "labels": {"is_on": "x", "max_items": "y"},
    "limits": {"maxItems": 1},
    "steps": [{"maxItems": 2}],
    "byZone": {"max_items": {"maxItems": 3}},
}


def test_our_names_change_and_a_users_map_keys_do_not() -> None:
    assert to_wire(THING.inputs, VALUES) == ON_THE_WIRE
    assert from_wire(THING.inputs, ON_THE_WIRE) == VALUES


def test_paths_are_written_as_the_user_wrote_them() -> None:
    assert wire_path(("is_on",), THING.inputs) == "isOn"
    assert wire_path(("labels", "is_on"), THING.inputs) == "labels.is_on"
    assert wire_path(("steps", 0, "max_items"), THING.inputs) == "steps[0].maxItems"
    assert wire_path(("isOnn",), THING.inputs) == "isOnn"
    assert wire_path((), THING.inputs) == ""


def test_all_seven_unknowns_are_unknown_and_go_back_as_pulumis() -> None:
    for text in wire.UNKNOWN_TEXTS:
        assert wire.inputs_from(THING, {"name": text})["name"] is UNKNOWN
    assert wire.inputs_from(THING, {"tags": ["a", PULUMI_UNKNOWN]})["tags"] == ["a", UNKNOWN]
    assert type(wire.inputs_to(THING, {"name": UNKNOWN})["name"]) is type(PULUMI_UNKNOWN)
    assert len(wire.UNKNOWN_TEXTS) == 7


def test_pulumis_own_properties_and_ours_are_no_fields() -> None:
    found = wire.inputs_from(THING, {"name": "a", "__provider": "x", "allowReplacement": True, "isOnn": 1})
    assert found == {"name": "a", "allow_replacement": True, "isOnn": 1}
    assert wire.inputs_to(THING, found) == {"name": "a", "allowReplacement": True, "isOnn": 1}


def test_secrets_are_wrapped_outwards_and_bare_inwards() -> None:
    out = wire.outputs_to(THING, {"name": "a", "pass_phrase": "hunter2"})
    assert out["passPhrase"]["value"] == "hunter2" and out["name"] == "a"
    assert wire.outputs_from(THING, out)["pass_phrase"] == "hunter2"


def test_the_reference_in_every_state_never_changes() -> None:
    expected = "gASMFXNwZzk5LmJyaWRnZXMuZHluYW1pY4wIUHJvdmlkZXKTjAhkYXRhYmFzZYVSLg=="
    assert provider_reference("database") == expected, "states out there hold this text: it must stay readable for ever"
    raw = base64.b64decode(expected)
    strings = [argument for _, argument, _ in pickletools.genops(raw) if isinstance(argument, str)]
    assert strings == ["spg99.bridges.dynamic", "Provider", "database"], "nothing but names in it"
    assert type_token("Database") == "pulumi-python:dynamic/spg99:Database"


def test_the_reference_resolves_for_every_noun() -> None:
    for noun in PACKAGE.nouns:
        provider = pickle.loads(base64.b64decode(provider_reference(noun.noun)))
        assert isinstance(provider, Provider) and provider.noun is noun


def test_a_create_has_one_key_per_declaration_name_and_life() -> None:
    body = {"name": "a", "project": "default"}
    key = idempotency_key("urn:a", TENANT, body, 0)
    assert key == idempotency_key("urn:a", TENANT, {"project": "default", "name": "a"}, 0)
    others = {
        idempotency_key("urn:b", TENANT, body, 0),
        idempotency_key("urn:a", DATABASE, {"tenant": "a", "name": "a"}, 0),
        idempotency_key("urn:a", TENANT, body | {"name": "x"}, 0),
        idempotency_key("urn:a", TENANT, body, 1),
    }
    assert key not in others and len(others) == 4 and len(key) <= 255
    assert key == idempotency_key("urn:a", TENANT, body | {"project": "x"}, 0), "an edit still finds what it has made"
    assert idempotency_key("u", API_KEY, {"name": "a"}, 0) != idempotency_key("u", API_KEY, {"name": "b"}, 0)
    assert idempotency_key(None, TENANT, body, 0) != idempotency_key(None, TENANT, body, 0)


def test_an_import_file_has_everything_but_secrets(tmp_path: Path) -> None:
    tenant = Tenant.model_validate(
        {
            "name": "acme",
            "tenant_id": "ten_1",
            "pg_user": "tnt_1",
            "pg_password": "hunter2",
            "dsn_template": "postgres://tnt_1:hunter2@h/<db-name>",
            "state": "active",
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
        }
    )
    content = write_import_file(tmp_path / "import.json", [tenant], names={"acme": "main"})
    assert json.loads((tmp_path / "import.json").read_text()) == content
    (entry,) = content["resources"]
    assert (entry["type"], entry["name"], entry["id"]) == (type_token("Tenant"), "main", "acme")
    assert entry["inputs"] == {"name": "acme", "project": "default", "__provider": provider_reference("tenant")}
    assert entry["outputs"]["tenantId"] == "ten_1" and "hunter2" not in str(content)
