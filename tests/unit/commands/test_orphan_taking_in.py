"""An orphan is taken into a Pulumi stack under the URN with which it was made, or not at all: under another it would be deleted by the next run."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.bridges.pulumi.dynamic.reference import PROVIDER_KEY, type_token
from spg99.commands.orphans.rules import Declared, State
from spg99.commands.orphans.taking_in import commands_for_pending, taking_in
from spg99.engine import urns
from spg99.engine.importing import parse
from spg99.resources import Database, Resource, Size, Tenant, TenantState

NOW = datetime(2026, 11, 29, tzinfo=UTC)
ROOT = "urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev"
COMPONENTS = ["my:index:Shop", "my:index:Room", "other:mod:Thing"]


def declared(urn: str | None, id_: str = "acme") -> Declared:
    return Declared("tenant", id_, "ten_1", "pulumi-native", "pulumi:shop/dev", urn, True, None, NOW)


def tenant(name: str = "acme") -> Resource:
    return Tenant.model_construct(
        name=name, project="default", tenant_id="ten_1", state=TenantState.ACTIVE, pg_user="u", pg_password="secret-word", dsn_template="d",
        created_at=NOW, updated_at=NOW,
    )  # fmt: skip


def components(draw: st.DrawFn) -> list[str]:
    """URNs of components, each below the stack or an earlier one."""
    found = [ROOT]
    for number in range(draw(st.integers(0, 5))):
        type_ = draw(st.sampled_from(COMPONENTS))
        found.append(urns.make("dev", "shop", type_, f"c{number}", draw(st.sampled_from(found))))
    return found


@given(data=st.data(), name=st.text("abc$:-", min_size=1, max_size=6), is_dynamic=st.booleans())
def test_what_is_imported_has_the_urn_with_which_it_was_made(data: st.DataObject, name: str, is_dynamic: bool) -> None:
    known = st.composite(components)()
    there = data.draw(known)
    parent = data.draw(st.sampled_from(there))
    type_ = type_token("Tenant") if is_dynamic else "spg99:index:Tenant"
    urn = urns.make("dev", "shop", type_, name, parent)
    held = data.draw(st.lists(st.sampled_from(there), unique=True))  # the state may have lost some
    found = taking_in([(declared(urn), tenant())], State("pulumi", urns=tuple(held)))
    alike = [each for each in held if urns.qualified_type(each) == urns.qualified_type(parent)]
    if parent != ROOT and len(alike) != 1:
        assert found.lost == (declared(urn),)
        assert found.content == {"resources": []}
        return
    (entry,) = parse(json.dumps(found.content))
    assert urns.make("dev", "shop", entry.type, entry.name, entry.parent or ROOT) == urn
    assert entry.id == "acme"
    if is_dynamic:
        assert entry.inputs is not None and PROVIDER_KEY in entry.inputs
    else:
        assert entry.inputs is None, "the plugin is asked"
    assert "secret-word" not in json.dumps(found.content)


def test_two_below_one_component_share_its_label() -> None:
    room = urns.make("dev", "shop", "my:index:Room", "r", ROOT)
    shop = urns.make("dev", "shop", "my:index:Shop", "s", ROOT)
    made = [
        (
            declared(urns.make("dev", "shop", "spg99:index:Tenant", f"t{number}", parent), f"t{number}"),
            tenant(f"t{number}"),
        )
        for number, parent in enumerate([room, shop, room, ROOT])
    ]
    content = taking_in(made, State("pulumi", urns=(ROOT, room, shop))).content
    assert sorted(content["nameTable"].values()) == sorted([room, shop])
    parents = [content["nameTable"].get(each.get("parent")) for each in content["resources"]]
    assert parents == [room, shop, room, None]


def test_what_told_no_urn_is_told_and_not_guessed() -> None:
    found = taking_in([(declared(None), tenant())], State("pulumi", urns=(ROOT,)))
    assert found.lost == (declared(None),)


def test_each_keeps_its_name_in_the_program() -> None:
    tenant_urn = urns.make("dev", "shop", type_token("Tenant"), "one", ROOT)
    database = Database.model_construct(
        tenant="acme", name="app", db_id="db_1", size=Size.L1, created_at=NOW, updated_at=NOW
    )
    database_urn = urns.make("dev", "shop", type_token("Database"), "two", ROOT)
    made = [(declared(tenant_urn), tenant()), (declared(database_urn, "acme/app"), database)]
    content = taking_in(made, State("pulumi")).content
    assert [(each["name"], each["id"]) for each in content["resources"]] == [("one", "acme"), ("two", "acme/app")]


@pytest.mark.parametrize("in_files", [True, False])
@pytest.mark.parametrize(("made", "noted"), [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("interrupted", [0, 1])
def test_every_pending_note_and_every_object_has_a_command_and_nothing_else_has(
    in_files: bool, made: int, noted: int, interrupted: int
) -> None:
    urn = urns.make("dev", "shop", "spg99:index:Tenant", "acme", ROOT)
    state = State("pulumi", pending=(*[urn][:made], *["other"][:noted]), interrupted=("changed",) * interrupted)
    commands = commands_for_pending([declared(urn)], state, in_files=in_files, options=" --stack dev")
    # Our engine writes a stack in files and drops the note with it; elsewhere Pulumi imports, and the note stays until it is told.
    assert [each for each in commands if each.startswith("spg99 orphans --import")] != [] or not made
    assert any("pulumi import --file" in each for each in commands) == (bool(made) and not in_files)
    assert any("--clear-pending-creates" in each for each in commands) == bool(noted or (made and not in_files))
    assert all("--stack dev" in each for each in commands)
    assert [each.startswith("pulumi refresh") for each in commands].count(True) == bool(
        noted or interrupted or (made and not in_files)
    )
    assert bool(commands) == bool(made or noted or interrupted)
