"""Checks what a user wrote against a noun's Spec: every failure at once, each on its field, unknown values allowed. Pure.

A rule of the Spec that looks at several fields (a model validator) speaks as "field: sentence" to say where it belongs.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError, create_model, model_validator
from pydantic_core import to_jsonable_python

from spg99.bridges.unknown import has_unknown
from spg99.resources import Mark, Resource, Spec, marks_of

EXACT_WHOLE_NUMBER_MAX = 2**53
"""Tools send every number as a double; beyond this a whole number is no longer the one the user wrote."""
SHOWN_CHARACTERS_MAX = 60
_ON_FIELD = re.compile(r"^([a-z_][a-z0-9_.]*): (.+)$", re.DOTALL)


@dataclass(frozen=True)
class Failure:
    """One thing that is wrong with what the user wrote."""

    path: tuple[str | int, ...]
    """Field, then keys and positions inside it; empty when no field is to blame."""
    reason: str


@dataclass(frozen=True)
class Checked:
    """What the user wrote, whole numbers whole and defaults filled in, and what is wrong with it."""

    inputs: dict[str, Any]
    failures: list[Failure] = field(default_factory=list)


def check(noun: type[Resource], raw: Mapping[str, Any], *, spelling: Callable[[str], str] = str) -> Checked:
    """Checks inputs under our field names. `spelling` turns a field name into what the user reads in suggestions."""
    spec = noun.SPEC
    failures = [_no_such_field(noun, name, spelling) for name in raw if name not in spec.model_fields]
    given = {name: whole(value) for name, value in raw.items() if name in spec.model_fields and value is not None}
    known = {name: value for name, value in given.items() if not has_unknown(value)}
    failures += [
        Failure((name,), "is required")
        for name, info in spec.model_fields.items()
        if info.is_required() and name not in given
    ]
    bad = _field_failures(spec, known)
    failures += bad
    absent = {str(failure.path[0]) for failure in bad} | (spec.model_fields.keys() - _answered(spec, known, given))
    failures += _rule_failures(spec, {name: value for name, value in known.items() if name not in absent}, absent)
    return Checked(defaults(spec) | given, failures)


def whole(value: Any) -> Any:
    """`value` with 300.0 as 300, at every depth: the wire of the tools knows only doubles."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_WHOLE_NUMBER_MAX:
        return int(value)
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole(item) for item in value]
    return value


@cache
def defaults(spec: type[Spec]) -> dict[str, Any]:
    """What stands in for fields a user leaves out, as JSON values; without those whose default is null."""
    found = {
        name: to_jsonable_python(info.get_default(call_default_factory=True))
        for name, info in spec.model_fields.items()
        if not info.is_required()
    }
    return {name: value for name, value in found.items() if value is not None}


def typed(spec: type[Spec], values: Mapping[str, Any]) -> BaseModel:
    """These JSON values with their types, each field by itself. Raises ValidationError."""
    return _loose(spec).model_validate_json(json.dumps(values, default=_no_json), strict=True)


@cache
def _loose(spec: type[Spec]) -> type[BaseModel]:
    """The Spec with every field optional and without its rules across fields."""
    fields: dict[str, Any] = {}
    for name, info in spec.model_fields.items():
        optional = copy.copy(info)
        optional.default, optional.default_factory = None, None
        fields[name] = (info.annotation, optional)
    silent: dict[str, Any] = {
        name: model_validator(mode="after")(lambda self: self)
        for name, rule in spec.__pydantic_decorators__.model_validators.items()
        if rule.info.mode == "after"
    }
    return create_model(spec.__name__, __base__=spec, __validators__=silent, **fields)


def _answered(spec: type[Spec], known: Mapping[str, Any], given: Mapping[str, Any]) -> set[str]:
    """Fields whose final value is known: written and known, or left out with a default."""
    left_out = {name for name, info in spec.model_fields.items() if name not in given and not info.is_required()}
    return set(known) | left_out


def _field_failures(spec: type[Spec], known: Mapping[str, Any]) -> list[Failure]:
    try:
        typed(spec, known)
    except ValidationError as error:
        return [_failure(spec, detail) for detail in error.errors(include_url=False)]
    return []


def _rule_failures(spec: type[Spec], good: Mapping[str, Any], absent: set[str]) -> list[Failure]:
    """Failures of the rules across fields; a rule that needs an absent field is left for later."""
    seen = spec.model_construct(**{name: getattr(typed(spec, good), name) for name in good})
    for name in absent:
        seen.__dict__.pop(name, None)
    failures = []
    for name, rule in spec.__pydantic_decorators__.model_validators.items():
        if rule.info.mode != "after":
            continue
        try:
            getattr(seen, name)()
        except AttributeError:
            continue  # it asked for a field that is unknown or wrong in itself
        except (ValueError, AssertionError) as error:
            failures.append(_on_field(spec, str(error)))
    return failures


def _on_field(spec: type[Spec], sentence: str) -> Failure:
    match = _ON_FIELD.match(sentence)
    if match and match[1].split(".")[0] in spec.model_fields:
        return Failure(tuple(match[1].split(".")), match[2])
    return Failure((), sentence)


def _failure(spec: type[Spec], detail: Any) -> Failure:
    path = tuple(detail["loc"])
    cause = detail.get("ctx", {}).get("error")
    if detail["type"] == "extra_forbidden":
        return Failure(path, "there is no such field")
    reason = str(cause) if isinstance(cause, Exception) else str(detail["msg"])
    value = detail["input"]
    is_secret = Mark.SECRET in marks_of(spec.model_fields[path[0]])
    if isinstance(value, str | int | float) and not is_secret and len(str(value)) <= SHOWN_CHARACTERS_MAX:
        reason += f", not {json.dumps(value)}"
    return Failure(path, reason)


def _no_such_field(noun: type[Resource], name: str, spelling: Callable[[str], str]) -> Failure:
    if name in noun.outputs() or name in {spelling(output) for output in noun.outputs()}:
        return Failure((name,), "is filled in by the system and cannot be set")
    names = [spelling(known) for known in noun.inputs()]
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(names)}"
    return Failure((name,), f"a {noun.NOUN.replace('_', ' ')} has no such field; {hint}")


def _no_json(value: Any) -> Any:
    """A stand-in that no field takes, so that a file asset given for a name fails on that name."""
    return {"not a plain value": type(value).__name__}
