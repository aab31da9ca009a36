"""The schemas as `terraform providers schema -json` prints them: what documentation and other tools read. Not here: bytes on the wire."""

from __future__ import annotations

from typing import Any

from spg99.bridges.terraform.schema import Attribute, Block, Cty, Signature, Tables


def as_json(tables: Tables) -> dict[str, Any]:
    """The entry of `provider_schemas` for a provider with these tables."""
    found: dict[str, Any] = {
        "provider": schema_of(tables.provider),
        "resource_schemas": {name: schema_of(block) for name, block in tables.resources.items()},
        "data_source_schemas": {name: schema_of(block) for name, block in tables.data.items()},
        "ephemeral_resource_schemas": {name: schema_of(block) for name, block in tables.ephemerals.items()},
        "functions": {name: function_of(each) for name, each in tables.functions.items()},
    }
    return {name: part for name, part in found.items() if part}


def schema_of(block: Block) -> dict[str, Any]:
    """One schema."""
    return {
        "version": block.version,
        "block": {
            "attributes": {each.name: attribute_of(each) for each in block.attributes},
            **({"description": block.description} if block.description else {}),
            "description_kind": "markdown",
        },
    }


def attribute_of(each: Attribute) -> dict[str, Any]:
    """One attribute; flags that do not apply are left out."""
    found: dict[str, Any] = {}
    if each.nested is None:
        found["type"] = type_of(each.type)
    else:
        inside = {inner.name: attribute_of(inner) for inner in each.nested.attributes}
        found["nested_type"] = {"attributes": inside, "nesting_mode": each.nested.nesting}
    if each.description:
        found["description"] = each.description
    found["description_kind"] = "markdown"
    for flag in ("required", "optional", "computed", "sensitive", "write_only"):
        if getattr(each, flag):
            found[flag] = True
    if each.deprecated:
        found["deprecated"] = True
    return found


def function_of(each: Signature) -> dict[str, Any]:
    """One function."""
    parameters = [
        {
            "name": parameter.name,
            "description": parameter.description,
            **({"is_nullable": True} if parameter.nullable else {}),
            "type": type_of(type_),
        }
        for parameter, type_ in zip(each.function.parameters, each.parameters, strict=True)
    ]
    return {
        "description": each.function.description,
        "summary": each.function.summary,
        "return_type": type_of(each.returns),
        **({"parameters": parameters} if parameters else {}),
    }


def type_of(type_: Cty) -> Any:
    """A type: `"string"`, `["list", "string"]`, `["object", {"a": "number"}]`."""
    if isinstance(type_, str):
        return type_
    kind, inner = type_
    if kind == "object":
        return [kind, {name: type_of(member) for name, member in inner.items()}]
    return [kind, type_of(inner)]
