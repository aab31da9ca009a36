"""Examples of a noun in every language that Pulumi speaks, from one small declaration made of the shapes alone.

Here: which declaration, and how each language writes it. Not here: the schema around it (pulumi_schema.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from spg99.emit.names import camel, pascal
from spg99.shapes import Field, Noun, Package, Type

TIME = "2030-01-01T00:00:00Z"


class Reference(NamedTuple):
    """A value that another resource of the example answers."""

    variable: str
    field: str


class Declared(NamedTuple):
    """One resource of an example."""

    variable: str
    """In snake case."""
    noun: Noun
    values: dict[str, Any]
    """JSON values and References by field name."""


class Example(NamedTuple):
    """A whole small program."""

    package: Package
    resources: tuple[Declared, ...]
    shown: Reference | None
    """What the program exports."""


Writer = Callable[[Example], str]


def examples(package: Package, noun: Noun) -> str:
    """The examples of a noun as the part of a description that Pulumi's registry knows how to show."""
    example = example_of(package, noun)
    blocks = [f"```{name}\n{write(example)}```" for name, write in WRITERS.items()]
    return "\n\n".join(
        [
            "{{% examples %}}\n## Example Usage\n{{% example %}}",
            "<!--Start PulumiCodeChooser -->",
            *blocks,
            "<!--End PulumiCodeChooser -->",
            "{{% /example %}}\n{{% /examples %}}",
        ]
    )


def example_of(package: Package, noun: Noun) -> Example:
    """The declaration of one such object and of those it needs."""
    found: dict[str, Declared] = {}
    declared = _declare(package, noun, found)
    shown = next((field for field in noun.outputs if field.secret and not field.nullable), None)
    shown = shown or noun.output_named(noun.uid_field)
    return Example(package, tuple(found.values()), Reference(declared.variable, shown.name) if shown else None)


def _declare(package: Package, noun: Noun, found: dict[str, Declared]) -> Declared:
    if noun.noun in found:
        return found[noun.noun]
    kept = {"enum", "whole"}
    values: dict[str, Any] = {}
    for field in noun.inputs:
        if field.required or field.examples or (field.type.kind == "list" and field.type.of and field.type.of.values):
            values[field.name] = _value_or_reference(package, noun, field, found)
        elif field.type.kind in kept and not field.immutable and field.default is not None:
            kept.discard(field.type.kind)  # one of each kind shows how it is written
            values[field.name] = field.default
    named = noun.input_named("name")
    variable = str(values["name"]) if named is not None and named.examples else noun.noun
    taken = {declared.variable for declared in found.values()}
    found[noun.noun] = Declared(noun.noun if variable in taken else variable, noun, values)
    return found[noun.noun]


def _value_or_reference(package: Package, noun: Noun, field: Field, found: dict[str, Declared]) -> Any:
    other = package.noun_named(field.name)
    if other is not None and other.noun != noun.noun and other.id_fields() == ("name",):
        return Reference(_declare(package, other, found).variable, "name")
    return value_of(field)


def value_of(field: Field) -> Any:
    """A JSON value that this field takes."""
    if field.examples:
        return field.examples[0]
    if field.default not in (None, [], {}):
        return field.default
    return _value(field.type)


def _value(type_: Type) -> Any:
    if type_.kind == "enum":
        return type_.values[0].value
    if type_.kind == "list":
        return [_value(type_.of or Type("text"))]
    if type_.kind == "map":
        return {"key": _value(type_.of or Type("text"))}
    if type_.kind == "object":
        return {field.name: value_of(field) for field in type_.fields if field.required or field.examples}
    if type_.kind in ("whole", "number"):
        return type_.at_least if type_.at_least is not None else (type_.above or 0) + 1
    return {"flag": True, "time": TIME}.get(type_.kind, "example")


def _python(example: Example) -> str:
    name = example.package.name
    lines = ["import pulumi", f"import pulumi_{name} as {name}", ""]
    for item in example.resources:
        given = [f'"{_resource_name(item)}"']
        given += [f"{key}={_python_value(value)}" for key, value in item.values.items()]
        lines.append(f"{item.variable} = {name}.{item.noun.title}({', '.join(given)})")
    if example.shown:
        lines.append(f'pulumi.export("{camel(example.shown.field)}", {example.shown.variable}.{example.shown.field})')
    return _joined(lines)


def _python_value(value: Any) -> str:
    if isinstance(value, Reference):
        return f"{value.variable}.{value.field}"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {_python_value(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_python_value, value))}]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _typescript(example: Example) -> str:
    name = example.package.name
    lines = [f'import * as {name} from "@{name}/pulumi";', ""]
    for item in example.resources:
        lines.append(f'const {camel(item.variable)} = new {name}.{item.noun.title}("{_resource_name(item)}", {{')
        lines += [f"    {camel(key)}: {_typed(item, key, value, _script)}," for key, value in item.values.items()]
        lines.append("});")
    if example.shown:
        lines.append(f"export const {camel(example.shown.field)} = {_member(example.shown)};")
    return _joined(lines)


def _script(value: Any, type_: Type) -> str:
    if isinstance(value, Reference):
        return _member(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_script(item, inner)}" for key, item, inner in _entries(value, type_)) + " }"
    if isinstance(value, list):
        return f"[{', '.join(_script(item, type_.of or type_) for item in value)}]"
    return json.dumps(value)


def _go(example: Example) -> str:
    name = example.package.name
    path = f"github.com/{name}/{name}/sdk/go/{name}"
    lines = ["package main", "", "import (", '\t"github.com/pulumi/pulumi/sdk/v3/go/pulumi"', f'\t"{path}"', ")", ""]
    lines += ["func main() {", "\tpulumi.Run(func(ctx *pulumi.Context) error {"]
    used = _used(example)
    for item in example.resources:
        variable = camel(item.variable) if item.variable in used else "_"
        lines.append(
            f'\t\t{variable}, err := {name}.New{item.noun.title}(ctx, "{_resource_name(item)}", '
            f"&{name}.{item.noun.title}Args{{"
        )
        if variable == "_" and item is not example.resources[0]:
            lines[-1] = lines[-1].replace(":=", "=")
        for key, value in item.values.items():
            lines.append(f"\t\t\t{pascal(key)}: {_typed(item, key, value, _go_writer(name))},")
        lines += ["\t\t})", "\t\tif err != nil {", "\t\t\treturn err", "\t\t}"]
    if example.shown:
        shown = example.shown
        lines.append(f'\t\tctx.Export("{camel(shown.field)}", {camel(shown.variable)}.{pascal(shown.field)})')
    return _joined([*lines, "\t\treturn nil", "\t})", "}"])


def _go_writer(package: str) -> Callable[[Any, Type], str]:
    kinds = {"whole": "Int", "number": "Float64", "flag": "Bool"}

    def write(value: Any, type_: Type) -> str:
        if isinstance(value, Reference):
            return f"{camel(value.variable)}.{pascal(value.field)}"
        if type_.kind in ("list", "map") and type_.of is not None:
            inner = (
                f"{package}.{type_.of.name}"
                if type_.of.kind == "object"
                else f"pulumi.{kinds.get(type_.of.kind, 'String')}"
            )
            if type_.kind == "list":
                return f"{inner}Array{{{', '.join(write(item, type_.of) for item in value)}}}"
            return f"{inner}Map{{{', '.join(f'{json.dumps(key)}: {write(item, type_.of)}' for key, item in value.items())}}}"
        if type_.kind == "object":
            fields = ", ".join(
                f"{pascal(field.name)}: {write(value[field.name], field.type)}"
                for field in type_.fields
                if field.name in value
            )
            return f"&{package}.{type_.name}Args{{{fields}}}"
        return f"pulumi.{kinds.get(type_.kind, 'String')}({json.dumps(value)})"

    return write


def _csharp(example: Example) -> str:
    name = pascal(example.package.name)
    lines = ["using System.Collections.Generic;", "using Pulumi;", f"using {name} = Pulumi.{name};", ""]
    lines += ["return await Deployment.RunAsync(() =>", "{"]
    for item in example.resources:
        lines.append(f'    var {camel(item.variable)} = new {name}.{item.noun.title}("{_resource_name(item)}", new()')
        lines.append("    {")
        for key, value in item.values.items():
            lines.append(f"        {pascal(key)} = {_typed(item, key, value, _csharp_writer(name))},")
        lines.append("    });")
    if example.shown:
        shown = example.shown
        lines += ["    return new Dictionary<string, object?>", "    {"]
        lines += [f'        ["{camel(shown.field)}"] = {camel(shown.variable)}.{pascal(shown.field)},', "    };"]
    return _joined([*lines, "});"])


def _csharp_writer(package: str) -> Callable[[Any, Type], str]:
    def write(value: Any, type_: Type) -> str:
        if isinstance(value, Reference):
            return f"{camel(value.variable)}.{pascal(value.field)}"
        if isinstance(value, list):
            return f"new[] {{ {', '.join(write(item, type_.of or type_) for item in value)} }}"
        if type_.kind == "object":
            fields = ", ".join(
                f"{pascal(field.name)} = {write(value[field.name], field.type)}"
                for field in type_.fields
                if field.name in value
            )
            return f"new {package}.Inputs.{type_.name}Args {{ {fields} }}"
        if isinstance(value, dict):
            entries = ", ".join(
                f"[{json.dumps(key)}] = {write(item, type_.of or type_)}" for key, item in value.items()
            )
            return f"new() {{ {entries} }}"
        return json.dumps(value)

    return write


def _java(example: Example) -> str:
    package = f"com.pulumi.{example.package.name}"
    classes = sorted({item.noun.title for item in example.resources})
    objects = sorted({name for item in example.resources for name in _objects_in(item)})
    lines = ["package myproject;", "", "import com.pulumi.Pulumi;"]
    lines += [f"import {package}.{name}{suffix};" for name in classes for suffix in ("", "Args")]
    lines += [f"import {package}.inputs.{name}Args;" for name in objects]
    lines += ["import java.util.List;", "import java.util.Map;", "", "public class App {"]
    lines += ["    public static void main(String[] args) {", "        Pulumi.run(ctx -> {"]
    for item in example.resources:
        title = item.noun.title
        lines.append(
            f'            var {camel(item.variable)} = new {title}("{_resource_name(item)}", {title}Args.builder()'
        )
        lines += [
            f"                .{camel(key)}({_typed(item, key, value, _java_value)})"
            for key, value in item.values.items()
        ]
        lines.append("                .build());")
    if example.shown:
        shown = example.shown
        lines.append(f'            ctx.export("{camel(shown.field)}", {camel(shown.variable)}.{camel(shown.field)}());')
    return _joined([*lines, "        });", "    }", "}"])


def _java_value(value: Any, type_: Type) -> str:
    if isinstance(value, Reference):
        return f"{camel(value.variable)}.{camel(value.field)}()"
    if isinstance(value, list):
        return f"List.of({', '.join(_java_value(item, type_.of or type_) for item in value)})"
    if type_.kind == "object":
        fields = "".join(
            f".{camel(field.name)}({_java_value(value[field.name], field.type)})"
            for field in type_.fields
            if field.name in value
        )
        return f"{type_.name}Args.builder(){fields}.build()"
    if isinstance(value, dict):
        return f"Map.of({', '.join(f'{json.dumps(key)}, {_java_value(item, type_.of or type_)}' for key, item in value.items())})"
    return json.dumps(value)


def _yaml(example: Example) -> str:
    lines = ["resources:"]
    for item in example.resources:
        lines += [
            f"  {camel(item.variable)}:",
            f"    type: {example.package.name}:{item.noun.title}",
            "    properties:",
        ]
        lines += [f"      {camel(key)}: {_typed(item, key, value, _yaml_value)}" for key, value in item.values.items()]
    if example.shown:
        shown = example.shown
        lines += ["outputs:", f"  {camel(shown.field)}: ${{{camel(shown.variable)}.{camel(shown.field)}}}"]
    return _joined(lines)


def _yaml_value(value: Any, type_: Type) -> str:
    if isinstance(value, Reference):
        return f"${{{camel(value.variable)}.{camel(value.field)}}}"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{key}: {_yaml_value(item, inner)}" for key, item, inner in _entries(value, type_)) + "}"
        )
    if isinstance(value, list):
        return f"[{', '.join(_yaml_value(item, type_.of or type_) for item in value)}]"
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value)


def _typed(item: Declared, key: str, value: Any, write: Callable[[Any, Type], str]) -> str:
    field = item.noun.input_named(key)
    return write(value, field.type if field is not None else Type("text"))


def _entries(value: Mapping[str, Any], type_: Type) -> Iterable[tuple[str, Any, Type]]:
    """Keys as they travel, and what each holds: an object's are our field names, a map's are the user's."""
    if type_.kind == "object":
        types = {field.name: field.type for field in type_.fields}
        return [(camel(key), item, types[key]) for key, item in value.items()]
    return [(json.dumps(key), item, type_.of or type_) for key, item in value.items()]


def _objects_in(item: Declared) -> set[str]:
    types = [field.type for name in item.values if (field := item.noun.input_named(name)) is not None]
    found = set()
    while types:
        type_ = types.pop()
        if type_.kind == "object":
            found.add(type_.name)
        types += [inner for inner in (type_.of, *(field.type for field in type_.fields)) if inner is not None]
    return found


def _used(example: Example) -> set[str]:
    used = {
        value.variable for item in example.resources for value in item.values.values() if isinstance(value, Reference)
    }
    return used | ({example.shown.variable} if example.shown else set())


def _resource_name(item: Declared) -> str:
    return item.variable.replace("_", "-")


def _member(reference: Reference) -> str:
    return f"{camel(reference.variable)}.{camel(reference.field)}"


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Writer] = {
    "typescript": _typescript,
    "python": _python,
    "go": _go,
    "csharp": _csharp,
    "java": _java,
    "yaml": _yaml,
}
"""How each language writes an example, by the name of its code block."""
