"""Answers as text: aligned, one line an object, secrets hidden unless asked for."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from spg99.commands.rendering import HIDDEN, aligned, cell, columns_of, show_many, show_one, values_of
from spg99.resources import NOUNS, Database, Mark, Resource, Tenant

TENANT = Tenant(
    name="acme",
    tenant_id="ten_1",
    pg_user="tnt_1",
    pg_password="hush",
    dsn_template="postgres://tnt_1:hush@localhost:5432/<db-name>?sslmode=require",
    state="active",
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    updated_at=datetime(2026, 1, 2, tzinfo=UTC),
)


def test_secrets_are_hidden_unless_they_shall_be_shown() -> None:
    assert "hush" not in json.dumps(values_of(TENANT, show_secrets=False))
    assert values_of(TENANT, show_secrets=False)["pg_password"] == HIDDEN
    assert values_of(TENANT, show_secrets=True)["pg_password"] == "hush"


def test_a_secret_that_is_not_there_is_not_made_up() -> None:
    assert values_of(TENANT.model_copy(update={"pg_password": None}), show_secrets=False)["pg_password"] is None


@pytest.mark.parametrize("kind", NOUNS)
def test_the_columns_of_a_list_are_fields_name_the_object_and_hold_no_secret(kind: type[Resource]) -> None:
    columns = columns_of(kind)
    assert set(columns) <= set(kind.model_fields)
    assert set(kind.id_fields()) <= set(columns)
    assert not set(columns) & kind.marked(Mark.SECRET)
    assert len(columns) == len(set(columns))


def test_the_columns_of_databases() -> None:
    assert columns_of(Database)[:2] == ["tenant", "name"]
    assert {"size", "state", "idle_timeout_seconds"} <= set(columns_of(Database))


def test_columns_are_aligned_under_their_headings() -> None:
    assert aligned([["acme", "ready"], ["a", "stopped"]], ["name", "state"]) == [
        "NAME  STATE",
        "acme  ready",
        "a     stopped",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), ([], "-"), (True, "yes"), (["a", "b"], "a,b"), ("two\nlines", "two lines"), ({"a": 1}, '{"a": 1}')],
)
def test_a_value_is_one_line(value: object, text: str) -> None:
    assert cell(value) == text


def test_an_empty_list_writes_nothing_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    show_many([], ["name"], as_json=False, nothing="There are no tenants.")
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("", "There are no tenants.\n")
    show_many([], ["name"], as_json=True, nothing="There are no tenants.")
    assert json.loads(capsys.readouterr().out) == []


def test_one_object_leaves_out_what_is_not_set(capsys: pytest.CaptureFixture[str]) -> None:
    show_one({"name": "acme", "note": None}, as_json=False)
    assert capsys.readouterr().out == "name  acme\n"
