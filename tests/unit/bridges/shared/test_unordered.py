"""Lists that are sets, marked once (resources/): what is the same, what is sent, and that every list has been thought about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.bridges.shared.objects import body_of, idempotency_key
from spg99.bridges.shared.values import canonical, same
from spg99.bridges.terraform import planning
from spg99.bridges.terraform.schema import tables
from spg99.prepared import PACKAGE
from spg99.shapes import Field, Type

SET, LIST = Type("list", of=Type("text"), unordered=True), Type("list", of=Type("text"))
ORDERED: frozenset[str] = frozenset()
"""`noun.field` of every list whose order means something."""


def lists(fields: tuple[Field, ...], at: str) -> Iterator[tuple[str, Type]]:
    for field in fields:
        type_: Type | None = field.type
        while type_ is not None:
            if type_.kind == "list":
                yield f"{at}.{field.name}", type_
            yield from lists(type_.fields, f"{at}.{field.name}")
            type_ = type_.of


def all_lists() -> dict[str, Type]:
    found = {}
    for noun in (*PACKAGE.nouns, *PACKAGE.reads):
        found |= dict(lists(noun.inputs + noun.outputs, noun.noun))
    for each in PACKAGE.ephemerals:
        found |= dict(lists(each.inputs + each.outputs, each.name))
    return found


def test_every_list_is_a_set_or_is_said_to_have_an_order() -> None:
    assert {name for name, type_ in all_lists().items() if not type_.unordered} == ORDERED
    assert all_lists()["api_key.permissions"].unordered


@given(st.lists(st.sampled_from("abcd"), max_size=6), st.randoms())
def test_what_is_the_same_is_sent_in_one_form(items: list[str], chance: object) -> None:
    other = [*items, *items[:1]]
    chance.shuffle(other)  # type: ignore[attr-defined]
    assert same(SET, items, other) and canonical(SET, items) == canonical(SET, other)
    assert canonical(LIST, items) == items


@pytest.mark.parametrize(("one", "other"), [([], ["a"]), (["a"], ["b"]), (["a"], ["a", "b"]), (["a"], None)])
def test_other_items_are_another_value(one: list[str], other: list[str] | None) -> None:
    assert not same(SET, one, other) and not same(SET, other, one)


@pytest.mark.parametrize("state", [["can_create_db", "can_scale"], ["can_scale", "can_create_db", "can_scale"]])
@pytest.mark.parametrize("written", [["can_scale", "can_create_db"], ["can_scale", "can_scale", "can_create_db"]])
def test_terraform_plans_nothing_for_another_order(state: list[str], written: list[str]) -> None:
    block = tables(PACKAGE).resources["spg99_api_key"]
    prior = {each.name: None for each in block.attributes} | {
        "id": "key_1",
        "key_id": "key_1",
        "name": "ci",
        "scope": "account",
        "permissions": state,
        "created_at": "2026-01-01T00:00:00Z",
    }
    config = {each.name: None for each in block.attributes} | {"name": "ci", "permissions": written}
    plan = planning.change(block, prior, config)
    assert plan.replaces == () and plan.state == prior
    less = planning.change(block, prior, config | {"permissions": ["can_scale"]})
    assert less.replaces == ("permissions",)


def test_a_repetition_of_a_create_is_the_same_request() -> None:
    noun = PACKAGE.noun_named("api_key")
    assert noun is not None
    one, other = (body_of(noun, {"name": "ci", "permissions": list(text)}) for text in (UNSORTED, UNSORTED[::-1]))
    assert one == other == {"name": "ci", "permissions": ["can_create_db", "can_scale"]}
    assert idempotency_key("urn:ci", noun, one, 0) == idempotency_key("urn:ci", noun, other, 0)


UNSORTED = ("can_scale", "can_create_db", "can_scale")
