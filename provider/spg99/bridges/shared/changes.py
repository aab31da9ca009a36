"""What changes between what is and what a user wants, and whether data would be lost by it. Pure, over shapes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from spg99.bridges.shared import values
from spg99.bridges.shared.unknown import UNKNOWN, has_unknown
from spg99.bridges.shared.values import Spelling
from spg99.bridges.shared.words import Words
from spg99.shapes import ALLOW_REPLACEMENT, Field, Noun


class Change(NamedTuple):
    """One input that differs."""

    field: str
    old: Any
    new: Any
    """The wanted value, null to unset it, or UNKNOWN."""
    replaces: bool
    """The change needs another object. False while the new value is unknown: then nobody can say yet."""


def diff(
    noun: Noun,
    *,
    old_outputs: Mapping[str, Any],
    new_inputs: Mapping[str, Any],
    old_inputs: Mapping[str, Any] | None = None,
) -> list[Change]:
    """The inputs that differ from what the system last answered, in the noun's order.

    What a user never wrote is never a change, and neither is a volatile field. A secret that the system does not tell
    is compared with what was written last (`old_inputs`).
    """
    changes = []
    for field in noun.inputs:
        if field.volatile:
            continue
        name = field.name
        was = None if old_inputs is None else old_inputs.get(name)
        old = old_outputs.get(name)
        if old is None and field.secret:
            old = was  # the API does not tell a secret again; what was written last is what is there
        new = new_inputs.get(name)
        if has_unknown(new):
            changes.append(Change(name, old, UNKNOWN, replaces=False))
        elif _differs(field, was=was, old=old, new=new):
            changes.append(Change(name, old, new, replaces=field.immutable))
    return changes


def _differs(field: Field, *, was: Any, old: Any, new: Any) -> bool:
    if new is None:
        return was is not None and old is not None
    if old is None and was is None and new == field.default:
        return False  # a field this version knows and the one that wrote the state did not: its default is no change
    return not values.same(field.type, old, new)


def same(noun: Noun, name: str, one: Any, other: Any) -> bool:
    """Whether two JSON values of a field mean the same: 2026-01-01T00:00:00Z is 2026-01-01T01:00:00+01:00."""
    field = noun.input_named(name) or noun.output_named(name)
    return one == other if field is None else values.same(field.type, one, other)


def refused_replacements(
    noun: Noun,
    *,
    old_inputs: Mapping[str, Any],
    new_inputs: Mapping[str, Any],
    old_outputs: Mapping[str, Any] | None = None,
    spelling: Spelling = str,
) -> dict[str, str]:
    """A sentence for each field whose new value would destroy data; empty when nothing would or the user agrees.

    Whether the object is protected says `old_outputs`, where the tool tells them to a check, else what was written last.
    """
    if not old_inputs:
        return {}
    found = diff(noun, old_outputs=old_inputs, new_inputs=new_inputs, old_inputs=old_inputs)
    known = {**old_inputs, **(old_outputs or {})}
    return destroying(noun, found, known, agreed=agrees(new_inputs), spelling=spelling)


def agrees(inputs: Mapping[str, Any]) -> bool:
    """Whether the user agreed that a replacement destroys data."""
    return inputs.get(ALLOW_REPLACEMENT) is True


def destroying(
    noun: Noun,
    found: Iterable[Change],
    old_outputs: Mapping[str, Any],
    *,
    agreed: bool,
    spelling: Spelling = str,
    agreement: str = "",
) -> dict[str, str]:
    """The one rule for replacements, in every bridge: why these changes must not be made, by field; empty when they may.

    Refused is what needs another object while the present one is protected, or holds data that nobody agreed to lose.
    `agreement` says in the tool's words how to agree.
    """
    replacing = [change for change in found if change.replaces]
    if not replacing:
        return {}
    if (protection := refused_deletion(noun, old_outputs, spelling=spelling)) is not None:
        return {replacing[0].field: f"cannot change in place, and the {_words(noun)} cannot be replaced. {protection}"}
    if agreed or not noun.holds_data:
        return {}
    secrets = noun.secrets()
    how = agreement or f"set {spelling(ALLOW_REPLACEMENT)} to true"
    refused = {}
    for change in replacing:
        is_secret = change.field in secrets
        step = "cannot change" if is_secret else f"cannot change from {_json(change.old)} to {_json(change.new)}"
        keep = "the old value" if is_secret else _json(change.old)
        refused[change.field] = (
            f"{step} in place: the {_named(noun, old_outputs)} would be replaced by an empty one and its data destroyed. Keep "
            f"{keep}, or {how} if that is what you want."
        )
    return refused


def refused_update(
    noun: Noun,
    found: Iterable[Change],
    old_outputs: Mapping[str, Any],
    new_inputs: Mapping[str, Any],
    *,
    spelling: Spelling = str,
) -> str | None:
    """Why a tool must not make these changes, in one sentence; None when it may.

    No Diff ever raises it: a refresh asks Diff too. It tells a refused replacement as an update, and the update is refused.
    Checks refuse what a program's edit would destroy; here it is also seen when the object itself has become another.
    """
    refused = destroying(noun, found, old_outputs, agreed=agrees(new_inputs), spelling=spelling)
    return next((f"{spelling(name)} {reason}" for name, reason in refused.items()), None)


def refused_deletion(noun: Noun, old_outputs: Mapping[str, Any], *, spelling: Spelling = str) -> str | None:
    """Why this object cannot be deleted (nor replaced) now, for the plan; None when nothing protects it."""
    if noun.protected_by is None or not noun.is_protected(old_outputs):
        return None
    flag = spelling(noun.protected_by)
    return f"The {_named(noun, old_outputs)} is protected: {flag} is on. Set it to false and apply that first; then it can be deleted."


def own_inputs(noun: Noun) -> tuple[str, ...]:
    """Inputs of a bridge itself, which the noun does not know and the Control Plane never hears of."""
    return (ALLOW_REPLACEMENT,) if noun.holds_data else ()


def how_to_replace(noun: Noun, words: Words) -> str:
    """What to do for a replacement that is meant, and for one that is not, in the tool's words."""
    agree = f" and set {words.spelling(ALLOW_REPLACEMENT)} to true (its data is destroyed)" if noun.holds_data else ""
    return words.replace.format(agree=agree)


def deletes_before_replace(noun: Noun, changes: list[Change]) -> bool:
    """Whether the old object must go first: both would have the same name."""
    inputs = {field.name for field in noun.inputs}
    names = [name for name in noun.id_fields() if name in inputs]
    return bool(names) and not any(change.field in names for change in changes)


def patch(noun: Noun, changes: list[Change]) -> dict[str, Any]:
    """The body of a PATCH that makes these changes."""
    fields = noun.input_fields()
    return {
        change.field: values.canonical(fields[change.field].type, change.new)
        for change in changes
        if not change.replaces
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _named(noun: Noun, outputs: Mapping[str, Any]) -> str:
    """`database 'acme/app'`, as far as the id is known."""
    known = all(outputs.get(name) is not None and not has_unknown(outputs[name]) for name in noun.id_fields())
    return f"{_words(noun)} '{noun.id_of(outputs)}'" if known else _words(noun)


def _words(noun: Noun) -> str:
    return noun.noun.replace("_", " ")
