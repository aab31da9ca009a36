"""Options of a resource, from their values to the fields of a request. Here: one rule for each option. Not here: sending them (run.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf import struct_pb2
from pulumi.runtime.proto import alias_pb2, resource_pb2

from spg99.engine.values import Value, has_unknown, reveal, to_struct
from spg99.engine.yaml_program.document import Declared
from spg99.engine.yaml_program.evaluate import World, evaluate, is_reference
from spg99.engine.yaml_program.functions import kind_of
from spg99.engine.yaml_program.source import Place, Problem, did_you_mean

_TEXTS = ("additionalSecretOutputs", "ignoreChanges", "replaceOnChanges")
_ALIAS_KEYS = ("name", "type", "stack", "project", "parent", "parentUrn", "noParent")


@dataclass
class Options:
    """The options that matter to the order and identity of a resource, and the rest as fields of the request."""

    parent: str = ""
    provider: str = ""
    depends_on: set[str] = field(default_factory=set)
    fields: dict[str, Any] = field(default_factory=dict)


def options_of(declared: Declared, world: World) -> Options:
    """The options of a resource. Raises Problem."""
    found = Options()
    for name, expression in declared.options.items():
        value, place = evaluate(expression, world), expression.place
        if value is None:
            continue
        if name == "parent":
            found.parent = _urn(value, name, place)
        elif name == "provider":
            found.provider = provider_of(value, place)
        elif name == "dependsOn":
            found.depends_on = {_urn(item, name, place) for item in (value if isinstance(value, list) else [value])}
        elif name == "replacementTrigger":
            holder: struct_pb2.Struct = to_struct({"value": value})
            found.fields["replacement_trigger"] = holder.fields["value"]
        else:
            found.fields |= _plain_field(name, _known(value, name, place), place)
    return found


def provider_of(value: Value, place: Place) -> str:
    """How the engine refers to a provider resource; empty when none is named. Raises Problem."""
    if value is None:
        return ""
    if not is_reference(value) or ":pulumi:providers:" not in value["urn"].replace("::", ":"):
        raise Problem(place, "`provider` names a provider resource, such as `${my-provider}`.")
    return f"{value['urn']}::{value['id']}"


def _urn(value: Value, option: str, place: Place) -> str:
    if not is_reference(value):
        raise Problem(place, f"`{option}` names a whole resource, such as `${{database}}`, not {kind_of(value)}.")
    return str(value["urn"])


def _known(value: Value, option: str, place: Place) -> Value:
    if is_reference(value):
        return value
    if has_unknown(value):
        raise Problem(place, f"`{option}` must be known before anything is made; it depends on a resource.")
    return reveal(value)


def _plain_field(name: str, value: Value, place: Place) -> dict[str, Any]:
    if name in ("protect", "retainOnDelete"):
        return {name: _flag(name, value, place)}
    if name == "deleteBeforeReplace":
        return {name: _flag(name, value, place), "deleteBeforeReplaceDefined": True}
    if name in _TEXTS:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Problem(place, f"`{name}` is a list of property names.")
        return {name: value}
    if name == "deletedWith":
        return {name: _urn(value, name, place)}
    if name == "customTimeouts":
        timeouts = {key: str(text) for key, text in value.items()}
        return {name: resource_pb2.RegisterResourceRequest.CustomTimeouts(**timeouts)}
    if name == "aliases":
        return {name: [_alias(item, place) for item in (value if isinstance(value, list) else [value])]}
    if not isinstance(value, str):
        raise Problem(place, f"`{name}` is text, not {kind_of(value)}.")
    return {"importId" if name == "import" else name: value}


def _flag(name: str, value: Value, place: Place) -> bool:
    if not isinstance(value, bool):
        raise Problem(place, f"`{name}` is true or false, not {kind_of(value)}.")
    return value


def _alias(value: Value, place: Place) -> Any:
    if isinstance(value, str):
        return alias_pb2.Alias(urn=value)
    if not isinstance(value, dict):
        raise Problem(place, "An alias is a URN, or a mapping with what was different: `name`, `type`, `parent`.")
    for key in value:
        if key not in _ALIAS_KEYS:
            raise Problem(place, f"`{key}` is not known in an alias.{did_you_mean(key, _ALIAS_KEYS)}")
    spec = alias_pb2.Alias.Spec(
        name=str(value.get("name", "")),
        type=str(value.get("type", "")),
        stack=str(value.get("stack", "")),
        project=str(value.get("project", "")),
    )
    parent = value.get("parent", value.get("parentUrn"))
    if value.get("noParent") is True:
        spec.noParent = True
    elif parent is not None:
        spec.parentUrn = parent if isinstance(parent, str) else _urn(parent, "parent", place)
    return alias_pb2.Alias(spec=spec)
