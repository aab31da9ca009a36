"""Plans are what Terraform's contract wants (terraform-facts 1.4), for every kind of field."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from spg99.bridges.shared.unknown import UNKNOWN, has_unknown
from spg99.bridges.terraform import planning
from unit.bridges.terraform.shop import BLOCK, TABLES, answer, config


def made(**written: Any) -> dict[str, Any]:
    """The state after a gadget with this configuration was created."""
    planned = planning.create(BLOCK, config(**written)).state
    told = {name: value for name, value in planned.items() if not has_unknown(value)}
    return planning.answered(
        BLOCK, planned, answer(**{k: v for k, v in told.items() if k in answer() and v is not None})
    )


def test_a_new_object_shows_defaults_and_its_id_and_leaves_the_rest_unknown() -> None:
    state = planning.create(BLOCK, config()).state
    assert set(state) == set(BLOCK.named)
    assert (state["color"], state["weight"], state["active"], state["labels"]) == ("red", 7, True, {})
    assert state["id"] == "top/one"
    assert (state["note"], state["tags"], state["box"], state["until"]) == (None, None, None, None)
    assert all(state[name] is UNKNOWN for name in ("gadget_id", "state", "address", "token", "created_at", "host"))


def test_an_id_that_the_server_makes_is_unknown() -> None:
    block = TABLES.resources["shop_ticket"]
    assert planning.create(block, dict.fromkeys(block.named) | {"reason": "x"}).state["id"] is UNKNOWN


def test_an_unknown_part_makes_the_id_unknown() -> None:
    assert planning.create(BLOCK, config(shelf=UNKNOWN)).state["id"] is UNKNOWN


@pytest.mark.parametrize(
    "name", [n for n, a in BLOCK.named.items() if a.role in ("input", "version", "allow_replacement")]
)
def test_every_input_may_be_unknown(name: str) -> None:
    assert planning.create(BLOCK, config(**{name: UNKNOWN})).state[name] is UNKNOWN
    assert planning.change(BLOCK, made(), config(**{name: UNKNOWN})).state[name] is UNKNOWN


def test_what_is_write_only_is_in_no_plan_and_no_state() -> None:
    planned = planning.create(BLOCK, config(passphrase_wo="geheim", passphrase_wo_version=1)).state
    assert planned["passphrase_wo"] is None
    state = planning.answered(BLOCK, planned, answer())
    assert "geheim" not in repr(planned) + repr(state)
    assert planning.change(BLOCK, state, config(passphrase_wo=UNKNOWN, passphrase_wo_version=1)).state == state


def test_nothing_changes_when_nothing_is_changed() -> None:
    for written in (
        {},
        {"color": "blue", "ratio": Decimal("0.1"), "tags": ["b", "a"], "labels": {"x": "y"}},
        {"rules": [{"host": "h", "port": None, "note": None}], "box": {"width": None, "depth": 2}},
        {
            "boxes": {"a": {"width": 1, "depth": 2}},
            "timeouts": dict.fromkeys(("read", "update", "delete")) | {"create": "9s"},
        },
    ):
        state = made(**written)
        plan = planning.change(BLOCK, state, config(**written))
        assert (plan.state, plan.replaces, plan.refusals) == (state, (), ())


def test_defaults_inside_objects_lists_and_maps_are_filled_in() -> None:
    state = planning.create(
        BLOCK,
        config(
            box={"width": None, "depth": 2},
            rules=[{"host": "a", "port": None, "note": None}, {"host": "b", "port": 1, "note": "n"}],
            boxes={"k": {"width": UNKNOWN, "depth": 1}},
        ),
    ).state
    assert state["box"] == {"width": 3, "depth": 2}
    assert [rule["port"] for rule in state["rules"]] == [5432, 1]
    assert state["boxes"] == {"k": {"width": UNKNOWN, "depth": 1}}


def test_a_change_shows_only_what_changes_and_what_moves_with_it() -> None:
    state = made()
    plan = planning.change(BLOCK, state, config(color="blue"))
    assert {name for name in state if plan.state[name] != state[name]} == {"color"}
    heavier = planning.change(BLOCK, state, config(weight=8))
    changed = {name for name in state if heavier.state[name] is UNKNOWN or heavier.state[name] != state[name]}
    assert changed == {"weight", "token"}


def test_another_version_sends_what_is_write_only_again() -> None:
    state = made(passphrase_wo="a", passphrase_wo_version=1)
    plan = planning.change(BLOCK, state, config(passphrase_wo="b", passphrase_wo_version=2))
    assert planning.sent(BLOCK, state, plan.state) == ("passphrase_wo_version",)
    assert plan.state["token"] is UNKNOWN
    assert plan.replaces == ()


def test_leaving_out_an_optional_field_clears_it_and_a_default_returns() -> None:
    state = made(note="n", color="blue", tags=["a"], labels={"a": "b"}, box={"width": 1, "depth": 1})
    plan = planning.change(BLOCK, state, config())
    assert (plan.state["note"], plan.state["tags"], plan.state["box"]) == (None, None, None)
    assert (plan.state["color"], plan.state["labels"]) == ("red", {})


def test_what_the_server_filled_in_stays_and_the_user_wins() -> None:
    state = made()
    assert state["host"] == "h1.example"
    assert planning.change(BLOCK, state, config()).state["host"] == "h1.example"
    assert planning.change(BLOCK, state, config(host="mine")).state["host"] == "mine"
    assert planning.change(BLOCK, made(host="mine"), config()).state["host"] == "mine"


def test_null_and_empty_are_kept_apart() -> None:
    assert planning.create(BLOCK, config(tags=[])).state["tags"] == []
    assert planning.change(BLOCK, made(), config(tags=[])).state["tags"] == []
    assert planning.change(BLOCK, made(tags=[]), config()).state["tags"] is None
    assert planning.change(BLOCK, made(note=""), config(note="")).state == made(note="")


def test_a_value_that_only_looks_different_is_no_change() -> None:
    state = made(until="2026-01-01T00:00:00Z", weight=300, ratio=Decimal("0.50"))
    plan = planning.change(
        BLOCK, state, config(until="2026-01-01T01:00:00+01:00", weight=Decimal("300.0"), ratio=Decimal("0.5"))
    )
    assert plan.state == state
    assert planning.change(BLOCK, state, config(until="2026-01-02T00:00:00Z")).state["until"] == "2026-01-02T00:00:00Z"


def test_the_order_of_a_list_counts() -> None:
    assert planning.change(BLOCK, made(tags=["a", "b"]), config(tags=["b", "a"])).state["tags"] == ["b", "a"]


def test_replacing_data_is_refused_and_says_how_it_is_allowed() -> None:
    plan = planning.change(BLOCK, made(), config(name="two"))
    assert plan.replaces == ("name",)
    assert [refusal.attribute for refusal in plan.refusals] == ["name"]
    text = plan.refusals[0].detail
    assert '"one"' in text and '"two"' in text and "allow_replacement = true" in text and "top/one" in text


def test_replacing_data_is_planned_when_the_user_agrees() -> None:
    plan = planning.change(BLOCK, made(), config(name="two", allow_replacement=True))
    assert (plan.replaces, plan.refusals) == (("name",), ())
    assert plan.state["id"] == "top/two"
    assert plan.state["gadget_id"] is UNKNOWN and plan.state["host"] is UNKNOWN


def test_what_holds_no_data_is_replaced_without_asking() -> None:
    block = TABLES.resources["shop_ticket"]
    prior = dict.fromkeys(block.named) | {"reason": "x", "ticket_id": "t1", "id": "t1"}
    plan = planning.change(block, prior, dict.fromkeys(block.named) | {"reason": "y"})
    assert (plan.replaces, plan.refusals) == (("reason",), ())
    assert "allow_replacement" not in block.named


def test_an_unknown_immutable_value_replaces_only_where_nothing_is_lost() -> None:
    kept = planning.change(BLOCK, made(), config(name=UNKNOWN))
    assert (kept.replaces, kept.refusals) == ((), ())
    agreed = planning.change(BLOCK, made(), config(name=UNKNOWN, allow_replacement=True))
    assert agreed.replaces == ("name",)
    block = TABLES.resources["shop_ticket"]
    prior = dict.fromkeys(block.named) | {"reason": "x", "ticket_id": "t1", "id": "t1"}
    assert planning.change(block, prior, dict.fromkeys(block.named) | {"reason": UNKNOWN}).replaces == ("reason",)


def test_a_protected_object_is_neither_deleted_nor_replaced() -> None:
    state = made(locked=True)
    assert [refusal.attribute for refusal in planning.removal(BLOCK, state)] == ["locked"]
    plan = planning.change(BLOCK, state, config(name="two", allow_replacement=True, locked=False))
    assert [refusal.attribute for refusal in plan.refusals] == ["locked"]
    assert planning.removal(BLOCK, made()) == ()


def test_settings_of_the_provider_alone_send_nothing() -> None:
    state = made()
    plan = planning.change(
        BLOCK, state, config(allow_replacement=True, timeouts=dict.fromkeys(("create", "read"), "1m"))
    )
    assert planning.sent(BLOCK, state, plan.state) == ()
    assert not has_unknown(plan.state)


def test_the_second_plan_of_an_apply_agrees_with_the_first() -> None:
    first = planning.create(BLOCK, config(note=UNKNOWN)).state
    second = planning.create(BLOCK, config(note="now known")).state
    assert {name for name in first if first[name] is not UNKNOWN and first[name] != second[name]} == set()


def test_an_answer_of_the_server_never_contradicts_the_plan() -> None:
    planned = planning.create(BLOCK, config(name="one", tags=["a"], note=None)).state
    state = planning.answered(BLOCK, planned, answer(name="ONE", tags=["A"], note="", color="blue"))
    assert (state["name"], state["tags"], state["note"], state["color"]) == ("one", ["a"], None, "red")
    assert state["gadget_id"] == "gad_1"
    assert not has_unknown(state)


def test_nothing_unknown_is_left_when_the_server_says_nothing() -> None:
    assert not has_unknown(planning.answered(BLOCK, planning.create(BLOCK, config(note=UNKNOWN)).state, {}))


def test_a_refresh_shows_drift_and_keeps_the_users_form() -> None:
    state = made(until="2026-01-01T01:00:00+01:00", note="n")
    now = planning.reached(BLOCK, state, answer(until="2026-01-01T00:00:00Z", note="other", weight=7, state="busy"))
    assert now["until"] == "2026-01-01T01:00:00+01:00"
    assert (now["note"], now["state"]) == ("other", "busy")
    kept = planning.reached(BLOCK, state | {"allow_replacement": True, "passphrase_wo_version": 3}, answer())
    assert (kept["allow_replacement"], kept["passphrase_wo_version"], kept["passphrase_wo"]) == (True, 3, None)


@pytest.mark.parametrize("name", [a.name for a in BLOCK.attributes if a.role in ("input", "output") and a.field])
def test_drift_of_every_field_is_seen(name: str) -> None:
    others = {
        "text": "drifted",
        "enum": "blue",
        "whole": 99,
        "number": Decimal("9.5"),
        "flag": None,
        "time": "2030-01-01T00:00:00Z",
    }
    state = made()
    kind = BLOCK.named[name].field.type.kind  # type: ignore[union-attr]
    other: Any = others.get(kind)
    if kind == "flag":
        other = not state[name]
    elif kind == "list":
        other = ["x"] if name == "tags" else [{"host": "x", "port": 1, "note": None}]
    elif kind == "map":
        other = {"x": "y"} if name == "labels" else {"x": {"width": 1, "depth": 1}}
    elif kind == "object":
        other = {"width": 9, "depth": 9}
    assert planning.reached(BLOCK, state, answer(**{name: other}))[name] == other != state[name]


def test_an_import_knows_all_but_what_is_never_told() -> None:
    state = planning.reached(BLOCK, {}, answer(note="n"))
    assert (state["id"], state["note"], state["gadget_id"]) == ("top/one", "n", "gad_1")
    assert (state["timeouts"], state["allow_replacement"], state["passphrase_wo"]) == (None, None, None)
    assert planning.change(BLOCK, state, config(note="n")).state == state


def test_secrets_stay_out_of_the_state_where_that_is_wished() -> None:
    planned = planning.create(BLOCK, config(pin="1234"), secrets_in_state=False).state
    assert planned["token"] is None
    state = planning.answered(BLOCK, planned, answer(pin="1234"), secrets_in_state=False)
    assert state["token"] is None
    assert state["pin"] == "1234", "what the user wrote himself must agree with the configuration"
    assert planning.reached(BLOCK, state, answer(), secrets_in_state=False)["token"] is None
    plan = planning.change(BLOCK, state, config(pin="1234", weight=8), secrets_in_state=False)
    assert plan.state["token"] is None
    before = made()
    assert planning.change(BLOCK, before, config(), secrets_in_state=False).state["token"] is None
