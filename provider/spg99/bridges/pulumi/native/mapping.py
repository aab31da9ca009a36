"""What `pulumi convert --from terraform` asks: which of Terraform's names are which of ours. Pure.

The form is that of Pulumi's Terraform bridge (a provider's information as JSON): shapes of Terraform's attributes, and the
Pulumi name for each. What Pulumi has under no name (`timeouts`, versions of what is write-only) is left out.
"""

from __future__ import annotations

import json
from typing import Any

from spg99.emit.names import camel
from spg99.shapes import Field, Noun, Package, Type

KEYS = ("terraform", "tf")
"""Keys under which a converter asks."""

_KINDS = {"flag": 1, "whole": 2, "number": 3, "text": 4, "enum": 4, "time": 4, "list": 5, "map": 6, "object": 6}


def mapping(package: Package) -> bytes:
    """The mapping of the provider of this name in Terraform."""
    resources = {f"{package.name}_{noun.noun}": noun for noun in package.nouns}
    reads = {f"{package.name}_{noun.noun}": noun for noun in (*package.nouns, *package.reads)}
    found = {
        "name": package.name,
        "version": package.version,
        "provider": {
            "schema": {field.name: _shape(field) for field in package.configuration},
            "resources": {name: _resource(noun) for name, noun in resources.items()},
            "dataSources": {name: _data_source(noun) for name, noun in reads.items()},
        },
        "config": {field.name: {"name": camel(field.name)} for field in package.configuration},
        "resources": {
            name: {"tok": f"{package.name}:index:{noun.title}", "fields": _names(noun)}
            for name, noun in resources.items()
        },
        "dataSources": {
            name: {"tok": f"{package.name}:index:{camel('get_' + noun.noun)}", "fields": _names(noun)}
            for name, noun in reads.items()
        },
    }
    return json.dumps(found, separators=(",", ":")).encode()


def _resource(noun: Noun) -> dict[str, Any]:
    inputs, secrets_brought = noun.input_fields(), {field.name for field in noun.write_only()}
    attributes = {field.name: _shape(field, computed=field.name not in inputs) for field in noun.outputs}
    for field in noun.inputs:
        attributes[_terraform_name(field, secrets_brought)] = _shape(field)
    return attributes


def _data_source(noun: Noun) -> dict[str, Any]:
    keys = noun.id_fields()
    return {
        field.name: _shape(field._replace(required=field.name in keys), computed=field.name not in keys)
        for field in noun.outputs
    }


def _names(noun: Noun) -> dict[str, Any]:
    secrets_brought = {field.name for field in noun.write_only()}
    fields = {_terraform_name(field, secrets_brought): field for field in (*noun.outputs, *noun.inputs)}
    return {name: _named(field) for name, field in fields.items()}


def _terraform_name(field: Field, secrets_brought: set[str]) -> str:
    return f"{field.name}_wo" if field.name in secrets_brought else field.name


def _named(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {"name": camel(field.name)}
    inner = field.type if field.type.kind == "object" else field.type.of
    if inner is not None and inner.kind == "object":
        fields = {item.name: _named(item) for item in inner.fields}
        # A collection names what it holds; an object in Terraform is a map with its fields below an element, too.
        found["element"] = {"fields": fields}
    return found


def _shape(field: Field, *, computed: bool = False) -> dict[str, Any]:
    found = _type(field.type)
    found["computed" if computed else "required" if field.required else "optional"] = True
    if field.immutable and not computed:
        found["forceNew"] = True
    if field.deprecated:
        found["deprecated"] = field.deprecated
    return found


def _type(type_: Type) -> dict[str, Any]:
    found: dict[str, Any] = {"type": _KINDS[type_.kind]}
    inner = type_ if type_.kind == "object" else type_.of
    if inner is None:
        return found
    if inner.kind == "object":
        found["element"] = {"resource": {item.name: _shape(item) for item in inner.fields}}
    else:
        found["element"] = {"schema": _type(inner)}
    return found
