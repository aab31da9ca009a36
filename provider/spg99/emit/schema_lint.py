"""What is wrong with a Pulumi package schema though the metaschema takes it: what generators of some language would stumble over.

Here: the rules. Not here: how a schema is made (pulumi_schema.py), Pulumi's metaschema (the tests validate against it).
"""

from __future__ import annotations

import keyword
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from spg99.emit.names import pascal, snake

Schema = Mapping[str, Any]

RESERVED_PROPERTIES = frozenset({"id", "urn", "pulumi", "provider", "__provider"})
"""Every resource has these from Pulumi itself."""
RESERVED_SETTINGS = frozenset({"version", "pluginDownloadURL"})
"""Every provider has these from Pulumi itself."""
ARGUMENTS = frozenset({"resource_name", "args", "opts", "self"})
"""Parameters that every constructor of a Python SDK has already."""
JAVA_METHODS = frozenset(
    {"getClass", "notify", "notifyAll", "wait", "hashCode", "toString", "equals", "clone", "finalize"}
)
"""Methods of every Java object, which an accessor of this name would override or break."""
JAVASCRIPT_WORDS = frozenset(
    [
        "arguments",
        "await",
        "break",
        "case",
        "catch",
        "class",
        "const",
        "constructor",
        "continue",
        "debugger",
        "default",
        "delete",
        "do",
        "else",
        "enum",
        "eval",
        "export",
        "extends",
        "false",
        "finally",
        "for",
        "function",
        "if",
        "implements",
        "import",
        "in",
        "instanceof",
        "interface",
        "let",
        "new",
        "null",
        "package",
        "private",
        "protected",
        "prototype",
        "public",
        "return",
        "static",
        "super",
        "switch",
        "this",
        "throw",
        "true",
        "try",
        "typeof",
        "var",
        "void",
        "while",
        "with",
        "yield",
    ]
)
SUFFIXES = (
    "Args",
    "ArgsDict",
    "State",
    "Input",
    "Output",
    "Array",
    "ArrayInput",
    "ArrayOutput",
    "Map",
    "MapInput",
    "MapOutput",
    "Result",
)
"""Generators make these of a resource's or function's name; a type of such a name would be there twice."""
PRIMITIVES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
}


class Finding(NamedTuple):
    """One thing that is wrong."""

    where: str
    """Path in the schema: `resources/spg99:index:Database/inputProperties/size`."""
    what: str


def lint(schema: Schema) -> list[Finding]:
    """Everything that is wrong, in the schema's order; empty when nothing is."""
    return [finding for rule in RULES for finding in rule(schema)]


def _objects(schema: Schema) -> Iterator[tuple[str, Mapping[str, Any], list[str]]]:
    """Every group of properties with its path and the names that it requires."""
    yield (
        "config/variables",
        schema.get("config", {}).get("variables", {}),
        schema.get("config", {}).get("defaults", []),
    )
    resources = {"provider": schema.get("provider", {})}
    resources |= {f"resources/{token}": found for token, found in schema.get("resources", {}).items()}
    for path, found in resources.items():
        yield f"{path}/properties", found.get("properties", {}), found.get("required", [])
        yield f"{path}/inputProperties", found.get("inputProperties", {}), found.get("requiredInputs", [])
        for name in ("stateInputs", "listInputs"):
            yield f"{path}/{name}", found.get(name, {}).get("properties", {}), found.get(name, {}).get("required", [])
    for token, found in schema.get("types", {}).items():
        yield f"types/{token}", found.get("properties", {}), found.get("required", [])
    for token, found in schema.get("functions", {}).items():
        for name in ("inputs", "outputs"):
            inside = found.get(name, {})
            yield f"functions/{token}/{name}", inside.get("properties", {}), inside.get("required", [])


def _properties(schema: Schema) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, properties, _ in _objects(schema):
        for name, found in properties.items():
            yield f"{path}/{name}", name, found


def references_lead_somewhere(schema: Schema) -> Iterator[Finding]:
    """A `$ref` names a type or resource of this document, or one of Pulumi's own."""
    known = {f"#/types/{token}" for token in schema.get("types", {})} | {
        f"#/resources/{token}" for token in schema.get("resources", {})
    }
    for path, _, found in _properties(schema):
        for reference in _references(found):
            if reference not in known and not reference.startswith("pulumi.json#/"):
                yield Finding(path, f"there is no {reference}")


def _references(spec: Any) -> Iterator[str]:
    if isinstance(spec, Mapping):
        if isinstance(spec.get("$ref"), str):
            yield spec["$ref"]
        for name in ("items", "additionalProperties"):
            yield from _references(spec.get(name))
        for one in spec.get("oneOf", ()):
            yield from _references(one)


def types_are_used(schema: Schema) -> Iterator[Finding]:
    """A type that nothing names would be generated for nobody."""
    used = {reference for _, _, found in _properties(schema) for reference in _references(found)}
    for token in schema.get("types", {}):
        if f"#/types/{token}" not in used:
            yield Finding(f"types/{token}", "nothing uses this type")


def required_names_exist(schema: Schema) -> Iterator[Finding]:
    """What is required is a property of the same object, and is named once."""
    for path, properties, required in _objects(schema):
        for name in required:
            if name not in properties:
                yield Finding(path, f"requires {name}, which is no property of it")
        if len(set(required)) != len(required):
            yield Finding(path, "requires a name twice")


def functions_take_one_object(schema: Schema) -> Iterator[Finding]:
    """Pulumi's generator for Go refuses a package with a function whose arguments are given by position."""
    for token, found in schema.get("functions", {}).items():
        if "multiArgumentInputs" in found:
            yield Finding(f"functions/{token}/multiArgumentInputs", "is refused by the generator for Go")


def names_are_free(schema: Schema) -> Iterator[Finding]:
    """No property is named as Pulumi, a language, or the class around it has it already."""
    for token, found in {"provider": schema.get("provider", {}), **schema.get("resources", {})}.items():
        path = "provider" if token == "provider" else f"resources/{token}"
        for name in {**found.get("properties", {}), **found.get("inputProperties", {})}:
            reserved = RESERVED_PROPERTIES | (RESERVED_SETTINGS if token == "provider" else frozenset())
            if name in reserved or name.startswith("__"):
                yield Finding(f"{path}/{name}", "is a name of Pulumi's own")
            if snake(name) in ARGUMENTS:
                yield Finding(f"{path}/{name}", "is a parameter of every constructor in Python")
            if pascal(snake(name)) == token.rpartition(":")[2]:
                yield Finding(f"{path}/{name}", "is named as its class: .NET refuses that")
    for name in schema.get("config", {}).get("variables", {}):
        if name in RESERVED_SETTINGS:
            yield Finding(f"config/variables/{name}", "is a name of Pulumi's own")


def words_are_free(schema: Schema) -> Iterator[Finding]:
    """No property is a word that a language keeps for itself. Go and .NET write ours with a capital; those are free."""
    for path, name, _ in _properties(schema):
        for language, words, spelled in (
            ("Python", frozenset(keyword.kwlist), snake(name)),
            ("JavaScript", JAVASCRIPT_WORDS, name),
            ("Java", JAVA_METHODS, name),
        ):
            if spelled in words:
                yield Finding(path, f"is a word of {language}")


def spelling_is_one(schema: Schema) -> Iterator[Finding]:
    """Names are camelCase and stay apart in every language's spelling, as do resources, functions and types."""
    for path, properties, _ in _objects(schema):
        seen: dict[str, str] = {}
        for name in properties:
            if not name.isidentifier() or "_" in name.strip("_") or name[:1].isupper():
                yield Finding(f"{path}/{name}", "is not camelCase")
            if (other := seen.setdefault(snake(name).replace("_", "").lower(), name)) != name:
                yield Finding(f"{path}/{name}", f"differs from {other} in spelling only")
    tokens: dict[str, list[str]] = defaultdict(list)
    for kind in ("types", "resources", "functions"):
        for token in schema.get(kind, {}):
            tokens[token.lower()].append(f"{kind}/{token}")
    for first, *others in tokens.values():
        for other in others:
            yield Finding(other, f"has the name of {first}")


def classes_stay_apart(schema: Schema) -> Iterator[Finding]:
    """No type is named as a class that generators make of a resource or function."""
    made: dict[str, str] = {}
    for kind in ("resources", "functions"):
        for token in schema.get(kind, {}):
            name = token.rpartition(":")[2]
            made |= {f"{name[:1].upper()}{name[1:]}{suffix}": f"{kind}/{token}" for suffix in SUFFIXES}
    for token in schema.get("types", {}):
        name = token.rpartition(":")[2]
        if name in made:
            yield Finding(f"types/{token}", f"has the name of a class that generators make of {made[name]}")


def tokens_are_ours(schema: Schema) -> Iterator[Finding]:
    """Every token is `<package>:index:<Name>`: resources and types with a capital, functions without."""
    for kind in ("types", "resources", "functions"):
        for token in schema.get(kind, {}):
            name = token.rpartition(":")[2]
            if token != f"{schema['name']}:index:{name}" or name[:1].isupper() == (kind == "functions"):
                yield Finding(f"{kind}/{token}", "is not spelled as the tokens of its kind")


def everything_is_described(schema: Schema) -> Iterator[Finding]:
    """Every property, resource, function, type and value of an enumeration says what it is."""
    for path, _, found in _properties(schema):
        if not found.get("description", "").strip():
            yield Finding(path, "has no description")
    for kind in ("types", "resources", "functions"):
        for token, found in schema.get(kind, {}).items():
            if not found.get("description", "").strip():
                yield Finding(f"{kind}/{token}", "has no description")
            for item in found.get("enum", ()):
                if not item.get("description", "").strip():
                    yield Finding(f"{kind}/{token}/{item['value']}", "has no description")
    for name in ("description", "displayName", "publisher", "license", "repository", "keywords"):
        if not schema.get(name):
            yield Finding(name, "is missing")


def enumerations_stay_apart(schema: Schema) -> Iterator[Finding]:
    """Values of an enumeration differ, have the enumeration's type, and have names that differ."""
    for token, found in schema.get("types", {}).items():
        for key, spell in (("value", str), ("name", str.lower)):
            seen: set[str] = set()
            for item in found.get("enum", ()):
                word = spell(str(item.get(key, item["value"])))
                if word in seen:
                    yield Finding(f"types/{token}", f"has the {key} {word} twice")
                seen.add(word)
        for item in found.get("enum", ()):
            if not isinstance(item["value"], PRIMITIVES[found["type"]]):
                yield Finding(f"types/{token}", f"the value {item['value']!r} is no {found['type']}")
            if not str(item.get("name", "")).isidentifier():
                yield Finding(f"types/{token}", f"the value {item['value']!r} has no name that a language could write")


def replacements_are_inputs(schema: Schema) -> Iterator[Finding]:
    """`willReplaceOnChanges` says something of inputs only."""
    for path, _, found in _properties(schema):
        if found.get("willReplaceOnChanges") and "/inputProperties/" not in path:
            yield Finding(path, "says willReplaceOnChanges, but is no input of a resource")


def secrets_stay_secret(schema: Schema) -> Iterator[Finding]:
    """What is a secret as an input is one as an output, and in what functions answer under the same name."""
    for token, found in schema.get("resources", {}).items():
        outputs = found.get("properties", {})
        secret = {
            name
            for part in ("properties", "inputProperties")
            for name, item in found.get(part, {}).items()
            if item.get("secret")
        }
        for name in sorted(secret & outputs.keys()):
            if not outputs[name].get("secret"):
                yield Finding(f"resources/{token}/properties/{name}", "is a secret as an input, but not as an output")
        title = token.rpartition(":")[2]
        read_outputs = (
            schema.get("functions", {})
            .get(f"{schema['name']}:index:get{title}", {})
            .get("outputs", {})
            .get("properties", {})
        )
        for name in sorted(secret & read_outputs.keys()):
            if not read_outputs[name].get("secret"):
                yield Finding(
                    f"functions/{schema['name']}:index:get{title}/outputs/{name}",
                    "is a secret of the resource, but not here",
                )


RULES: tuple[Callable[[Schema], Iterable[Finding]], ...] = (
    references_lead_somewhere,
    types_are_used,
    required_names_exist,
    functions_take_one_object,
    names_are_free,
    words_are_free,
    spelling_is_one,
    classes_stay_apart,
    tokens_are_ours,
    everything_is_described,
    enumerations_stay_apart,
    replacements_are_inputs,
    secrets_stay_secret,
)
