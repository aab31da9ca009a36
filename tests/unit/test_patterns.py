"""Patterns as sentences: every field that has one, the same words from the API and from the bridges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from spg99 import patterns, prepared
from spg99.bridges.shared.values import _bad_text
from spg99.control_plane.serving.bodies import spec_of
from spg99.errors import BadRequest
from spg99.resources import ApiKey, Database, Resource, Tenant, TenantCredentials
from spg99.shapes import Type

BAD = {
    patterns.NAME_PATTERN: "my-db",
    patterns.PROJECT_PATTERN: "-x",
    patterns.PASSWORD_PATTERN: "twelve chars\tand a tab",
    patterns.LSN_PATTERN: "12",
}


def fields() -> list[tuple[type[Resource], str, str]]:
    found = []
    for noun in (ApiKey, Database, Tenant, TenantCredentials):
        for name, field in noun.inputs().items():
            found += [(noun, name, m.pattern) for m in field.metadata if getattr(m, "pattern", None)]
    return found


@pytest.mark.parametrize(("noun", "name", "pattern"), fields())
def test_every_field_with_a_pattern_says_it_in_words_everywhere(noun: type[Resource], name: str, pattern: str) -> None:
    examples: dict[str, Any] = {"name": "a", "tenant": "a"}
    values = {key: value for key, value in examples.items() if key in noun.inputs()} | {name: BAD[pattern]}
    in_path = {key: values.pop(key) for key in noun.path_fields() & values.keys()}
    with pytest.raises(BadRequest) as raised:
        spec_of(noun, values, in_path)
    said = raised.value.fields[name]
    assert said == _bad_text(Type(kind="text", pattern=pattern), BAD[pattern])
    assert said.startswith("must ") and "pattern" not in said and pattern not in said


def test_no_field_is_left_out() -> None:
    in_bridges = set(re.findall(r"pattern='((?:[^'\\\\]|\\\\.)*)'", Path(prepared.__file__).read_text()))
    assert len(fields()) >= 7 and len(in_bridges) == len(BAD)


@pytest.mark.parametrize("given", ["", "a/b", "/"])
@pytest.mark.parametrize("noun", [Tenant, TenantCredentials])
def test_an_id_that_is_one_name_says_what_a_name_is(noun: type[Resource], given: str) -> None:
    with pytest.raises(ValueError, match="the name of a tenant must be a letter or _, then") as raised:
        noun.id_values(given)
    assert ("such as a_b" in str(raised.value)) == (given == "a/b")


@pytest.mark.parametrize(
    ("given", "near"),
    [("my-db", "my_db"), ("9lives", "_9lives"), ("a b", "a_b"), ("x" * 70, "x" * 63), ("", None), ("---", None)],
)
def test_a_name_near_to_one_that_is_none(given: str, near: str | None) -> None:
    assert patterns.name_near(given) == near
    assert near is None or re.match(patterns.NAME_PATTERN, near)
