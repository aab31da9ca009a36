"""Differences: what is one, what replaces, what would lose data."""

from __future__ import annotations

from typing import Any

import pytest

from spg99.bridges.shared.changes import deletes_before_replace, diff, patch, refused_replacements, same
from spg99.bridges.shared.inputs import check
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.prepared import PACKAGE
from unit.bridges.shared.everything import THING

TENANT, DATABASE, API_KEY = PACKAGE.nouns[:3]
WROTE = check(THING, {"name": "a", "tags": ["x"], "pass_phrase": "hunter2"}).inputs
ANSWERED = WROTE | {"thing_id": "t1", "made_at": "2026-01-01T00:00:00Z", "pass_phrase": None, "note": None}


def changed(new: dict[str, Any], *, old: dict[str, Any] = ANSWERED, wrote: dict[str, Any] | None = WROTE) -> list[str]:
    return [c.field for c in diff(THING, old_outputs=old, new_inputs=new, old_inputs=wrote)]


def test_the_same_again_is_no_change() -> None:
    assert changed(WROTE) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 4),
        ("ratio", 0.75),
        ("is_on", True),
        ("color", "blue"),
        ("tags", []),
        ("labels", {"a": "b"}),
        ("limits", {"max_items": 1}),
        ("note", ""),
        ("pass_phrase", "hunter3"),
        ("name", "b"),
        ("until", "2026-01-01T00:00:00Z"),
    ],
)
def test_each_field_is_a_change_of_its_own(field: str, value: Any) -> None:
    assert changed(WROTE | {field: value}) == [field]


def test_a_secret_that_is_never_told_again_is_compared_with_what_was_written() -> None:
    assert changed(WROTE | {"pass_phrase": "hunter2"}) == []
    assert changed({k: v for k, v in WROTE.items() if k != "pass_phrase"}) == ["pass_phrase"], "unset"


def test_drift_is_a_change_and_what_was_never_written_is_none() -> None:
    assert changed(WROTE, old=ANSWERED | {"count": 9}) == ["count"]
    assert changed(WROTE, old=ANSWERED | {"note": "from outside"}) == []
    assert changed(WROTE, old=ANSWERED | {"note": "from outside"}, wrote=WROTE | {"note": "from outside"}) == ["note"]


def test_volatile_fields_are_never_a_change() -> None:
    assert changed(WROTE | {"last_seen": "x"}, old=ANSWERED | {"last_seen": "y"}) == []


def test_a_field_that_a_new_version_brings_is_no_change_until_it_is_used() -> None:
    older = {name: value for name, value in ANSWERED.items() if name != "count"}
    wrote = {name: value for name, value in WROTE.items() if name != "count"}
    assert changed(WROTE, old=older, wrote=wrote) == []
    assert changed(WROTE | {"count": 5}, old=older, wrote=wrote) == ["count"]


def test_values_that_mean_the_same_are_the_same() -> None:
    assert same(THING, "until", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00")
    assert not same(THING, "until", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")
    assert same(THING, "limits", {"max_items": 1}, {"max_items": 1, "color": "red"})
    assert same(THING, "ratio", 1, 1.0) and not same(THING, "name", "a", "A")
    assert not same(THING, "until", "2026-01-01T00:00:00Z", "nonsense")


def test_only_a_known_immutable_value_replaces() -> None:
    known = diff(THING, old_outputs=ANSWERED, new_inputs=WROTE | {"name": "b", "count": 4}, old_inputs=WROTE)
    assert [(c.field, c.replaces) for c in known] == [("name", True), ("count", False)]
    unknown = diff(THING, old_outputs=ANSWERED, new_inputs=WROTE | {"name": UNKNOWN}, old_inputs=WROTE)
    assert [(c.field, c.replaces) for c in unknown] == [("name", False)]
    assert patch(THING, known) == {"count": 4}


def test_losing_data_is_refused_unless_agreed() -> None:
    sentence = refused_replacements(THING, old_inputs=WROTE, new_inputs=WROTE | {"name": "b"})["name"]
    assert '"a"' in sentence and '"b"' in sentence and "allow_replacement" in sentence
    agreed = WROTE | {"name": "b", "allow_replacement": True}
    assert refused_replacements(THING, old_inputs=WROTE, new_inputs=agreed) == {}
    assert refused_replacements(THING, old_inputs={}, new_inputs=WROTE | {"name": "b"}) == {}
    assert refused_replacements(THING, old_inputs=WROTE, new_inputs=WROTE | {"name": UNKNOWN}) == {}
    assert refused_replacements(API_KEY, old_inputs={"scope": "account"}, new_inputs={"scope": "global"}) == {}


def test_the_old_one_goes_first_only_when_the_name_stays() -> None:
    old = {"name": "a", "project": "default"}
    moved = diff(TENANT, old_outputs=old, new_inputs=old | {"project": "x"})
    renamed = diff(TENANT, old_outputs=old, new_inputs=old | {"name": "b"})
    assert deletes_before_replace(TENANT, moved) and not deletes_before_replace(TENANT, renamed)
    assert not deletes_before_replace(API_KEY, [])


def test_a_state_from_before_the_storage_limit_is_no_difference() -> None:
    wrote = check(DATABASE, {"tenant": "acme", "name": "app"}).inputs
    before = {name: value for name, value in wrote.items() if name != "storage_limit_bytes"}
    answered = before | {"db_id": "db_1", "state": "stopped"}
    for told in (answered, answered | {"storage_limit_bytes": None, "storage_state": "ok"}):
        for written in (before, wrote, None):
            assert diff(DATABASE, old_outputs=told, new_inputs=wrote, old_inputs=written) == [], (told, written)
    limited = wrote | {"storage_limit_bytes": 1 << 30}
    assert [c.field for c in diff(DATABASE, old_outputs=answered, new_inputs=limited, old_inputs=before)] == [
        "storage_limit_bytes"
    ]
    assert not any(c.replaces for c in diff(DATABASE, old_outputs=answered, new_inputs=limited, old_inputs=before))
