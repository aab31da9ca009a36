"""Names on the wire of Pulumi: camelCase for our fields, a user's own map keys untouched. Not here: what values mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from spg99.bridges.shared.inputs import failures_of, type_at
from spg99.emit.names import camel
from spg99.errors import Spg99Error
from spg99.shapes import Field, Type

Fields = tuple[Field, ...]

_NOT_PLAIN = re.compile(r'[.\[\]"]|^$')
"""What a key of a map holds that would be read as the path going on."""
_ANY = Type("text")


def to_wire(fields: Fields, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under our names -> under the names of the wire. Names that are no field are left out; None as well."""
    return {
        camel(field.name): _renamed(field.type, values[field.name], outward=True)
        for field in fields
        if values.get(field.name) is not None
    }


def from_wire(fields: Fields, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under the names of the wire -> under ours. A name that is no field stays as it is."""
    ours = {camel(field.name): field for field in fields}
    return {
        (ours[key].name if key in ours else key): _renamed(ours[key].type, value, outward=False)
        if key in ours
        else value
        for key, value in values.items()
    }


def wire_path(path: tuple[str | int, ...], fields: Fields) -> str:
    """The path of a value as Pulumi writes it: `tags.color`, `replicas[0].idleTimeoutSeconds`, `labels["a.b"]`."""
    text = ""
    inside = Type("object", fields=fields)
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            known = inside.kind == "object" and any(field.name == step for field in inside.fields)
            name = camel(step) if known else step
            text += (
                f"[{json.dumps(name, ensure_ascii=False)}]"
                if _NOT_PLAIN.search(name)
                else f"{'.' if text else ''}{name}"
            )
        inside = type_at(inside, step) or _ANY
    return text


def error_text(fields: Fields, error: Spg99Error) -> str:
    """An error as one text, the fields that the Control Plane refused under their names on the wire."""
    parts = [error.message]
    for failure in failures_of(fields, error):
        at = wire_path(failure.path, fields)
        parts.append(f"{at}: {failure.reason}" if at else failure.reason)
    if error.request_id:
        parts.append(f"(request id {error.request_id})")
    return " ".join(parts)


def _renamed(type_: Type, value: Any, *, outward: bool) -> Any:
    if type_.kind == "object" and isinstance(value, dict):
        return (to_wire if outward else from_wire)(type_.fields, value)
    if type_.of is None or type_.of.kind not in ("object", "list", "map"):
        return value
    if isinstance(value, list):
        return [_renamed(type_.of, item, outward=outward) for item in value]
    if isinstance(value, dict):
        return {key: _renamed(type_.of, item, outward=outward) for key, item in value.items()}
    return value
