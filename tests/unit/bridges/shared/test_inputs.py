"""Checks: what passes, what fails and where, with values that are not known yet."""

from __future__ import annotations

from typing import Any

import pytest

from spg99.bridges.shared.inputs import check, whole
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.emit.names import camel
from spg99.prepared import PACKAGE
from unit.bridges.shared.everything import THING

TENANT, DATABASE, API_KEY = PACKAGE.nouns[:3]


def failures(noun: Any, **values: Any) -> dict[str, str]:
    return {".".join(map(str, f.path)): f.reason for f in check(noun, values).failures}


def test_defaults_are_filled_in_and_shapes_kept() -> None:
    checked = check(THING, {"name": "a", "until": "2026-01-01T01:00:00+01:00", "labels": {"max_items": "x"}})
    assert checked.failures == []
    assert checked.inputs == {
        "name": "a",
        "count": 3,
        "ratio": 0.5,
        "is_on": False,
        "color": "red",
        "tags": [],
        "labels": {"max_items": "x"},
        "steps": [],
        "by_zone": {},
        "until": "2026-01-01T01:00:00+01:00",
        "last_seen": "never",
    }


def test_null_is_left_out_and_empty_is_kept() -> None:
    checked = check(THING, {"name": "a", "note": None, "tags": [], "limits": None})
    assert "note" not in checked.inputs and "limits" not in checked.inputs and checked.inputs["tags"] == []


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (300.0, 300),
        (-0.0, 0),
        (1.5, 1.5),
        (2.0**53, 2**53),
        ([1.0, {"a": 2.0}], [1, {"a": 2}]),
        (True, True),
        ("300", "300"),
    ],
)
def test_whole_numbers_are_whole(wire: Any, expected: Any) -> None:
    found = whole(wire)
    assert found == expected and type(found) is type(expected)


def test_a_whole_number_that_a_double_cannot_hold_is_refused_not_rounded() -> None:
    assert "count" in failures(THING, name="a", count=2.0**53 + 2)


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("count", "3", 'a whole number, not "3"'),
        ("count", 1.5, "a whole number, not 1.5"),
        ("count", True, "a whole number, not true"),
        ("count", -1, "at least 0, not -1"),
        ("is_on", 1, "true or false, not 1"),
        ("is_on", "true", 'true or false, not "true"'),
        ("color", "green", 'one of red, blue, not "green"'),
        ("tags", "a", 'a list, not "a"'),
        ("tags.1", ["a", 5], "text, not 5"),
        ("labels.k", {"k": 5}, "text, not 5"),
        ("limits.max_items", {"max_items": 0}, "at least 1, not 0"),
        ("limits.max_item", {"max_items": 1, "max_item": 1}, "there is no such field; did you mean 'max_items'?"),
        ("steps.1.color", [{"max_items": 1}, {"max_items": 1, "color": "x"}], "one of red, blue"),
        ("until", "2026-01-01T00:00:00", "a time with its zone"),
        ("name", object(), "must be text"),
    ],
)
def test_wrong_values_fail_on_their_path(field: str, value: Any, part: str) -> None:
    found = failures(THING, **({"name": "a"} | {field.split(".")[0]: value}))
    assert list(found) == [field]
    assert part in found[field]


def test_everything_wrong_is_told_at_once() -> None:
    found = failures(THING, colour="red", count=-1, color="green", thing_id="t", note="x")
    assert set(found) == {"colour", "count", "color", "thing_id", "name", ""}
    assert found["name"] == "is required"
    assert found[""] == "a note needs at least one tag"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("colour", "did you mean 'color'?"),
        ("passPhrse", "did you mean 'passPhrase'?"),
        ("zzzzzz", "there are: name, count"),
        ("thing_id", "filled in by the system"),
        ("thingId", "filled in by the system"),
    ],
)
def test_unknown_fields_come_with_a_suggestion_in_the_users_spelling(name: str, part: str) -> None:
    found = check(THING, {"name": "a", name: 1}, spelling=camel).failures
    assert len(found) == 1 and found[0].path == (name,) and part in found[0].reason


def test_a_secret_is_never_quoted() -> None:
    assert "hunter2" not in str(check(THING, {"name": "a", "pass_phrase": ["hunter2"]}).failures)
    assert "4711" not in str(check(THING, {"name": "a", "pass_phrase": 4711}).failures)


@pytest.mark.parametrize("field", [field.name for field in THING.inputs])
def test_any_field_may_be_unknown(field: str) -> None:
    values = {"name": "a"} | {field: UNKNOWN}
    checked = check(THING, values)
    assert checked.failures == [] and checked.inputs[field] is UNKNOWN


def test_a_container_with_something_unknown_inside_is_kept_and_judged_in_its_known_parts() -> None:
    value = {"max_items": UNKNOWN, "color": "red"}
    checked = check(THING, {"name": "a", "limits": value, "tags": ["x", UNKNOWN], "steps": UNKNOWN})
    assert checked.failures == [] and checked.inputs["limits"] == value and checked.inputs["tags"] == ["x", UNKNOWN]
    found = failures(THING, name="a", limits={"max_items": UNKNOWN, "color": "nonsense"}, tags=[UNKNOWN, 5])
    assert set(found) == {"limits.color", "tags.1"}


def test_rules_across_fields_wait_for_what_they_need_and_no_longer() -> None:
    assert failures(THING, name="a", count=11) == {"count": "must be at most 10 for red things"}
    assert failures(THING, name="a", count=11, color=UNKNOWN) == {}
    assert failures(THING, name=UNKNOWN, count=11) == {"count": "must be at most 10 for red things"}
    assert failures(THING, name="A", count=11).keys() == {"name", "count"}
    assert failures(THING, name="a", count=11, color="green").keys() == {"color"}


def test_our_own_nouns() -> None:
    assert failures(DATABASE, tenant="acme", name="template1") == {
        "name": "'template1' is reserved by PostgreSQL or by us"
    }
    assert "between" in failures(DATABASE, tenant="a", name="b", size="L3", max_size="L2")["size"]
    assert "scope is 'tenant'" in failures(API_KEY, name="k", scope="tenant")["tenant"]
    assert failures(API_KEY, name="k", scope="tenant", tenant=UNKNOWN) == {}
    for name in ("", "a" * 64, 'a"b', "naïve", "a; drop table", "1a", "a b"):
        assert set(failures(DATABASE, tenant="acme", name=name)) == {"name"}, name
