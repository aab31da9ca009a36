"""Values as the API speaks them (JSON) and as Terraform wants them: every attribute there, numbers exact, the user's form kept. Pure.

Not here: bytes (tfplugin/values.py), what a plan decides (planning.py), when two values mean the same (bridges/shared/values.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spg99.bridges.shared.unknown import Unknown
from spg99.bridges.terraform.schema import Attribute, Block

Values = dict[str, Any]


def to_terraform(attribute: Attribute, value: Any) -> Any:
    """A JSON value of this attribute: what is missing inside is null, what nobody knows is left out."""
    if value is None or isinstance(value, Unknown):
        return value
    if attribute.nested is None:
        return _exact(value)
    inside = attribute.nested.attributes
    if attribute.nested.nesting == "list":
        return [_object(inside, item) for item in value]
    if attribute.nested.nesting == "map":
        return {key: _object(inside, item) for key, item in value.items()}
    return _object(inside, value)


def from_terraform(attribute: Attribute, value: Any) -> Any:
    """The JSON value to send: nulls inside are left out where null is no value of the field."""
    if value is None or isinstance(value, Unknown):
        return value
    if attribute.nested is None:
        return plain(value)
    inside = attribute.nested.attributes
    if attribute.nested.nesting == "list":
        return [_body(inside, item) for item in value]
    if attribute.nested.nesting == "map":
        return {key: _body(inside, item) for key, item in value.items()}
    return _body(inside, value)


def plain(value: Any) -> Any:
    """A value with numbers as JSON has them: whole ones exact however long, others as a double."""
    if _is_decimal(value):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def whole_block(block: Block, values: Mapping[str, Any]) -> Values:
    """`values` as a value of the block: exactly its attributes, null where nothing is known."""
    return {attribute.name: values.get(attribute.name) for attribute in block.attributes}


def _object(inside: tuple[Attribute, ...], value: Mapping[str, Any]) -> Values:
    return {attribute.name: to_terraform(attribute, value.get(attribute.name)) for attribute in inside}


def _body(inside: tuple[Attribute, ...], value: Any) -> Any:
    if value is None or isinstance(value, Unknown):
        return value
    return {
        attribute.name: from_terraform(attribute, value.get(attribute.name))
        for attribute in inside
        if value.get(attribute.name) is not None or (attribute.field is not None and attribute.field.nullable)
    }


def _exact(value: Any) -> Any:
    """Doubles as the decimal number that people see: 0.1 is Decimal("0.1"), 300.0 is 300."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        from decimal import Decimal

        return _exact(Decimal(repr(value)))
    if _is_decimal(value):
        return int(value) if value == value.to_integral_value() else value
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    return value


def _is_decimal(value: Any) -> bool:
    """Whether it is a Decimal, without its module: it is loaded where one is made, and most plans have none."""
    return type(value).__name__ == "Decimal"
