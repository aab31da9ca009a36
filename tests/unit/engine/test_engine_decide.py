"""The decisions of the embedded engine, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from spg99.engine.decide import (
    Change,
    Difference,
    Goal,
    Kind,
    decide,
    decide_exchange,
    refuse_deletion,
    trigger_fired,
    wants_import,
)
from spg99.engine.state import Resource
from spg99.engine.values import UNKNOWN, secret

NONE = Difference(changed=False)
SOME = Difference(changed=True, keys=("text",), details={"text": Change.UPDATE})
FORCED = Difference(changed=True, keys=("kind",), replaces=("kind",))
DELETE_FIRST = Difference(changed=True, replaces=("kind",), delete_before_replace=True)
DEEP = Difference(changed=True, details={"labels.a.b": Change.ADD}, keys=("labels",))


def old(**fields: Any) -> Resource:
    return Resource("urn:pulumi:dev::p::a:b:C::x", "a:b:C", id="1", **fields)


@pytest.mark.parametrize(
    ("what", "goal", "difference", "kind", "keys", "delete_first"),
    [
        (None, Goal(), NONE, Kind.CREATE, (), False),
        (old(external=True), Goal(), NONE, Kind.CREATE, (), False),
        (old(), Goal(), NONE, Kind.SAME, (), False),
        (old(), Goal(), SOME, Kind.UPDATE, (), False),
        (old(), Goal(), FORCED, Kind.REPLACE, ("kind",), False),
        (old(), Goal(), DELETE_FIRST, Kind.REPLACE, ("kind",), True),
        (old(), Goal(delete_before_replace=False), DELETE_FIRST, Kind.REPLACE, ("kind",), False),
        (old(), Goal(delete_before_replace=True), FORCED, Kind.REPLACE, ("kind",), True),
        (old(init_errors=["x"]), Goal(), NONE, Kind.UPDATE, (), False),
        (old(init_errors=["x"]), Goal(replace_on_changes=["*"]), NONE, Kind.REPLACE, ("#initerror",), False),
        (old(pending_replacement=True), Goal(), NONE, Kind.REPLACE, (), False),
        (old(), Goal(replace_on_changes=["text"]), SOME, Kind.REPLACE, ("text",), False),
        (old(), Goal(replace_on_changes=["other"]), SOME, Kind.UPDATE, (), False),
        (old(), Goal(replace_on_changes=["text"]), NONE, Kind.SAME, (), False),
        (old(), Goal(replace_on_changes=["labels.a"]), DEEP, Kind.REPLACE, ("labels.a.b",), False),
        (old(), Goal(replace_on_changes=["labels.*"]), DEEP, Kind.REPLACE, ("labels.a.b",), False),
        (old(), Goal(replace_on_changes=["labels.c"]), DEEP, Kind.UPDATE, (), False),
        (old(replacement_trigger=1), Goal(replacement_trigger=2), NONE, Kind.REPLACE, ("replacementTrigger",), False),
        (old(protect=True), Goal(), FORCED, Kind.REPLACE, ("kind",), False),
    ],
)
def test_decide(
    what: Resource | None, goal: Goal, difference: Difference, kind: Kind, keys: tuple[str, ...], delete_first: bool
) -> None:
    decision = decide(what, goal, difference)
    assert (decision.kind, decision.replace_keys, decision.delete_first, decision.refusal) == (
        kind,
        keys,
        delete_first,
        None,
    )


def test_reasons_of_the_engine_force_a_replacement() -> None:
    assert decide(old(), Goal(), NONE, forced=("provider",)).replace_keys == ("provider",)
    assert decide(None, Goal(), NONE, forced=("provider",)).kind is Kind.CREATE


def test_protected_and_imported_are_not_replaced() -> None:
    refused = decide(old(protect=True), Goal(protect=True), FORCED)
    assert refused.refusal and "because of kind" in refused.refusal and "protected" in refused.refusal
    refused = decide(old(), Goal(import_id="1"), FORCED)
    assert refused.refusal and "import_" in refused.refusal
    assert decide(old(protect=True), Goal(protect=True), SOME).refusal is None


@pytest.mark.parametrize(
    ("what", "id_", "custom", "wanted"),
    [
        (None, "7", True, True),
        (None, "", True, False),
        (None, "7", False, False),
        (old(), "1", True, False),
        (old(), "7", True, True),
        (old(import_id="7"), "7", True, False),
        (old(external=True), "1", True, True),
    ],
)
def test_import(what: Resource | None, id_: str, custom: bool, wanted: bool) -> None:
    assert wants_import(Goal(import_id=id_), what, custom=custom) is wanted


@pytest.mark.parametrize("delete", [False, True], ids=["live", "pending"])
def test_deletion_of_the_protected_is_refused_until_the_program_unprotects_it(delete: bool) -> None:
    assert refuse_deletion(old(delete=delete), program_protects=None) is None
    kept = old(protect=True, delete=delete)
    for says in (None, True):
        assert "protected" in (refuse_deletion(kept, program_protects=says) or "")
    assert refuse_deletion(kept, program_protects=False) is None


def test_an_import_in_place_of_a_protected_one_is_refused() -> None:
    goal = Goal(import_id="other", protect=True)
    assert "'other' in its place would delete it" in (decide_exchange(old(protect=True), goal).refusal or "")
    assert decide_exchange(old(protect=True), Goal(import_id="other")).refusal is None
    assert decide_exchange(old(), goal).refusal is None


@pytest.mark.parametrize(
    ("before", "after", "fired"),
    [(None, 1, False), (1, None, False), (1, 1, False), (1, 2, True), (1, UNKNOWN, True), (secret(1), 1, False)],
)
def test_trigger(before: Any, after: Any, fired: bool) -> None:
    assert trigger_fired(before, after) is fired
