"""What may stand in a request's body, and what is said about what may not."""

from __future__ import annotations

import pytest

from spg99.control_plane.serving import bodies
from spg99.errors import BadRequest
from spg99.resources import ApiKey, Database, DatabaseSpec, Size, Tenant

CURRENT = {
    "tenant": "acme",
    "name": "app",
    "size": "L1",
    "idle_timeout_seconds": 300,
    "min_size": None,
    "max_size": None,
    "storage_limit_bytes": None,
    "deletion_protection": False,
    "on_delete": "delete",
    "source_database": None,
    "source_time": None,
    "source_lsn": None,
    "source_snapshot": None,
    "schema_only": False,
    "expires_at": None,
    "history_seconds": None,
    "restore_trigger": None,
    "restore_to": None,
}


def complaints(call: object) -> dict[str, str]:
    with pytest.raises(BadRequest) as caught:
        call()  # type: ignore[operator]
    return caught.value.fields


def test_a_create_takes_the_spec_without_the_path() -> None:
    spec = bodies.spec_of(Database, {"name": "app", "size": "L2"}, {"tenant": "acme"})
    assert isinstance(spec, DatabaseSpec)
    assert (spec.tenant, spec.name, spec.size) == ("acme", "app", Size.L2)
    assert "idle_timeout_seconds" not in spec.model_fields_set


def test_every_bad_field_is_told_at_once() -> None:
    body = {"name": "a b", "sise": "L2", "idle_timeout_seconds": -1, "db_id": "db_1", "tenant": "other"}
    found = complaints(lambda: bodies.spec_of(Database, body, {"tenant": "acme"}))
    assert set(found) == {"name", "sise", "idle_timeout_seconds", "db_id", "tenant"}
    assert "did you mean 'size'?" in found["sise"]
    assert found["db_id"] == "is set by the system"
    assert found["tenant"] == "stands in the path, not in the body"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("idle_timeout_seconds", "300"),
        ("idle_timeout_seconds", 1.5),
        ("idle_timeout_seconds", True),
        ("idle_timeout_seconds", None),
        ("deletion_protection", 1),
        ("deletion_protection", "true"),
        ("size", "l1"),
        ("size", 1),
        ("name", 5),
        ("name", ""),
        ("name", "a" * 64),
        ("name", 'a"b'),
        ("name", "naïve"),
        ("name", "app\n"),
        ("name", "1app"),
        ("name", "x; drop table tenants"),
        ("name", "template1"),
    ],
)
def test_a_wrong_value_is_told_on_its_field(field: str, value: object) -> None:
    found = complaints(lambda: bodies.spec_of(Database, {"name": "app", field: value}, {"tenant": "acme"}))
    assert list(found) == [field]


@pytest.mark.parametrize("name", ["a", "_", "A$1", "a" * 63])
def test_names_at_the_edge_are_taken(name: str) -> None:
    assert bodies.spec_of(Tenant, {"name": name}, {}).model_dump()["name"] == name


def test_a_rule_over_two_fields_names_one_of_them() -> None:
    found = complaints(lambda: bodies.spec_of(Database, {"name": "a", "size": "L1", "min_size": "L2"}, {"tenant": "t"}))
    assert list(found) == ["size"]
    found = complaints(lambda: bodies.spec_of(ApiKey, {"name": "k", "scope": "tenant"}, {}))
    assert list(found) == ["tenant"]


def test_a_patch_answers_only_what_it_names_and_checks_the_whole() -> None:
    spec, named = bodies.changes_of(Database, {"size": "L2", "max_size": "L3"}, CURRENT)
    assert named == {"size": Size.L2, "max_size": Size.L3}
    assert spec.model_dump()["idle_timeout_seconds"] == 300
    assert list(complaints(lambda: bodies.changes_of(Database, {"min_size": "L3"}, CURRENT))) == ["size"]


@pytest.mark.parametrize("field", ["name", "tenant", "state", "sise"])
def test_a_patch_refuses_what_cannot_change(field: str) -> None:
    assert list(complaints(lambda: bodies.changes_of(Database, {field: "app"}, CURRENT))) == [field]


def test_whole_numbers_stay_whole() -> None:
    assert bodies.parse_object(b'{"a": 5.0, "b": 5.5, "c": [1e2]}') == {"a": 5, "b": 5.5, "c": [100]}
    assert type(bodies.parse_object(b'{"a": 5.0}')["a"]) is int


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
        b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}",
        b"[" * 100_000,
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud800"}',
        b'{"\\u0000": 1}',
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        bodies.parse_object(raw)


def test_what_may_change_derives_from_the_marks() -> None:
    assert bodies.changeable(Tenant) == frozenset()
    assert bodies.changeable(ApiKey) == {"name"}
    assert bodies.changeable(Database) == {
        name for name in CURRENT if name not in ("tenant", "name", "schema_only") and not name.startswith("source_")
    }
