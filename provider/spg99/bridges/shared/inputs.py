"""Checks what a user wrote against a noun's shape: every failure at once, each on its path, unknown values allowed. Pure.

Here: a whole declaration and the rules across its fields. Not here: one value and its type (values.py).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from spg99.bridges.shared.unknown import has_unknown
from spg99.bridges.shared.values import Failure, Path, Spelling, failures_in, suggestion, whole, without_nulls
from spg99.errors import Spg99Error
from spg99.rules import Rule
from spg99.shapes import Field, Noun, Type

__all__ = ["Checked", "Failure", "a", "check", "check_fields", "defaults", "failures_of", "whole"]

_ON_FIELD = r"(?s)^([a-z_][a-z0-9_.]*): (.+)$"
"""Compiled when a rule complains, not when a process starts."""


class Checked(NamedTuple):
    """What the user wrote, whole numbers whole and defaults filled in, and what is wrong with it."""

    inputs: dict[str, Any]
    failures: list[Failure]
    warnings: list[Failure]
    """Fields in use that are deprecated, each with what to use instead."""


def check(noun: Noun, raw: Mapping[str, Any], *, spelling: Spelling = str) -> Checked:
    """Checks inputs under our field names. `spelling` turns a field name into what the user reads in suggestions.

    Null means: not written. A container with something unknown in it is judged in its known parts.
    """
    outputs = {item.name for item in noun.outputs}
    checked = check_fields(noun.inputs, raw, what=a(noun.noun.replace("_", " ")), filled_in=outputs, spelling=spelling)
    if noun.rules:
        checked.failures.extend(_rule_failures(noun, checked))
    return checked


def check_fields(
    fields: tuple[Field, ...],
    raw: Mapping[str, Any],
    *,
    what: str,
    filled_in: set[str] | frozenset[str] = frozenset(),
    spelling: Spelling = str,
) -> Checked:
    """Checks values of these fields (a noun's, an ephemeral's, a provider's) without rules; `what` ("a database") has them.

    `filled_in` names what the system answers: who sets one of these is told so.
    """
    known = {item.name: item for item in fields}
    failures = [
        _no_such_field(name, known, what=what, filled_in=filled_in, spelling=spelling)
        for name in raw
        if name not in known
    ]
    given: dict[str, Any] = {}
    warnings: list[Failure] = []
    for name, item in known.items():
        value = raw.get(name)
        if value is None:
            if item.required:
                failures.append(Failure((name,), "is required"))
            elif item.default is not None:
                given[name] = _fresh(item.default)
            continue
        value = given[name] = without_nulls(item.type, whole(value))
        failures += failures_in(item.type, value, (name,), secret=item.secret, spelling=spelling)
        if item.deprecated is not None:
            warnings.append(Failure((name,), f"is deprecated: {item.deprecated}"))
    return Checked(given, failures, warnings)


def a(words: str) -> str:
    """With its article: a database, an api key."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def defaults(noun: Noun) -> dict[str, Any]:
    """What stands in for fields a user leaves out, as JSON values; without those whose default is null."""
    return {item.name: _fresh(item.default) for item in noun.inputs if item.default is not None}


def _fresh(default: Any) -> Any:
    """A default that its receiver may change."""
    if isinstance(default, list):
        return list(default)
    return dict(default) if isinstance(default, dict) else default


def failures_of(fields: tuple[Field, ...], error: Spg99Error) -> list[Failure]:
    """The fields that the Control Plane refused (`error.fields`), each on its path; one that nobody knows has no path."""
    found = []
    for dotted, reason in error.fields.items():
        path = _path_of(fields, dotted)
        found.append(Failure(path, reason) if path else Failure((), f"{dotted}: {reason}"))
    return found


def _path_of(fields: tuple[Field, ...], dotted: str) -> Path:
    """`steps.0.max_items` as a path; empty when its first step is no field."""
    first, *rest = dotted.split(".")
    item = next((known for known in fields if known.name == first), None)
    if item is None:
        return ()
    path: list[str | int] = [first]
    type_: Type | None = item.type
    for step in rest:
        is_place = type_ is not None and type_.kind == "list" and step.isdigit()
        path.append(int(step) if is_place else step)
        type_ = None if type_ is None else type_at(type_, path[-1])
    return tuple(path)


def type_at(type_: Type, step: str | int) -> Type | None:
    """The type of what stands at this key or position of a value; None when nothing can stand there."""
    if type_.kind == "object":
        return next((inner.type for inner in type_.fields if inner.name == step), None)
    return type_.of if type_.kind in ("list", "map") else None


def _rule_failures(noun: Noun, checked: Checked) -> list[Failure]:
    """Failures of the rules across fields; one that needs a field that is unknown or wrong in itself waits."""
    bad = {failure.path[0] for failure in checked.failures if failure.path}
    seen = {
        item.name: checked.inputs.get(item.name)
        for item in noun.inputs
        if item.name not in bad and not has_unknown(checked.inputs.get(item.name))
    }
    names = {item.name for item in noun.inputs}
    failures = []
    for reference in noun.rules:
        try:
            sentence = _rule(reference)(seen)
        except KeyError:
            continue
        if sentence is not None:
            match = re.match(_ON_FIELD, sentence)
            on_field = match is not None and match[1].split(".")[0] in names
            path = _path_of(noun.inputs, match[1]) if match is not None and on_field else ()
            failures.append(Failure(path, match[2] if match is not None and on_field else sentence))
    return failures


@cache
def _rule(reference: str) -> Rule:
    """The function that `module:function` names."""
    module, _, name = reference.partition(":")
    __import__(module)  # importlib would take longer to import than all of this file
    found: Rule = getattr(sys.modules[module], name)
    return found


def _no_such_field(
    name: str, known: Mapping[str, Field], *, what: str, filled_in: set[str] | frozenset[str], spelling: Spelling
) -> Failure:
    if name in filled_in or name in {spelling(output) for output in filled_in}:
        return Failure((name,), "is filled in by the system and cannot be set")
    return Failure((name,), f"{what} has no such field{suggestion(name, map(spelling, known))}")
