"""Pulumi property values <-> JSON values under our names. Not here: gRPC (the host does it), what values mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulumi.output import UNKNOWN as PULUMI_UNKNOWN
from pulumi.output import Unknown as PulumiUnknown
from pulumi.runtime import rpc

from spg99.bridges.pulumi.shared.naming import from_wire, to_wire
from spg99.bridges.pulumi.shared.unknown_texts import UNKNOWN_TEXTS
from spg99.bridges.shared.changes import own_inputs
from spg99.bridges.shared.unknown import UNKNOWN, Unknown
from spg99.emit.names import camel
from spg99.shapes import Noun


def inputs_from(noun: Noun, properties: Mapping[str, Any] | None) -> dict[str, Any]:
    """Inputs under our names; a name that nobody knows stays as it is. Pulumi's own (`__...`) are left out."""
    plain = {key: _plain(value) for key, value in (properties or {}).items() if not key.startswith("__")}
    own = {name: plain.pop(camel(name)) for name in own_inputs(noun) if camel(name) in plain}
    return from_wire(noun.inputs, plain) | own


def outputs_from(noun: Noun, properties: Mapping[str, Any] | None) -> dict[str, Any]:
    """Outputs under our names."""
    plain = {key: _plain(value) for key, value in (properties or {}).items() if not key.startswith("__")}
    return from_wire(noun.outputs, plain)


def inputs_to(noun: Noun, values: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as Pulumi stores them, secrets wrapped so that they are encrypted in the state."""
    names = {field.name for field in noun.inputs}
    ours = own_inputs(noun)
    own = {camel(name): values[name] for name in ours if values.get(name) is not None}
    known = _guarded(noun, to_wire(noun.inputs, {name: _pulumi(value) for name, value in values.items()}))
    strangers = {name: _pulumi(value) for name, value in values.items() if name not in names and name not in ours}
    return known | own | strangers


def outputs_to(noun: Noun, values: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs as Pulumi stores them, secrets wrapped so that they are encrypted in the state."""
    return _guarded(noun, to_wire(noun.outputs, values))


def _guarded(noun: Noun, properties: dict[str, Any]) -> dict[str, Any]:
    secrets = {camel(name) for name in noun.secrets()}
    return {
        key: rpc.wrap_rpc_secret(value) if key in secrets and not isinstance(value, PulumiUnknown) else value
        for key, value in properties.items()
    }


def _plain(value: Any) -> Any:
    value = rpc.unwrap_rpc_secret(value)
    if isinstance(value, PulumiUnknown) or (isinstance(value, str) and value in UNKNOWN_TEXTS):
        return UNKNOWN
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _pulumi(value: Any) -> Any:
    if isinstance(value, Unknown):
        return PULUMI_UNKNOWN
    if isinstance(value, dict):
        return {key: _pulumi(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_pulumi(item) for item in value]
    return value
