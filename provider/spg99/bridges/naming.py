"""Names on the wire of the tools: camelCase for our fields, a user's own map keys untouched. Not here: what values mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from spg99.emit.names import camel

Fields = Mapping[str, FieldInfo]


def to_wire(fields: Fields, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under our names -> under the names of the wire. Names that are no field are left out; None as well."""
    return {
        camel(name): _renamed(field.annotation, values[name], outward=True)
        for name, field in fields.items()
        if values.get(name) is not None
    }


def from_wire(fields: Fields, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under the names of the wire -> under ours. A name that is no field stays as it is."""
    ours = {camel(name): name for name in fields}
    return {
        (name := ours.get(key, key)): _renamed(fields[name].annotation, value, outward=False)
        if name in fields
        else value
        for key, value in values.items()
    }


def wire_path(path: tuple[str | int, ...], fields: Fields) -> str:
    """The path of a value as the tools write it: `tags.color`, `replicas[0].idleTimeoutSeconds`."""
    text = ""
    annotation: Any = None
    inside: Fields | None = fields
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            known = inside is not None and step in inside
            text += ("." if text else "") + (camel(step) if known else step)
            annotation = inside[step].annotation if inside is not None and known else None
        inside = model_in(annotation).model_fields if model_in(annotation) is not None else None  # type: ignore[union-attr]
    return text


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X`, `X | None`, `list[X]`, `dict[str, X]`; None when there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if argument is not type(None) and (found := model_in(argument)) is not None:
            return found
    return None


def _renamed(annotation: Any, value: Any, *, outward: bool) -> Any:
    model = model_in(annotation)
    if model is None or value is None:
        return value
    if isinstance(value, list):
        return [_renamed(model, item, outward=outward) for item in value]
    if not isinstance(value, dict):
        return value
    if _is_map(annotation):
        return {key: _renamed(model, item, outward=outward) for key, item in value.items()}
    return (to_wire if outward else from_wire)(model.model_fields, value)


def _is_map(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is dict:
        return True
    return (origin is Union or str(origin) == "<class 'types.UnionType'>") and any(map(_is_map, get_args(annotation)))
