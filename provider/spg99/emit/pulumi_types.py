"""Fields and types as Pulumi's schema writes them. Not here: resources, functions and the package around them (pulumi_schema.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from spg99.emit.names import camel, pascal, snake
from spg99.shapes import Field, Noun, Package, Type

DYNAMIC = "pulumi-python:dynamic"
"""How Pulumi's SDK begins the type of each dynamic resource that names a module of its own."""
_PLAIN = {"text": "string", "time": "string", "enum": "string", "number": "number", "flag": "boolean"}

ALLOW_REPLACEMENT_DESCRIPTION = (
    "Agree that a change which cannot be made in place replaces the object and destroys its data. Without it such a change "
    "is refused in the preview."
)
"""What the input `allow_replacement` says of itself, in every bridge to Pulumi."""


def token(package: Package, name: str) -> str:
    """A name of this package as Pulumi writes it: `spg99:index:Database`."""
    return f"{package.name}:index:{name}"


def noun_of(package: Package, token: str) -> Noun | None:
    """The noun of a Pulumi type, of the dynamic provider (`pulumi-python:dynamic/spg99:Database`) or the native one (also
    `spg99:index/database:Database`, as Node.js writes it); None when it is none of this package's."""
    head, _, title = token.rpartition(":")
    if head != f"{DYNAMIC}/{package.name}" and head.partition(":")[0] != package.name:
        return None
    return next((noun for noun in package.nouns if noun.title == title), None)


def property_of(package: Package, field: Field, *, is_input: bool, is_named: bool = False) -> dict[str, Any]:
    """A field as a property. Raises ValueError for a name that an SDK in Python could not spell back."""
    if snake(camel(field.name)) != field.name:
        raise ValueError(f"{field.name} would be {snake(camel(field.name))} in an SDK")
    found = _type(package, field.type, is_input=is_input, name=field.name)
    found["description"] = _described(field, is_input=is_input, is_named=is_named)
    if field.deprecated:
        found["deprecationMessage"] = field.deprecated
    if field.secret:
        found["secret"] = True
    if is_input and field.immutable:
        found["willReplaceOnChanges"] = True
    return found


def _described(field: Field, *, is_input: bool, is_named: bool = False) -> str:
    """A field's description, with what its type cannot say."""
    parts = [field.description]
    type_ = field.type
    if type_.kind == "time" and "RFC 3339" not in field.description:
        parts.append("RFC 3339.")
    if is_input:
        if is_named:
            parts.append("Made from the resource's name when left out.")
        if field.default not in (None, [], {}):
            parts.append(f"Default: `{_written(field.default)}`.")
        parts += _bounds(type_)
        if field.immutable:
            parts.append("Cannot be changed in place.")
    values = next((found.values for found in (type_, type_.of) if found is not None and found.values), ())
    if values and not is_input:
        parts.append("One of:\n\n" + "\n".join(_value_line(item.value, item.description) for item in values))
    return " ".join(part for part in parts if part)


def _value_line(value: str, description: str) -> str:
    return f"- `{value}`: {description}" if description else f"- `{value}`"


def _bounds(type_: Type) -> list[str]:
    """The bounds that a user would trip over, as sentences."""
    found = []
    unit = {"text": " characters", "list": " items", "map": " entries"}.get(type_.kind, "")
    low, high = (type_.min_length, type_.max_length) if unit else (type_.at_least, type_.at_most)
    if low is not None and high is not None:
        found.append(f"From {low} to {high}{unit}.")
    elif low is not None or high is not None:
        found.append(f"At {'least' if high is None else 'most'} {low if high is None else high}{unit}.")
    if type_.above is not None:
        found.append(f"More than {type_.above}.")
    if type_.below is not None:
        found.append(f"Less than {type_.below}.")
    if type_.pattern:
        found.append(f"Matches `{type_.pattern}`.")
    return found


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _type(package: Package, type_: Type, *, is_input: bool, name: str = "") -> dict[str, Any]:
    if type_.kind == "enum" and is_input:
        return {"type": "string", "oneOf": [{"type": "string"}, {"$ref": _reference(package, type_)}]}
    if type_.kind == "object":
        return {"$ref": _reference(package, type_)}
    if type_.kind in ("list", "map"):
        inner = _type(package, type_.of or Type("text"), is_input=is_input, name=name)
        return {"type": "array", "items": inner} if type_.kind == "list" else _map_of(inner)
    if type_.kind == "whole":
        # .NET and Java carry an `integer` in 32 bits; a count of bytes passes that at 2 GiB.
        return {"type": "number" if name.endswith("_bytes") else "integer"}
    return {"type": _PLAIN[type_.kind]}


def _map_of(inner: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": inner}


def _reference(package: Package, type_: Type) -> str:
    return f"#/types/{token(package, type_.name)}"


def types_of(package: Package) -> dict[str, Any]:
    """Enumerations that an input takes, objects, and the items of lists, in the order of their first use."""
    known: dict[str, Type] = {}
    for noun in package.nouns:
        for field in noun.inputs:
            _collect(known, field.type, is_input=True)
    outputs = [field.type for noun in (*package.nouns, *package.reads) for field in noun.outputs]
    for function in package.functions:
        for parameter in function.parameters:
            _collect(known, parameter.type, is_input=True)
        returns = function.returns
        outputs += [field.type for field in returns.fields] if returns.kind == "object" else [returns]
    for type_ in outputs:
        _collect(known, type_, is_input=False)
    found = {token(package, name): _named_type(package, type_) for name, type_ in known.items()}
    for noun in (*package.nouns, *package.reads):
        if noun.plural:
            found[token(package, item_name(noun))] = object_of(
                package, noun.outputs, f"One of what {camel('get_' + noun.plural)} found.", is_input=False
            )
    return found


def _collect(known: dict[str, Type], type_: Type, *, is_input: bool) -> None:
    if type_.kind == "object" or (type_.kind == "enum" and is_input):
        if not type_.name:
            raise ValueError(f"a type without a name ({type_.kind}) cannot be written down")
        if known.setdefault(type_.name, type_) != type_:
            raise ValueError(f"two different types are named {type_.name}")
    for inner in (type_.of, *(field.type for field in type_.fields)):
        if inner is not None:
            # Inside an object there is one type for both ways, so that its enumerations are always known.
            _collect(known, inner, is_input=is_input or type_.kind == "object")


def _named_type(package: Package, type_: Type) -> dict[str, Any]:
    if type_.kind == "object":
        return object_of(package, type_.fields, type_.description, is_input=True)
    values = [
        {"name": _enum_name(item.value)}
        | ({"description": item.description} if item.description else {})
        | {"value": item.value}
        for item in type_.values
    ]
    return {"type": "string", "description": type_.description, "enum": values}


def _enum_name(value: str) -> str:
    """`can_read` -> `CanRead`, `L1` -> `L1`, `eu-west.1` -> `EuWest1`, `STARTING_NEW` -> `StartingNew`."""
    words = "".join(char if char.isalnum() else "_" for char in value)
    return pascal(words.lower() if "_" in words or (len(words) > 2 and words.isupper()) else words)


def object_of(package: Package, fields: Iterable[Field], description: str, *, is_input: bool) -> dict[str, Any]:
    fields = tuple(field._replace(immutable=False) for field in fields)  # a Diff replaces for whole inputs only
    needed = (field.name for field in fields if (field.required if is_input else not field.nullable))
    found: dict[str, Any] = {
        "type": "object",
        "properties": {camel(field.name): property_of(package, field, is_input=is_input) for field in fields},
    }
    if description:
        found["description"] = description
    if required := camels(needed):
        found["required"] = required
    return found


def item_name(noun: Noun) -> str:
    return f"{noun.title}Item"


def camels(names: Iterable[str]) -> list[str]:
    return [camel(name) for name in names]
