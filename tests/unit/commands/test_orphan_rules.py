"""Which objects are orphans: what a state holds never is, in whatever form its tool wrote it; the rest is sorted by what may be said of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spg99.bridges.pulumi.dynamic.reference import type_token
from spg99.commands.orphans.rules import Declared, Held, holds_any, in_order_of_deletion, orphans_of
from spg99.commands.orphans.states import read_state
from spg99.emit.names import camel
from spg99.emit.pulumi_types import noun_of
from spg99.errors import BadRequest
from spg99.prepared import PACKAGE
from spg99.resources import NOUNS

NOW = datetime(2026, 11, 29, tzinfo=UTC)
NOUN_NAMES = [noun.noun for noun in PACKAGE.nouns]


def declared(uid: str, **more: Any) -> Declared:
    given_values = {
        "noun": "database", "id": f"acme/{uid}", "tool": "pulumi-native", "state": "pulumi:shop/dev", "resource": None,
        "by_this_key": True, "also_known_to": None, "declared_at": NOW - timedelta(hours=1),
    }  # fmt: skip
    return Declared(**(given_values | {"uid": uid} | more))


OBJECTS = st.lists(
    st.tuples(st.sampled_from(NOUN_NAMES), st.text("abc", min_size=1, max_size=2), st.integers(0, 20)), max_size=12
)
"""(noun, human id, number that makes the uid)"""


def as_pulumi(things: list[tuple[str, str, int]], style: str, told: list[bool]) -> str:
    """A state that holds these, of the dynamic provider or the plugin; a uid that is not told is encrypted."""
    resources = [
        {"urn": "urn:pulumi:dev::shop::pulumi:pulumi:Stack::s", "type": "pulumi:pulumi:Stack", "custom": False}
    ]
    for (name, human_id, number), tells in zip(things, told, strict=True):
        noun = PACKAGE.noun_named(name)
        assert noun is not None
        type_ = type_token(noun.title) if style == "dynamic" else f"spg99:index:{noun.title}"
        uid: Any = f"u{number}" if tells else {"4dabf18193072939515e22adb298388d": "secret", "ciphertext": "x"}
        urn = f"urn:pulumi:dev::shop::{type_}::{human_id}"
        resources.append(
            {"urn": urn, "type": type_, "custom": True, "id": human_id, "outputs": {camel(noun.uid_field): uid}}
        )  # type: ignore[dict-item]
    whole = {"version": 3, "deployment": {"manifest": {}, "resources": resources}}
    if style == "checkpoint":
        whole = {"version": 3, "checkpoint": {"stack": "organization/shop/dev", "latest": {"resources": resources}}}
    return json.dumps(whole)


def as_terraform(things: list[tuple[str, str, int]], style: str) -> str:
    if style == "shown":
        shown = [
            {"mode": "managed", "type": f"spg99_{name}", "name": "x", "values": {"id": human_id, uid_field(name): f"u{number}"}}
            for name, human_id, number in things
        ]  # fmt: skip
        root = {
            "resources": shown[:2],
            "child_modules": [{"resources": shown[2:4], "child_modules": [{"resources": shown[4:]}]}],
        }
        return json.dumps({"format_version": "1.0", "terraform_version": "1.11.4", "values": {"root_module": root}})
    resources = [
        {
            "mode": "managed", "type": f"spg99_{name}", "name": "x", "provider": 'provider["x/y/spg99"]',
            "instances": [{"schema_version": 0, "attributes": {"id": human_id, uid_field(name): f"u{number}"}}],
        }
        for name, human_id, number in things
    ]  # fmt: skip
    return json.dumps(
        {
            "version": 4,
            "terraform_version": "1.11.4",
            "serial": 3,
            "lineage": "l",
            "outputs": {},
            "resources": resources,
        }
    )


def uid_field(name: str) -> str:
    noun = PACKAGE.noun_named(name)
    assert noun is not None
    return noun.uid_field


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(
    held=OBJECTS, others=OBJECTS, style=st.sampled_from(["dynamic", "native", "checkpoint", "file", "shown"]),
    data=st.data(), any_key=st.booleans(), older=st.integers(0, 7200),
)  # fmt: skip
def test_what_a_state_holds_is_never_an_orphan(
    held: list[Any], others: list[Any], style: str, data: st.DataObject, any_key: bool, older: int
) -> None:
    if style in ("file", "shown"):
        text = as_terraform(held, style)
        told = [True] * len(held)
    else:
        told = data.draw(st.lists(st.booleans(), min_size=len(held), max_size=len(held)))
        text = as_pulumi(held, style, told)
    state = read_state(text)
    rows = [
        declared(
            f"u{number}", noun=name, id=human_id, by_this_key=data.draw(st.booleans()),
            also_known_to=data.draw(st.sampled_from([None, "pulumi:b/c"])),
        )
        for name, human_id, number in [*held, *others]
    ]  # fmt: skip
    found = orphans_of(rows, state.held, now=NOW, any_key=any_key, older_than_seconds=older)
    listed = {*found.orphans, *found.elsewhere, *found.other_keys}
    uids = {f"u{number}" for (_, _, number), tells in zip(held, told, strict=True) if tells}
    names = {(name, human_id) for (name, human_id, _), tells in zip(held, told, strict=True) if not tells}
    for row in rows:
        is_held = row.uid in uids or (row.noun, row.id) in names
        is_old = row.declared_at <= NOW - timedelta(seconds=older)
        assert (row in listed) == (not is_held and (is_old or not older)), row
    assert all(row.by_this_key or any_key for row in (*found.orphans, *found.elsewhere))
    assert all(row.also_known_to is None for row in found.orphans)


def test_an_object_with_the_name_of_a_held_one_is_another() -> None:
    row = declared("db_2", id="acme/app")
    assert orphans_of([row], [Held("database", "db_1", "acme/app")], now=NOW).orphans == (row,)
    assert orphans_of([row], [Held("database", None, "acme/app")], now=NOW).orphans == ()
    assert orphans_of([row], [Held("tenant", None, "acme/app")], now=NOW).orphans == (row,)


def test_a_state_is_the_right_one_when_it_holds_what_was_declared_under_its_name() -> None:
    assert not holds_any([], [Held("database", "db_1", "a/b")])
    assert not holds_any([declared("db_1")], [])
    assert holds_any([declared("db_1")], [Held("database", "db_1", "a/b")])
    assert holds_any([declared("db_1", id="a/b")], [Held("database", None, "a/b")])


def test_what_belongs_to_a_tenant_goes_before_it() -> None:
    rows = [declared(f"u{index}", noun=name) for index, name in enumerate([*NOUN_NAMES, *reversed(NOUN_NAMES)])]
    order = [row.noun for row in in_order_of_deletion(rows)]
    assert order.index("tenant") > max(
        index for index, noun in enumerate(order) if noun in ("database", "tenant_credentials")
    )
    assert order[-1] == "api_key"


def test_pending_creates_are_known_and_not_held() -> None:
    urn = "urn:pulumi:dev::shop::spg99:index:Database::app"
    operations = [
        {"type": kind, "resource": {"urn": urn + kind, "type": "spg99:index:Database"}}
        for kind in ("creating", "updating", "deleting", "reading")
    ]
    state = read_state(json.dumps({"version": 3, "deployment": {"manifest": {}, "pending_operations": operations}}))
    assert state.pending == (urn + "creating",)
    assert state.interrupted == (urn + "updating", urn + "deleting")
    assert state.held == ()
    assert state.stacks == (("shop", "dev"),)


def test_deposed_and_deleted_entries_are_held() -> None:
    state = json.loads(as_terraform([("database", "a/b", 1)], "file"))
    state["resources"][0]["instances"].append({"deposed": "x", "attributes": {"id": "a/b", "db_id": "u2"}})
    assert {held.uid for held in read_state(json.dumps(state)).held} == {"u1", "u2"}
    deployment = json.loads(as_pulumi([("database", "a/b", 1)], "native", [True]))
    deployment["deployment"]["resources"][1] |= {"delete": True}
    assert [held.uid for held in read_state(json.dumps(deployment)).held] == ["u1"]


def test_data_sources_and_other_providers_hold_nothing() -> None:
    state = json.loads(as_terraform([("database", "a/b", 1), ("tenant", "a", 2)], "file"))
    state["resources"][0]["mode"] = "data"
    state["resources"][1]["type"] = "aws_db_instance"
    assert read_state(json.dumps(state)).held == ()
    assert noun_of(PACKAGE, "aws:rds:Instance") is None
    assert noun_of(PACKAGE, "spg99x:index:Database") is None


@pytest.mark.parametrize("kind", NOUNS, ids=lambda kind: kind.NOUN)
def test_every_noun_is_recognised_under_every_bridge(kind: Any) -> None:
    title = kind.__name__
    for token in (f"spg99:index:{title}", f"spg99:index/{title.lower()}:{title}", type_token(title)):
        noun = noun_of(PACKAGE, token)
        assert noun is not None and noun.noun == kind.NOUN


WHOLE = [as_pulumi([("tenant", "a", 1)], "native", [True]), as_terraform([("tenant", "a", 1)], "file"), as_terraform([("tenant", "a", 1)], "shown")]  # fmt: skip


@pytest.mark.parametrize("whole", WHOLE, ids=["pulumi", "file", "shown"])
def test_the_beginning_of_a_state_is_no_state(whole: str) -> None:
    read_state(whole)
    for end in range(1, len(whole), 7):
        with pytest.raises(BadRequest):
            read_state(whole[:end])


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "1", "{}", '{"a": 1}', '{"version": 4}', '{"deployment": []}', '{"deployment": {"resources": [1]}}', '{"encrypted_data": "x"}',
     '{"checkpoint": 1}', '{"format_version": "1.2", "planned_values": {}}', '{"terraform_version": "1", "lineage": "x", "resources": {"a": 1}}'],
)  # fmt: skip
def test_what_is_no_state_is_refused_and_never_empty(text: str) -> None:
    with pytest.raises(BadRequest):
        read_state(text)


def test_an_empty_text_is_an_empty_state_of_a_known_tool_only() -> None:
    assert read_state(" \n", family="terraform").held == ()
    with pytest.raises(BadRequest, match="--for"):
        read_state("")
    with pytest.raises(BadRequest, match="Terraform, not of Pulumi"):
        read_state(WHOLE[1], family="pulumi")
