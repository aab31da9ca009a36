"""Schemas as messages of the protocol, and GetProviderSchema's whole answer as bytes. Pure. Not here: what they say (schema.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spg99.bridges.terraform.schema import Attribute, Block, Signature, Tables
from tfplugin import messages
from tfplugin.values import type_json

PLAIN, MARKDOWN = 0, 1
NESTING = {"single": 1, "list": 2, "map": 4}
CAPABILITIES = {"plan_destroy": True, "get_provider_schema_optional": True, "move_resource_state": True}

Message = dict[str, Any]


def schema_bytes(tables: Tables) -> bytes:
    """GetProviderSchema.Response: everything that there is."""
    return bytes(messages.encode("GetProviderSchema.Response", schema_answer(tables)))


def schema_answer(tables: Tables) -> Message:
    """GetProviderSchema.Response as a dict."""
    return {
        "provider": schema_of(tables.provider),
        "resource_schemas": _schemas(tables.resources),
        "data_source_schemas": _schemas(tables.data),
        "ephemeral_resource_schemas": _schemas(tables.ephemerals),
        "list_resource_schemas": _schemas(tables.lists),
        "functions": {name: function_of(each) for name, each in tables.functions.items()},
        "server_capabilities": CAPABILITIES,
    }


def metadata_answer(tables: Tables) -> Message:
    """GetMetadata.Response: the names alone."""
    return {
        "server_capabilities": CAPABILITIES,
        "resources": [{"type_name": name} for name in tables.resources],
        "data_sources": [{"type_name": name} for name in tables.data],
        "ephemeral_resources": [{"type_name": name} for name in tables.ephemerals],
        "list_resources": [{"type_name": name} for name in tables.lists],
        "functions": [{"name": name} for name in tables.functions],
    }


def identities_answer(tables: Tables) -> Message:
    """GetResourceIdentitySchemas.Response."""
    return {
        "identity_schemas": {
            name: {
                "version": block.version,
                "identity_attributes": [
                    {
                        "name": each.name,
                        "type": type_json(each.type),
                        "required_for_import": True,
                        "description": each.description,
                    }
                    for each in block.attributes
                ],
            }
            for name, block in tables.identities.items()
        }
    }


def schema_of(block: Block) -> Message:
    """One schema."""
    return {
        "version": block.version,
        "block": {
            "version": block.version,
            "attributes": [attribute_of(each) for each in block.attributes],
            "description": block.description,
            "description_kind": MARKDOWN,
        },
    }


def attribute_of(each: Attribute) -> Message:
    """One attribute; flags that do not apply are left out."""
    message: Message = {"name": each.name, "description": each.description, "description_kind": MARKDOWN}
    for flag in ("required", "optional", "computed", "sensitive", "write_only"):
        if getattr(each, flag):
            message[flag] = True
    if each.deprecated:
        message["deprecated"] = True
        message["deprecation_message"] = each.deprecated
    if each.nested is None:
        message["type"] = type_json(each.type)
    else:
        inside = [attribute_of(inner) for inner in each.nested.attributes]
        message["nested_type"] = {"attributes": inside, "nesting": NESTING[each.nested.nesting]}
    return message


def function_of(each: Signature) -> Message:
    """One function."""
    function = each.function
    return {
        "parameters": [
            {
                "name": parameter.name,
                "type": type_json(type_),
                "allow_null_value": parameter.nullable,
                "description": parameter.description,
                "description_kind": MARKDOWN,
            }
            for parameter, type_ in zip(function.parameters, each.parameters, strict=True)
        ],
        "return": {"type": type_json(each.returns)},
        "summary": function.summary,
        "description": function.description,
        "description_kind": MARKDOWN,
    }


def _schemas(blocks: Mapping[str, Block]) -> Message:
    return {name: schema_of(block) for name, block in blocks.items()}
