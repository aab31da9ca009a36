"""What both SDK emitters ask of a schema: kinds of types, texts of descriptions. Not here: words of a language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Schema = Mapping[str, Any]
Spec = Mapping[str, Any]

_EXAMPLES = re.compile(r"\{\{% examples %\}\}.*?\{\{% /examples %\}\}\n*", re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Property(NamedTuple):
    """One property of a resource, type or function, as an emitter needs it."""

    name: str
    """As it travels: `idleTimeoutSeconds`."""
    spec: Spec
    required: bool

    @property
    def description(self) -> str:
        """In Markdown, with what to use instead where it is deprecated."""
        deprecated = self.spec.get("deprecationMessage")
        return str(self.spec.get("description", "")) + (f" Deprecated: {deprecated}" if deprecated else "")

    @property
    def secret(self) -> bool:
        """Whether it is kept encrypted."""
        return bool(self.spec.get("secret"))


def title_of(token: str) -> str:
    """`spg99:index:Database` -> `Database`."""
    return token.rpartition(":")[2]


def properties(group: Spec, names: str = "properties", required: str = "required") -> list[Property]:
    """The properties of a group, required ones first, else in the schema's order."""
    needed = set(group.get(required, ()))
    found = [Property(name, spec, name in needed) for name, spec in group.get(names, {}).items()]
    return sorted(found, key=lambda item: not item.required)


def inputs_of(resource: Spec) -> list[Property]:
    """The inputs of a resource, required ones first."""
    return properties(resource, "inputProperties", "requiredInputs")


def named_type(schema: Schema, spec: Spec) -> tuple[str, Spec]:
    """The type that a `$ref` names: its token and what it is. Raises KeyError when there is none."""
    token = str(spec["$ref"]).removeprefix("#/types/")
    return token, schema["types"][token]


def enum_in(schema: Schema, spec: Spec) -> str | None:
    """The token of the enumeration whose values this takes, or any text; None when it is something else."""
    for one in (spec, *spec.get("oneOf", ())):
        if "$ref" in one and "enum" in named_type(schema, one)[1]:
            return named_type(schema, one)[0]
    return None


def tokens_in(spec: Any) -> Iterator[str]:
    """Tokens of all types that a type names."""
    if isinstance(spec, Mapping):
        if "$ref" in spec:
            yield str(spec["$ref"]).removeprefix("#/types/")
        for inner in (spec.get("items"), spec.get("additionalProperties"), *spec.get("oneOf", ())):
            yield from tokens_in(inner)


def objects(schema: Schema) -> dict[str, Spec]:
    """The object types by token."""
    return {token: found for token, found in schema["types"].items() if "enum" not in found}


def enums(schema: Schema) -> dict[str, Spec]:
    """The enumerations by token."""
    return {token: found for token, found in schema["types"].items() if "enum" in found}


def objects_for_inputs(schema: Schema) -> dict[str, Spec]:
    """The object types that an input of a resource, a setting or a function takes, at any depth."""
    groups = [found.get("inputProperties", {}) for found in schema["resources"].values()]
    groups += [found.get("inputs", {}).get("properties", {}) for found in schema["functions"].values()]
    waiting = [token for group in groups for spec in group.values() for token in tokens_in(spec)]
    found: set[str] = set()
    while waiting:
        token = waiting.pop()
        if token not in found:
            found.add(token)
            inside = schema["types"][token].get("properties", {})
            waiting += [inner for spec in inside.values() for inner in tokens_in(spec)]
    return {token: item for token, item in objects(schema).items() if token in found}


def summary(description: str) -> str:
    """A description without its examples and what follows them."""
    return description.split("{{% examples %}}")[0].strip()


def example(description: str, language: str) -> str:
    """The example in one language, or nothing."""
    blocks: dict[str, str] = dict(_BLOCK.findall("".join(_EXAMPLES.findall(description))))
    return blocks.get(language, "")


def list_in(function: Spec) -> Property | None:
    """The one list that a function answers, if it answers nothing else."""
    found = properties(function["outputs"])
    return found[0] if len(found) == 1 and found[0].spec.get("type") == "array" else None


def biggest(schema: Schema) -> Spec:
    """The resource with the most properties: its example shows most."""
    found: Spec = max(schema["resources"].values(), key=lambda item: len(item["properties"]))
    return found
