"""Check and Diff as decisions: names that are made, paths of changes, what is ignored, what a preview knows. No process."""

from __future__ import annotations

from typing import Any

import pytest

from proof.gadget import GADGET
from spg99.bridges.pulumi.native import messages
from spg99.bridges.pulumi.native.autonaming import fitted, name_field, name_for
from spg99.bridges.pulumi.native.checks import Naming, check, diff
from spg99.bridges.pulumi.native.ignoring import leave_as_is, steps_of
from spg99.bridges.pulumi.native.messages import message
from spg99.bridges.pulumi.native.process import engine_address
from spg99.bridges.pulumi.native.properties import changed_outputs, planned_outputs
from spg99.bridges.pulumi.native.service import type_in
from spg99.bridges.pulumi.native.wire import Secret
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.errors import BadRequest
from spg99.prepared import PACKAGE
from spg99.shapes import Noun

TENANT = PACKAGE.noun_named("tenant")
DATABASE = PACKAGE.noun_named("database")
KEY = PACKAGE.noun_named("api_key")
assert TENANT is not None and DATABASE is not None and KEY is not None
SEED = b"0123456789abcdef0123456789abcdef"


def options(mode: int, name: str = "") -> Any:
    return message("AutonamingOptions")(mode=mode, proposed_name=name)


def named(noun: Noun, declared: str, mode: int | None = None, name: str = "", seed: bytes = SEED) -> str:
    given = None if mode is None else options(mode, name)
    return name_for(noun, declared=declared, urn=f"urn::{declared}", seed=seed, options=given)


def test_only_a_name_in_the_id_is_made() -> None:
    assert name_field(TENANT) and name_field(DATABASE) and name_field(GADGET)
    assert name_field(KEY) is None, "the name of a key is a remark"
    failures = check(KEY, {}, {}, Naming("ci", "u", SEED)).failures
    assert ("name", "is required") in failures


def test_a_name_is_made_of_the_declarations_and_fits_the_pattern() -> None:
    first = named(DATABASE, "my-app")
    assert first.startswith("my_app_") and len(first) == len("my_app_") + 7
    assert first == named(DATABASE, "my-app") != named(DATABASE, "my-app", seed=b"other")
    assert named(DATABASE, "my-app", seed=b"") == named(DATABASE, "my-app", seed=b"")
    assert named(GADGET, "Big Lamp").startswith("big-lamp-")
    assert len(named(DATABASE, "x" * 200)) == 63
    assert named(DATABASE, "x" * 200) != named(DATABASE, "x" * 200, seed=b"other")
    assert named(TENANT, "1st")[0] in "n_"
    assert named(DATABASE, "данные")


def test_pulumis_autonaming_is_heeded() -> None:
    assert named(DATABASE, "app", messages.PROPOSE, "app-123") == "app_123"
    assert named(DATABASE, "app", messages.ENFORCE, "app_123") == "app_123"
    with pytest.raises(BadRequest, match="does not fit: must be a letter or _"):
        named(DATABASE, "app", messages.ENFORCE, "app-123")
    with pytest.raises(BadRequest, match="autonaming is disabled"):
        named(DATABASE, "app", messages.DISABLE)
    checked = check(DATABASE, {"tenant": "a"}, {}, Naming("app", "u", SEED, options(messages.DISABLE)))
    assert checked.failures == [("name", "is required (autonaming is disabled)")]


def test_a_name_that_was_made_stays() -> None:
    first = check(DATABASE, {"tenant": "a"}, {}, Naming("app", "u", SEED)).inputs
    again = check(DATABASE, {"tenant": "a", "size": "L2"}, first, Naming("app", "u", b"another seed"))
    assert again.inputs["name"] == first["name"] and again.inputs["__defaults"] == ["name"]
    chosen = check(DATABASE, {"tenant": "a", "name": "b"}, {}, Naming("app", "u", SEED)).inputs
    assert "__defaults" not in chosen
    left_out = check(DATABASE, {"tenant": "a"}, chosen, Naming("app", "u", SEED)).inputs
    assert left_out["name"] == "b" and "__defaults" not in left_out


def test_fitted_gives_up_where_nothing_fits() -> None:
    field = name_field(DATABASE)
    assert field is not None
    assert fitted(field.type._replace(pattern="^never$"), "app") is None


def test_each_place_that_differs_is_told() -> None:
    old = {
        "shelf": "top", "name": "lamp", "amount": 3, "labels": {"a": "1", "b": "2"}, "tags": ["x", "y"],
        "limits": {"maxItems": 2, "color": "red"}, "byZone": {"eu.west": {"maxItems": 1, "color": "red"}}, "note": "n",
    }  # fmt: skip
    new = {
        "shelf": "top", "name": "lamp", "amount": 4, "labels": {"a": "1", "c": "3"}, "tags": ["x", "z", "w"],
        "limits": {"maxItems": 2}, "byZone": {"eu.west": {"maxItems": 9}}, "bigNumber": 5, "pin": Secret("1234"),
    }  # fmt: skip
    found = diff(GADGET, olds={**old, "gadgetId": "g1"}, old_inputs=old, news=new, ignored=[])
    assert {path: kind for path, (kind, _) in found.details.items()} == {
        "amount": messages.UPDATE,
        "labels.b": messages.DELETE,
        "labels.c": messages.ADD,
        "tags[1]": messages.UPDATE,
        "tags[2]": messages.ADD,
        'byZone["eu.west"].maxItems': messages.UPDATE,
        "bigNumber": messages.ADD,
        "note": messages.DELETE,
        "pin": messages.ADD,
    }
    assert found.fields == ["amount", "tags", "labels", "byZone", "note", "bigNumber", "pin"] and not found.replaces


def test_what_the_server_normalised_is_no_change() -> None:
    inputs = {
        "shelf": "top",
        "name": "lamp",
        "until": "2030-01-01T01:00:00+01:00",
        "note": "n",
        "limits": {"maxItems": 2},
    }
    outputs = {
        **inputs, "until": "2030-01-01T00:00:00Z", "limits": {"maxItems": 2, "color": "red"}, "amount": 3,
        "material": "steel", "uses": 9,
    }  # fmt: skip
    assert diff(GADGET, olds=outputs, old_inputs=inputs, news=inputs, ignored=[]).fields == []


def test_drift_is_told_by_the_output_and_an_edit_by_the_inputs() -> None:
    inputs = {"shelf": "top", "name": "lamp", "amount": 3}
    drifted = diff(GADGET, olds={**inputs, "amount": 9}, old_inputs=inputs, news=inputs, ignored=[])
    edited = diff(GADGET, olds=inputs, old_inputs=inputs, news={**inputs, "amount": 4}, ignored=[])
    assert (drifted.details, edited.details) == (
        {"amount": (messages.UPDATE, False)},
        {"amount": (messages.UPDATE, True)},
    )


def test_an_unknown_value_is_a_change_and_no_replacement_yet() -> None:
    inputs = {"shelf": "top", "name": "lamp", "material": "steel", "tags": ["a"]}
    wanted = {**inputs, "material": UNKNOWN, "tags": ["a", UNKNOWN]}
    found = diff(GADGET, olds=inputs, old_inputs=inputs, news=wanted, ignored=[])
    assert found.fields == ["tags", "material"] and not found.replaces
    assert found.details.keys() == {"tags[1]", "material"}


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("tags", ("tags",)),
        ("tags.color", ("tags", "color")),
        ("steps[0].maxItems", ("steps", 0, "maxItems")),
        ('labels["a.b"].c', ("labels", "a.b", "c")),
        ('labels["say \\"x\\""]', ("labels", 'say "x"')),
        ("steps[*].color", ("steps", "*", "color")),
    ],
)
def test_paths_are_read_as_pulumi_writes_them(path: str, steps: tuple[str | int, ...]) -> None:
    assert steps_of(path) == steps


def test_what_is_ignored_differs_nowhere() -> None:
    actual = {"amount": 9, "labels": {"a": "1", "z": "0"}, "steps": [{"maxItems": 1, "color": "red"}, {"maxItems": 2}]}
    wanted = {"amount": 1, "labels": {"a": "2", "b": "3"}, "steps": [{"maxItems": 5, "color": "blue"}, {"maxItems": 6}]}
    new, old = leave_as_is(
        ["amount", "labels.a", "labels.z", "steps[*].maxItems", "none.such"],
        wanted=wanted,
        wrote={"amount": 2},
        actual=actual,
    )
    assert new == {
        "labels": {"a": "1", "b": "3", "z": "0"},
        "steps": [{"maxItems": 1, "color": "blue"}, {"maxItems": 2}],
    }
    assert old == {} and wanted["amount"] == 1 and wanted["labels"] == {"a": "2", "b": "3"}, (
        "nothing is changed in place"
    )


def test_a_preview_knows_what_can_be_known_and_guesses_nothing() -> None:
    planned = planned_outputs(GADGET, {"shelf": "top", "name": "lamp", "amount": UNKNOWN, "pass_phrase": "x" * 9})
    assert (planned["name"], planned["amount"], planned["note"], planned["token"]) == (
        "lamp",
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
    )
    assert "pass_phrase" not in planned
    old = {"name": "lamp", "token": "t", "uses": 4, "pass_phrase_version": 1, "created_at": "c", "amount": 1}
    changed = changed_outputs(GADGET, old, {"amount": 2})
    assert (changed["amount"], changed["token"], changed["pass_phrase_version"], changed["uses"]) == (
        2,
        "t",
        1,
        UNKNOWN,
    )
    assert changed_outputs(GADGET, old, {"pass_phrase": "x"})["pass_phrase_version"] is UNKNOWN


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        ([], ""),
        (["127.0.0.1:5"], "127.0.0.1:5"),
        (["--logtostderr", "-v=9", "--tracing", "http://t:1", "127.0.0.1:5"], "127.0.0.1:5"),
        (["--tracing", "http://t:1"], ""),
        (["-v=3"], ""),
    ],
)
def test_the_engines_address_is_the_last_argument_that_is_no_flags(arguments: list[str], address: str) -> None:
    assert engine_address(arguments) == address


@pytest.mark.parametrize(
    ("urn", "token"),
    [
        ("urn:pulumi:s::p::spg99:index:Tenant::a", "spg99:index:Tenant"),
        ("urn:pulumi:s::p::my:index:Rack$spg99:index:Tenant::a::b", "spg99:index:Tenant"),
        ("nonsense", ""),
    ],
)
def test_the_type_in_a_urn(urn: str, token: str) -> None:
    assert type_in(urn) == token
