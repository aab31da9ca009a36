"""What a page says about a field: meaning, values, bounds, default, what a change does. Pure. Not here: which attribute it becomes."""

from __future__ import annotations

from typing import Any

from spg99.shapes import Field, Type


def describe(field: Field, *, is_input: bool = True) -> str:
    """What a page says about a field: its meaning, values, bounds, default and what a change does."""
    parts = [field.description]
    inner = field.type.of if field.type.kind in ("list", "map") and field.type.of is not None else field.type
    if inner.kind == "enum":
        parts.append(
            "Values: " + "; ".join(_value_text(value.value, value.description) for value in inner.values) + "."
        )
    if is_input:
        bounds = _bounds(field.type)
        if bounds:
            parts.append(bounds)
        if field.default is not None:
            parts.append(f"Default: `{_default_text(field.default)}`.")
        if field.immutable:
            parts.append("Another value means another object.")
    if field.deprecated:
        parts.append(f"Deprecated: {field.deprecated}")
    return " ".join(part for part in parts if part)


def _default_text(default: Any) -> str:
    if isinstance(default, str):
        return default
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int):
        return str(default)
    import json  # a third of a start's imports, for the rare default that is a list or an object

    return json.dumps(default)


def _value_text(value: str, description: str) -> str:
    return f"`{value}` ({description.rstrip('.')})" if description else f"`{value}`"


def _bounds(type_: Type) -> str:
    said = [
        f"{words} {bound}"
        for words, bound in (
            ("at least", type_.at_least),
            ("at most", type_.at_most),
            ("above", type_.above),
            ("below", type_.below),
        )
        if bound is not None
    ]
    unit = "characters" if type_.kind == "text" else "items"
    if type_.min_length:
        said.append(f"at least {type_.min_length} {unit}")
    if type_.max_length is not None:
        said.append(f"at most {type_.max_length} {unit}")
    if type_.pattern:
        said.append(f"of the form `{type_.pattern}`")
    return f"{', '.join(said)[:1].upper()}{', '.join(said)[1:]}." if said else ""
