"""What changes between what is and what a user wants, and whether data would be lost by it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from spg99.bridges.inputs import defaults, typed
from spg99.bridges.unknown import UNKNOWN, has_unknown
from spg99.resources import Mark, Resource, marks_of

ALLOW_REPLACEMENT = "allow_replacement"
"""Input of every resource in every bridge: the user agrees that data is destroyed. Never sent to the API."""


@dataclass(frozen=True)
class Change:
    """One input that differs."""

    field: str
    old: Any
    new: Any
    """The wanted value, null to unset it, or UNKNOWN."""
    replaces: bool
    """The change needs another object. False while the new value is unknown: then nobody can say yet."""


def diff(
    noun: type[Resource],
    *,
    old_outputs: Mapping[str, Any],
    new_inputs: Mapping[str, Any],
    old_inputs: Mapping[str, Any] | None = None,
) -> list[Change]:
    """The inputs that differ from what the system last answered, in the Spec's order.

    What a user never wrote is never a change, and neither is a field marked Volatile.
    """
    changes = []
    for name, info in noun.inputs().items():
        marks = marks_of(info)
        if Mark.VOLATILE in marks:
            continue
        was = None if old_inputs is None else old_inputs.get(name)
        old = old_outputs.get(name)
        if old is None and Mark.SECRET in marks:
            old = was  # the API does not tell a secret again; what was written last is what is there
        new = new_inputs.get(name)
        if has_unknown(new):
            changes.append(Change(name, old, UNKNOWN, replaces=False))
        elif _differs(noun, name, was=was, old=old, new=new):
            changes.append(Change(name, old, new, replaces=Mark.IMMUTABLE in marks))
    return changes


def _differs(noun: type[Resource], name: str, *, was: Any, old: Any, new: Any) -> bool:
    if new is None:
        return was is not None and old is not None
    if old is None and was is None and new == defaults(noun.SPEC).get(name):
        return False  # a field this version knows and the one that wrote the state did not: its default is no change
    return not same(noun, name, old, new)


def same(noun: type[Resource], name: str, one: Any, other: Any) -> bool:
    """Whether two JSON values of a field mean the same: 2026-01-01T00:00:00Z is 2026-01-01T01:00:00+01:00."""
    if one == other:
        return True
    if one is None or other is None:
        return False
    try:
        return bool(getattr(typed(noun.SPEC, {name: one}), name) == getattr(typed(noun.SPEC, {name: other}), name))
    except ValidationError:
        return False


def refused_replacements(
    noun: type[Resource], *, old_inputs: Mapping[str, Any], new_inputs: Mapping[str, Any]
) -> dict[str, str]:
    """A sentence for each field whose new value would destroy data; empty when nothing would or the user agrees."""
    if not noun.HOLDS_DATA or not old_inputs or new_inputs.get(ALLOW_REPLACEMENT) is True:
        return {}
    changes = diff(noun, old_outputs=old_inputs, new_inputs=new_inputs, old_inputs=old_inputs)
    return {
        change.field: (
            f"cannot change from {json.dumps(change.old)} to {json.dumps(change.new)} in place: the {noun.NOUN} would be "
            f"replaced by an empty one and its data destroyed. Keep {json.dumps(change.old)}, or set "
            f"{ALLOW_REPLACEMENT} (allowReplacement) to true if that is what you want."
        )
        for change in changes
        if change.replaces
    }


def deletes_before_replace(noun: type[Resource], changes: list[Change]) -> bool:
    """Whether the old object must go first: both would have the same name."""
    names = [name for name in noun.id_fields() if name in noun.inputs()]
    return bool(names) and not any(change.field in names for change in changes)


def patch(noun: type[Resource], changes: list[Change]) -> dict[str, Any]:
    """The body of a PATCH that makes these changes."""
    return {change.field: change.new for change in changes if not change.replaces}
