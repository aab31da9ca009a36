"""Each rule of the schema's lint, with a schema that breaks it and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from proof.gadget import PACKAGE as PROOF
from spg99.emit.pulumi_schema import schema
from spg99.emit.schema_lint import RULES, lint

Break = Callable[[dict[str, Any]], Any]
GADGET, COLOR, GET = "spg99:index:Gadget", "spg99:index:Color", "spg99:index:getGadget"
TEXT = {"type": "string", "description": "Text."}


def gadget(broken: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = broken["resources"][GADGET]
    return found


def inputs(broken: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = gadget(broken)["inputProperties"]
    return found


CASES: list[tuple[str, Break, str]] = [
    (
        "a reference to nothing",
        lambda s: inputs(s)["limits"].update({"$ref": "#/types/spg99:index:Gone"}),
        "there is no #/types/spg99:index:Gone",
    ),
    (
        "a reference inside a list",
        lambda s: inputs(s)["tags"].update(items={"$ref": "#/types/spg99:index:Gone"}),
        "there is no",
    ),
    (
        "a type for nobody",
        lambda s: s["types"].update(
            {"spg99:index:Spare": {"type": "object", "description": "Spare.", "properties": {}}}
        ),
        "nothing uses this type",
    ),
    ("required, but not there", lambda s: gadget(s)["requiredInputs"].append("gone"), "requires gone"),
    ("an output required, but not there", lambda s: gadget(s)["required"].append("gone"), "requires gone"),
    ("required twice", lambda s: gadget(s)["requiredInputs"].append("shelf"), "requires a name twice"),
    (
        "a parameter forgotten",
        lambda s: s["functions"]["spg99:index:parseDsn"].update(multiArgumentInputs=["dsn"]),
        "is refused by the generator for Go",
    ),
    ("an output id", lambda s: gadget(s)["properties"].update(id=TEXT), "is a name of Pulumi's own"),
    ("an input urn", lambda s: inputs(s).update(urn=TEXT), "is a name of Pulumi's own"),
    ("a setting version", lambda s: s["config"]["variables"].update(version=TEXT), "is a name of Pulumi's own"),
    ("an input opts", lambda s: inputs(s).update(opts=TEXT), "is a parameter of every constructor"),
    ("named as its class", lambda s: inputs(s).update(gadget=TEXT), ".NET refuses that"),
    ("a word of Python", lambda s: inputs(s).update({"lambda": TEXT}), "is a word of Python"),
    ("a word of JavaScript", lambda s: inputs(s).update({"typeof": TEXT}), "is a word of JavaScript"),
    ("a method of Java", lambda s: gadget(s)["properties"].update(getClass=TEXT), "is a word of Java"),
    ("snake case", lambda s: inputs(s).update(big_thing=TEXT), "is not camelCase"),
    ("case alone", lambda s: inputs(s).update(bignumber=TEXT), "in spelling only"),
    (
        "a type named as a resource",
        lambda s: s["types"].update({GADGET: s["types"][COLOR]}),
        "has the name of types/spg99:index:Gadget",
    ),
    (
        "a class of Go's",
        lambda s: s["types"].update({"spg99:index:GadgetState": s["types"][COLOR]}),
        "a class that generators make",
    ),
    (
        "a function with a capital",
        lambda s: s["functions"].update({"spg99:index:Other": s["functions"][GET]}),
        "is not spelled as the tokens",
    ),
    (
        "another package's token",
        lambda s: s["functions"].update({"other:index:getGadget": s["functions"][GET]}),
        "is not spelled as the tokens",
    ),
    ("an input without a word", lambda s: inputs(s)["shelf"].update(description=" "), "has no description"),
    ("a function without a word", lambda s: s["functions"][GET].pop("description"), "has no description"),
    ("a value without a word", lambda s: s["types"][COLOR]["enum"][0].pop("description"), "has no description"),
    ("no publisher", lambda s: s.pop("publisher"), "is missing"),
    ("a value twice", lambda s: s["types"][COLOR]["enum"][1].update(value="red"), "has the value red twice"),
    ("a name twice", lambda s: s["types"][COLOR]["enum"][1].update(name="RED"), "has the name red twice"),
    ("a value of another type", lambda s: s["types"][COLOR]["enum"][1].update(value=3), "is no string"),
    (
        "a value without a name",
        lambda s: s["types"][COLOR]["enum"][1].update(name="3-d"),
        "has no name that a language could write",
    ),
    (
        "an output that replaces",
        lambda s: gadget(s)["properties"]["state"].update(willReplaceOnChanges=True),
        "is no input of a resource",
    ),
    ("a secret told plainly", lambda s: gadget(s)["properties"]["pin"].pop("secret"), "not as an output"),
    (
        "a secret read plainly",
        lambda s: s["functions"][GET]["outputs"]["properties"]["token"].pop("secret"),
        "but not here",
    ),
]


@pytest.mark.parametrize(("break_", "what"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_broken_is_found(break_: Break, what: str) -> None:
    broken = copy.deepcopy(schema(PROOF))
    assert lint(broken) == []
    break_(broken)
    found = lint(broken)
    assert any(what in finding.what for finding in found), found


def test_every_rule_has_a_case() -> None:
    broken_rules = set()
    for _, break_, what in CASES:
        broken = copy.deepcopy(schema(PROOF))
        break_(broken)
        broken_rules |= {rule for rule in RULES for finding in rule(broken) if what in finding.what}
    assert broken_rules == set(RULES)
