"""Values on the wire, property paths, and names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.engine import paths, urns
from spg99.engine.decide import Goal
from spg99.engine.failure import StepFailed, sentence
from spg99.engine.values import (
    OUTPUT,
    REFERENCE,
    SIG,
    UNKNOWN,
    changed_keys,
    from_struct,
    has_secret,
    has_unknown,
    keep_secrecy,
    lower,
    redact,
    reveal,
    secret,
    to_struct,
    without_references,
)
from spg99.engine.wanted import Alias, Wanted, earlier_urns, seconds
from spg99.errors import BadRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_struct_gives_back_what_went_in(props: dict[str, Any]) -> None:
    assert from_struct(to_struct(props)) == props


def test_whole_numbers_stay_whole() -> None:
    back = from_struct(to_struct({"a": 5, "b": 5.5, "c": True, "d": [1.0]}))
    assert [type(v) for v in (back["a"], back["b"], back["c"], back["d"][0])] == [int, float, bool, int]


def test_output_values_become_what_they_hold() -> None:
    output = {SIG: OUTPUT, "value": {"x": 1}, "secret": True, "dependencies": ["u"]}
    assert lower({"a": output, "b": [{SIG: OUTPUT}]}) == {"a": secret({"x": 1}), "b": [UNKNOWN]}
    assert lower("1c4a061d-8072-4f0a-a4cb-0ff528b18fe7") == UNKNOWN, "typed unknowns are unknowns"


def test_secrets_are_found_hidden_and_taken_off_anywhere() -> None:
    value = {"a": [1, {"b": secret({"c": "x"})}]}
    assert has_secret(value) and not has_secret(reveal(value))
    assert reveal(value) == {"a": [1, {"b": {"c": "x"}}]}
    assert redact(value) == {"a": [1, {"b": "[secret]"}]}
    assert has_unknown(secret([UNKNOWN])) and not has_unknown(value)
    assert secret(secret(1)) == secret(1)


def test_what_was_secret_going_in_is_secret_coming_out() -> None:
    ins = {"a": secret(1), "b": {"c": secret(2), "d": 3}, "e": [secret(4)], "f": 5}
    outs = {"a": 1, "b": {"c": 2, "d": 3}, "e": [4], "f": 5, "g": 6}
    assert keep_secrecy(outs, ins) == {"a": secret(1), "b": {"c": secret(2), "d": 3}, "e": secret([4]), "f": 5, "g": 6}


def test_references_become_ids_for_providers_that_do_not_take_them() -> None:
    assert without_references({"a": {SIG: REFERENCE, "urn": "u", "id": "7"}}) == {"a": "7"}
    assert without_references([{SIG: REFERENCE, "urn": "u"}]) == ["u"]
    assert without_references({SIG: REFERENCE, "urn": "u", "id": ""}) == UNKNOWN


def test_changed_keys() -> None:
    assert changed_keys({"a": 1, "b": secret(2), "c": 3}, {"a": 1, "b": 2, "d": 4}) == ["c", "d"]
    assert changed_keys({"a": 1}, {"a": UNKNOWN}) == ["a"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ('a["b.c"].d', ("a", "b.c", "d")),
        ('["a"]', ("a",)),
        (r'a["q\"q"]', ("a", 'q"q')),
        ("a[*].b", ("a", "*", "b")),
        ("*", ("*",)),
    ],
)
def test_paths(text: str, path: paths.Path) -> None:
    assert paths.parse(text) == path


@pytest.mark.parametrize("text", [".a", "a[", "a]b", 'a["b'])
def test_paths_that_are_none(text: str) -> None:
    with pytest.raises(BadRequest, match="is not a property path"):
        paths.parse(text)


@pytest.mark.parametrize(
    ("new", "old", "ignored", "kept"),
    [
        ({"a": 2}, {"a": 1}, ["a"], {"a": 1}),
        ({"a": 2}, {}, ["a"], {}),
        ({}, {"a": 1}, ["a"], {"a": 1}),
        ({"a": {"b": 2, "c": 2}}, {"a": {"b": 1, "c": 1}}, ["a.b"], {"a": {"b": 1, "c": 2}}),
        ({"a": [2, 2]}, {"a": [1, 1]}, ["a[0]"], {"a": [1, 2]}),
        ({"a": [2, 2, 2]}, {"a": [1, 1]}, ["a[*]"], {"a": [1, 1, 2]}),
        ({"a": [{"b": 2}]}, {"a": [{"b": 1}]}, ["a[*].b"], {"a": [{"b": 1}]}),
        ({"a": {"b": 2}}, {"a": {"b": 1}}, ["*"], {"a": {"b": 1}}),
        ({"a": 2}, {"a": 1}, ["a.b.c", "x[3]"], {"a": 2}),
        ({"a": secret({"b": 2})}, {"a": secret({"b": 1})}, ["a.b"], {"a": secret({"b": 1})}),
    ],
)
def test_ignored_changes_keep_the_old(new: Any, old: Any, ignored: list[str], kept: Any) -> None:
    before = repr(new)
    assert paths.keep_old(new, old, ignored) == kept
    assert repr(new) == before, "what the program gave is not touched"


def test_urns() -> None:
    parent = urns.make("dev", "p", "a:b:Parent", "mum")
    child = urns.make("dev", "p", "a:b:Child", "kid::2", parent)
    assert child == "urn:pulumi:dev::p::a:b:Parent$a:b:Child::kid::2"
    assert (urns.type_of(child), urns.name_of(child), urns.qualified_type(child)) == (
        "a:b:Child",
        "kid::2",
        "a:b:Parent$a:b:Child",
    )
    stack = urns.make("dev", "p", urns.STACK_TYPE, "p-dev")
    assert urns.make("dev", "p", "a:b:Child", "kid", stack) == "urn:pulumi:dev::p::a:b:Child::kid"
    assert urns.is_default_provider(urns.make("dev", "p", "pulumi:providers:aws", "default_6_1_0"))
    assert not urns.is_default_provider(urns.make("dev", "p", "pulumi:providers:aws", "mine"))
    assert urns.package_of("pulumi:providers:aws") == "aws" and urns.package_of("aws:s3:Bucket") == "aws"


def _wanted(name: str, parent: str = "", aliases: list[Alias] | None = None) -> Wanted:
    urn = urns.make("dev", "p", "a:b:C", name, parent)
    return Wanted(urn, "a:b:C", name, True, parent, {}, Goal(), aliases=aliases or [])


OLD_PARENT, NEW_PARENT = urns.make("dev", "p", "a:b:P", "old"), urns.make("dev", "p", "a:b:P", "new")


@pytest.mark.parametrize(
    ("wanted", "taken_over", "there", "found"),
    [
        (_wanted("x"), {}, "urn:pulumi:dev::p::a:b:C::x", True),
        (_wanted("x", aliases=[Alias(name="y")]), {}, "urn:pulumi:dev::p::a:b:C::y", True),
        (_wanted("x", aliases=[Alias(type="a:b:D")]), {}, "urn:pulumi:dev::p::a:b:D::x", True),
        (_wanted("x", aliases=[Alias(project="q", stack="s")]), {}, "urn:pulumi:s::q::a:b:C::x", True),
        (_wanted("x", NEW_PARENT, [Alias(no_parent=True)]), {}, "urn:pulumi:dev::p::a:b:C::x", True),
        (_wanted("x", "", [Alias(parent=OLD_PARENT)]), {}, "urn:pulumi:dev::p::a:b:P$a:b:C::x", True),
        (_wanted("new-x", NEW_PARENT), {NEW_PARENT: OLD_PARENT}, "urn:pulumi:dev::p::a:b:P$a:b:C::old-x", True),
        (_wanted("new-x", NEW_PARENT), {}, "urn:pulumi:dev::p::a:b:P$a:b:C::old-x", False),
        (_wanted("x", aliases=[Alias(urn="urn:any")]), {}, "urn:any", True),
    ],
)
def test_earlier_names(wanted: Wanted, taken_over: dict[str, str], there: str, found: bool) -> None:
    answer = earlier_urns(wanted, stack="dev", project="p", taken_over=taken_over, find={there}.__contains__)
    assert answer == (there if found else None)


@pytest.mark.parametrize(("text", "value"), [("30s", 30), ("1h30m", 5400), ("1.5m", 90), ("250ms", 0.25), ("0s", 0)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "m5", "5 m", "-5s"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(StepFailed, match="is no duration"):
        seconds(text)


TRACEBACK = """Traceback (most recent call last):
  File "/x/host.py", line 3, in wrapper
    return fn(self, request, context)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/x/mine.py", line 5, in create
    raise Boom("...")
"""


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("RuntimeError: the pen broke", "the pen broke"),
        ("Exception: one\n  two\nthree", "one\n  two\nthree"),
        ("mine.Boom: it went off", "it went off"),
        ("KeyError: '__provider'", "KeyError: '__provider'"),
        ("mine.Boom", "mine.Boom"),
        ("TypeError: a: b", "TypeError: a: b"),
    ],
)
def test_a_traceback_becomes_its_message(last: str, said: str) -> None:
    assert sentence(TRACEBACK + last + "\n") == said


def test_other_errors_stay_as_they_are() -> None:
    assert sentence("plain words") == "plain words" and sentence("") == "The provider gave no reason."
