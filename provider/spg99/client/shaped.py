"""An answer as plain values, checked against a noun's shape. Here: what a bridge needs, without the classes of resources/.

A newer Control Plane may tell more than this version knows: unknown fields are left out, unknown states and other texts
of an enumeration pass. What is missing or of another kind is an error that names fields, never values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spg99.errors import Internal
from spg99.shapes import Field, Noun, Type

_PLAIN: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "enum": str,
    "time": str,
    "whole": int,
    "number": (int, float),
    "flag": bool,
}


def checked(noun: Noun, value: Any) -> dict[str, Any]:
    """The fields of an object that was answered, defaults filled in. Raises Internal."""
    bad: list[str] = []
    found = _object(noun.outputs, value, "", bad)
    if bad:
        raise Internal(
            f"The Control Plane answered a {noun.noun.replace('_', ' ')} that this version does not understand (fields: "
            f"{', '.join(sorted(bad))}). Client and Control Plane should have the same version."
        )
    return found


def _object(fields: tuple[Field, ...], value: Any, at: str, bad: list[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        bad.append(at or "(all)")
        return {}
    found: dict[str, Any] = {}
    for field in fields:
        path = f"{at}.{field.name}" if at else field.name
        if field.name not in value:
            if field.required:
                bad.append(path)
            found[field.name] = field.default
        elif value[field.name] is None:
            if not field.nullable:
                bad.append(path)
            found[field.name] = None
        else:
            found[field.name] = _value(field.type, value[field.name], path, bad)
    return found


def _value(type_: Type, value: Any, at: str, bad: list[str]) -> Any:
    plain = _PLAIN.get(type_.kind)
    if plain is not None:
        if not isinstance(value, plain) or (isinstance(value, bool) and type_.kind != "flag"):
            bad.append(at)
        return value
    if type_.kind == "object":
        return _object(type_.fields, value, at, bad)
    item = type_.of or Type("text")
    if type_.kind == "list" and isinstance(value, list):
        return [_value(item, held, f"{at}.{place}", bad) for place, held in enumerate(value)]
    if type_.kind == "map" and isinstance(value, Mapping):
        # A key may be a user's word, but not his secret: it is left out of the path all the same.
        return {key: _value(item, held, f"{at}.*", bad) for key, held in value.items()}
    bad.append(at)
    return value
