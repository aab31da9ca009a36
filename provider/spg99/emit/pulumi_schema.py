"""From a Package to Pulumi's package schema (`schema.json`): resources, functions, types, configuration and words for each language.

Here: how our shapes look to Pulumi's generators. Not here: fields and types (pulumi_types.py), examples (pulumi_examples.py), what a schema must not do
(schema_lint.py), code of an SDK (sdk_python.py, sdk_nodejs.py).

Choices that a generator's user would notice:
- An enumeration is a type of its own, and an input takes its values or any text: the provider's Check has the last word, so
  an older SDK can name what a newer Control Plane knows. An output is text for the same reason (Java refuses a value that
  it does not know); its description lists the values.
- No `multiArgumentInputs`: Pulumi's generator for Go refuses a package that has them.
- Defaults are the provider's: Check fills them in. An SDK that did so too would freeze them in every program.
- No `stateInputs`: an id is enough to read an object. No `pluginDownloadURL`: it is the user's own platform
  (`<url>/downloads`), which no published document can know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spg99.emit.names import camel, pascal
from spg99.emit.pulumi_examples import examples
from spg99.emit.pulumi_types import (
    ALLOW_REPLACEMENT_DESCRIPTION,
    camels,
    item_name,
    object_of,
    property_of,
    token,
    types_of,
)
from spg99.shapes import ALLOW_REPLACEMENT, Field, Function, Noun, Package, Type

OUTPUT = Path(__file__).parents[3] / "schema.json"
REPOSITORY = "https://github.com/spg99/spg99"
DYNAMIC_TYPE = "pulumi-python:dynamic/{package}:{title}"
"""Type of the same noun under the dynamic provider: an alias, so that moving to the native one is a change of one import."""


def text(package: Package) -> str:
    """The schema as the bytes of `schema.json`: the same for the same Package, always."""
    return json.dumps(schema(package), indent=2, ensure_ascii=False) + "\n"


def schema(package: Package) -> dict[str, Any]:
    """The schema as JSON values. Raises ValueError when two different types have one name."""
    settings = {camel(field.name): _setting(package, field) for field in package.configuration}
    return {
        "name": package.name,
        "displayName": package.name.upper(),
        "version": package.version,
        "description": package.description,
        "keywords": ["pulumi", package.name, "postgresql", "serverless", "category/database", "kind/native"],
        "homepage": REPOSITORY,
        "license": "Apache-2.0",
        "repository": REPOSITORY,
        "logoUrl": f"{REPOSITORY}/raw/main/docs/logo.png",  # .NET packs it, and takes no SVG
        "publisher": "SPG99",
        "meta": {"moduleFormat": "(.*)"},
        "config": {"variables": settings},
        "types": types_of(package),
        "provider": {
            "description": f"A Control Plane that {package.name} resources are made on. What is left out comes from "
            "the environment of the plugin, and stays out of the state; the stack's configuration is for resources without a provider of their own.",
            "inputProperties": settings,
        },
        "resources": {token(package, noun.title): _resource(package, noun) for noun in package.nouns},
        "functions": dict(_functions(package)),
        "language": _languages(package),
    }


def auto_named(noun: Noun) -> str | None:
    """The input that the native provider fills in from the resource's name when it is left out, or None."""
    field = noun.input_named("name")
    return "name" if field is not None and "name" in noun.id_fields() and field.type.kind == "text" else None


def allow_replacement(noun: Noun) -> Field | None:
    """The input that agrees to the loss of data; only nouns that hold data have it."""
    return (
        Field(ALLOW_REPLACEMENT, Type("flag"), ALLOW_REPLACEMENT_DESCRIPTION, default=False)
        if noun.holds_data
        else None
    )


def _resource(package: Package, noun: Noun) -> dict[str, Any]:
    agreed = allow_replacement(noun)
    inputs = [*noun.inputs, *([agreed] if agreed else [])]
    required = [field.name for field in noun.inputs if field.required and field.name != auto_named(noun)]
    found: dict[str, Any] = {
        "description": _resource_text(package, noun),
        "properties": {camel(field.name): property_of(package, field, is_input=False) for field in noun.outputs},
        "required": camels(field.name for field in noun.outputs if not field.nullable),
        "inputProperties": {
            camel(field.name): property_of(package, field, is_input=True, is_named=field.name == auto_named(noun))
            for field in inputs
        },
        "requiredInputs": camels(required),
    }
    if noun.plural:
        found["listInputs"] = _list_inputs(package, noun)
    found["aliases"] = [{"type": DYNAMIC_TYPE.format(package=package.name, title=noun.title)}]
    return found


def _resource_text(package: Package, noun: Noun) -> str:
    form = "/".join(f"<{name}>" for name in noun.id_fields())
    example = "/".join(_example_of(noun, name) for name in noun.id_fields())
    return "\n\n".join(
        [
            noun.description,
            examples(package, noun),
            "## Import",
            f"By its id `{form}`:",
            f"```sh\npulumi import {token(package, noun.title)} main {example}\n```",
        ]
    )


def _example_of(noun: Noun, name: str) -> str:
    field = noun.output_named(name)
    return str(field.examples[0]) if field is not None and field.examples else f"<{name}>"


def _setting(package: Package, field: Field) -> dict[str, Any]:
    """A setting of the provider. Variables of the environment stand in for it."""
    found = property_of(package, field, is_input=True)
    if field.examples:
        found["description"] += f" For example `{field.examples[0]}`."
    if field.environment:
        found["description"] += f" Environment: {', '.join(f'`{name}`' for name in field.environment)}."
        # Only the first: an SDK hands its value on as it is, and older variables mean something else (CP_URL has no /v2).
        # The provider itself reads all of them.
        found["defaultInfo"] = {"environment": [field.environment[0]]}
    return found


def _functions(package: Package) -> Iterable[tuple[str, dict[str, Any]]]:
    for noun in (*package.nouns, *package.reads):
        yield token(package, camel(f"get_{noun.noun}")), _get_one(package, noun)
        if noun.plural:
            yield token(package, camel(f"get_{noun.plural}")), _get_all(package, noun)
    for function in package.functions:
        yield token(package, camel(function.name)), _pure(package, function)


def _get_one(package: Package, noun: Noun) -> dict[str, Any]:
    words = noun.noun.replace("_", " ")
    keys = [_key(noun, name) for name in noun.id_fields()]
    which = f" with the id `{'/'.join(f'<{name}>' for name in noun.id_fields())}`" if keys else ""
    found: dict[str, Any] = {"description": f"Reads the {words}{which}. {noun.description}"}
    if keys:
        found["inputs"] = object_of(package, keys, f"Which {words} to read.", is_input=True)
    found["outputs"] = object_of(package, noun.outputs, f"The {words} as it is now.", is_input=False)
    return found


def _key(noun: Noun, name: str) -> Field:
    """A part of an object's id, as what has to be given to read it."""
    known = noun.input_named(name) or noun.output_named(name)
    if known is None:
        raise ValueError(f"the id of a {noun.noun} names {name}, which it does not have")
    return known._replace(required=True, default=None, immutable=False, type=known.type._replace(pattern=None))


def filters(noun: Noun) -> tuple[Field, ...]:
    """What may be given to list a noun: fields of the collection's path (required), and the filters of its list."""
    return tuple(_key(noun, name) for name in noun.path_fields()) + tuple(_filter(noun, name) for name in noun.filters)


def _filter(noun: Noun, name: str) -> Field:
    if (known := noun.output_named(name)) is not None:
        type_ = Type("text") if known.type.kind == "enum" else known.type
        return Field(name, type_, f"Only those with this `{camel(name)}`.")
    begins = name.removesuffix("_prefix")
    sentence = f"Only those whose `{camel(begins)}` begins with this." if begins != name else "Narrows the list down."
    return Field(name, Type("text"), sentence)


def _list_inputs(package: Package, noun: Noun) -> dict[str, Any]:
    return object_of(package, filters(noun), "", is_input=True)


def _get_all(package: Package, noun: Noun) -> dict[str, Any]:
    words = noun.plural.replace("_", " ")
    item = {"type": "array", "items": {"$ref": f"#/types/{token(package, item_name(noun))}"}}
    name = camel(noun.plural)
    found: dict[str, Any] = {"description": f"Reads all {words}, ordered by name. Filters narrow them down."}
    if given := filters(noun):
        found["inputs"] = object_of(package, given, f"Which {words} to read.", is_input=True)
    found["outputs"] = {
        "type": "object",
        "description": f"The {words} that were found.",
        "properties": {name: item | {"description": f"All {words} that fit, ordered by name."}},
        "required": [name],
    }
    return found


def _pure(package: Package, function: Function) -> dict[str, Any]:
    """A pure function. What is no object is answered as `result`, because an invoke answers an object."""
    given = [
        Field(item.name, item.type, item.description, required=not item.nullable, nullable=item.nullable)
        for item in function.parameters
    ]
    if function.returns.kind == "object":
        fields = function.returns.fields
        description = function.returns.description
    else:
        fields, description = (Field("result", function.returns, function.summary, required=True),), ""
    if function.returns_secret:
        fields = tuple(field._replace(secret=True) for field in fields)
    found: dict[str, Any] = {
        "description": "\n\n".join(part for part in (function.summary, function.description) if part)
    }
    if given:
        found["inputs"] = object_of(package, given, f"What {camel(function.name)} is given.", is_input=True)
    found["outputs"] = object_of(
        package, fields, description or f"What {camel(function.name)} answers.", is_input=False
    )
    return found


def _languages(package: Package) -> dict[str, Any]:
    name, title = package.name, pascal(package.name)
    host = REPOSITORY.removeprefix("https://")
    return {
        "csharp": {
            "namespaces": {name: title},
            "packageReferences": {"Pulumi": "3.*"},
            "respectSchemaVersion": True,
        },
        "go": {
            "importBasePath": f"{host}/sdk/go/{name}",
            "generateResourceContainerTypes": True,
            "respectSchemaVersion": True,
        },
        "java": {
            "basePackage": "com.pulumi",
            "packages": {name: name},
            "buildFiles": "gradle",
            "respectSchemaVersion": True,
        },
        "nodejs": {
            "packageName": f"@{name}/pulumi",
            "packageDescription": package.description,
            "dependencies": {"@pulumi/pulumi": "^3.142.0"},
            "respectSchemaVersion": True,
        },
        "python": {
            "packageName": f"pulumi_{name}",
            "requires": {"pulumi": ">=3.142.0,<4.0.0"},
            "pyproject": {"enabled": True},
            "inputTypes": "classes-and-dicts",
            "respectSchemaVersion": True,
        },
    }
