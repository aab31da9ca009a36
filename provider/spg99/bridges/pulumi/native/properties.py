"""A noun's fields as property values and back. Here: names, secrecy, what is unknown in a preview. Not here: the wire's bytes (wire.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spg99.bridges.pulumi.native.wire import as_secret_as, revealed, secret
from spg99.bridges.pulumi.shared.naming import from_wire, to_wire
from spg99.bridges.shared.changes import own_inputs
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.emit.names import camel
from spg99.shapes import Field, Noun, Type

Properties = Mapping[str, Any]
"""Property values under Pulumi's names, secrets and unknowns marked as wire.py says."""

AUTONAMED = "__defaults"
"""Hidden input with the names of those that the provider filled in with a name of its own making."""


def inputs_from(noun: Noun, properties: Properties) -> dict[str, Any]:
    """Inputs under our names; one that nobody knows stays as it is. Pulumi's own (`__...`) are left out."""
    plain = _plain(properties)
    own = {name: plain.pop(camel(name)) for name in own_inputs(noun) if camel(name) in plain}
    return from_wire(noun.inputs, plain) | own


def outputs_from(noun: Noun, properties: Properties) -> dict[str, Any]:
    """Outputs under our names."""
    return from_wire(noun.outputs, _plain(properties))


def inputs_to(noun: Noun, values: Mapping[str, Any], *, like: Properties) -> dict[str, Any]:
    """Inputs as Pulumi keeps them: secret what the noun says is, and what is in `like` (the same inputs as they came)."""
    own = {camel(name): values[name] for name in own_inputs(noun) if values.get(name) is not None}
    known = noun.input_fields()
    strangers = {name: value for name, value in values.items() if name not in known and name not in own_inputs(noun)}
    return _secret_like(guarded(noun.inputs, to_wire(noun.inputs, values)) | own | strangers, like)


def outputs_to(noun: Noun, values: Mapping[str, Any], *, like: Properties) -> dict[str, Any]:
    """Outputs as Pulumi keeps them, secret as `inputs_to` says."""
    return _secret_like(guarded(noun.outputs, to_wire(noun.outputs, values)), like)


def guarded(fields: tuple[Field, ...], properties: Properties) -> dict[str, Any]:
    """Properties with the secret fields marked, those inside objects, too."""
    by_name = {camel(field.name): field for field in fields}
    return {name: _guarded(by_name[name], value) if name in by_name else value for name, value in properties.items()}


def _guarded(field: Field, value: Any) -> Any:
    return secret(value) if field.secret else _guarded_inside(field.type, value)


def _guarded_inside(type_: Type, value: Any) -> Any:
    if type_.kind == "object" and isinstance(value, dict):
        return guarded(type_.fields, value)
    if type_.of is None or type_.of.kind not in ("object", "list", "map"):
        return value
    if isinstance(value, list):
        return [_guarded_inside(type_.of, item) for item in value]
    if isinstance(value, dict):
        return {key: _guarded_inside(type_.of, item) for key, item in value.items()}
    return value


def planned_outputs(noun: Noun, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a create as far as a preview can know them: what the user wrote; UNKNOWN for the rest."""
    inputs = noun.input_fields()
    return {
        field.name: wanted[field.name] if field.name in inputs and wanted.get(field.name) is not None else UNKNOWN
        for field in noun.outputs
    }


def changed_outputs(noun: Noun, old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of an update that makes these changes (new value by field) as far as a preview can know them.

    What moves by itself or with a change is UNKNOWN; everything else stays as it is.
    """
    planned: dict[str, Any] = {}
    for field in noun.outputs:
        if field.name in changes:
            planned[field.name] = changes[field.name]
        elif field.volatile or any(name in changes for name in field.moved_by):
            planned[field.name] = UNKNOWN
        else:
            planned[field.name] = old.get(field.name)
    return planned


def _plain(properties: Properties) -> dict[str, Any]:
    return {key: revealed(value) for key, value in properties.items() if not key.startswith("__")}


def _secret_like(properties: Properties, like: Properties) -> dict[str, Any]:
    return {key: as_secret_as(value, like.get(key)) for key, value in properties.items()}
