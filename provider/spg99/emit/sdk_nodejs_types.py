"""Type declarations of the Node.js SDK. Not here: what is declared (sdk_nodejs.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable

from spg99.emit.names import camel, snake
from spg99.emit.sdk_types import (
    Property,
    Schema,
    Spec,
    enum_in,
    enums,
    example,
    inputs_of,
    named_type,
    objects,
    objects_for_inputs,
    properties,
    summary,
    title_of,
)

PULUMI = 'import * as pulumi from "@pulumi/pulumi";\n'
_PRIMITIVES = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}


def file_of(token: str) -> str:
    """The module of a resource: `spg99:index:ApiKey` -> `apiKey`."""
    return camel(snake(title_of(token)))


def input_type(schema: Schema, spec: Spec, *, plain: bool = False) -> str:
    """The type of an input, its inner parts Inputs of their own unless it is `plain`."""
    if (token := enum_in(schema, spec)) is not None:
        return f"enums.{title_of(token)} | (string & {{}})"
    if "$ref" in spec:
        return f"inputs.{title_of(named_type(schema, spec)[0])}Args"
    if spec.get("type") in ("array", "object"):
        inner = spec["items"] if spec["type"] == "array" else spec.get("additionalProperties", {"type": "string"})
        hint = input_type(schema, inner, plain=plain)
        hint = hint if plain else f"pulumi.Input<{hint}>"
        return f"({hint})[]" if spec["type"] == "array" else f"{{ [key: string]: {hint} }}"
    return _PRIMITIVES[spec["type"]]


def output_type(schema: Schema, spec: Spec) -> str:
    """The type of an output."""
    if enum_in(schema, spec) is not None:
        return "string"
    if "$ref" in spec:
        return f"outputs.{title_of(named_type(schema, spec)[0])}"
    if spec.get("type") == "array":
        return f"{output_type(schema, spec['items'])}[]"
    if spec.get("type") == "object":
        inner = output_type(schema, spec.get("additionalProperties", {"type": "string"}))
        return f"{{ [key: string]: {inner} }}"
    return _PRIMITIVES[spec["type"]]


def _imports(*modules: str) -> str:
    return PULUMI + "".join(f'import * as {name} from "./{name}";\n' for name in modules) + "\n"


def _doc(text: str, indent: int = 0) -> list[str]:
    lead = " " * indent
    lines = text.strip().replace("*/", "*\\/").splitlines()
    return [f"{lead}/**", *(f"{lead} * {line}".rstrip() for line in lines), f"{lead} */"]


def _inputs(schema: Schema, items: Iterable[Property], *, plain: bool = False) -> list[str]:
    lines = []
    for item in items:
        hint = input_type(schema, item.spec, plain=plain)
        lines += _described(item)
        lines.append(f"    {item.name}{'' if item.required else '?'}: {hint if plain else f'pulumi.Input<{hint}>'};")
    return lines


def _outputs(schema: Schema, items: Iterable[Property]) -> list[str]:
    lines = []
    for item in items:
        lines += _described(item)
        lines.append(f"    readonly {item.name}{'' if item.required else '?'}: {output_type(schema, item.spec)};")
    return lines


def _described(item: Property) -> list[str]:
    deprecated = item.spec.get("deprecationMessage")
    return _doc(str(item.spec.get("description", "")) + (f"\n\n@deprecated {deprecated}" if deprecated else ""), 4)


def declared_resource(schema: Schema, token: str) -> str:
    """The declarations of a resource and its arguments."""
    found, title = schema["resources"][token], title_of(token)
    outputs = properties(found)
    shown = example(found["description"], "typescript")
    lines = [_imports("enums", "inputs", "outputs").rstrip(), ""]
    lines += _doc(summary(found["description"]) + (f"\n\n```typescript\n{shown}```" if shown else ""))
    lines += [f"export declare class {title} extends pulumi.CustomResource {{"]
    lines += _doc("Reads an object that is managed elsewhere, by its id.", 4)
    lines += [
        f"    static get(name: string, id: pulumi.Input<pulumi.ID>, opts?: pulumi.CustomResourceOptions): {title};",
        f"    static isInstance(value: any): value is {title};",
    ]
    for item in outputs:
        hint = output_type(schema, item.spec) + ("" if item.required else " | undefined")
        lines += [*_described(item), f"    readonly {item.name}: pulumi.Output<{hint}>;"]
    optional = "" if found.get("requiredInputs") else "?"
    lines += [
        f"    constructor(name: string, args{optional}: {title}Args, opts?: pulumi.CustomResourceOptions);",
        "}",
        "",
        *_doc(f"The inputs of {title}."),
        f"export interface {title}Args {{",
        *_inputs(schema, inputs_of(found)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def declared_provider(schema: Schema) -> str:
    """The declarations of the provider."""
    return "\n".join(
        [
            _imports("enums", "inputs", "outputs").rstrip(),
            "",
            *_doc(summary(schema["provider"]["description"])),
            "export declare class Provider extends pulumi.ProviderResource {",
            "    static isInstance(value: any): value is Provider;",
            "    constructor(name: string, args?: ProviderArgs, opts?: pulumi.ResourceOptions);",
            "}",
            "",
            "export interface ProviderArgs {",
            *_inputs(schema, inputs_of(schema["provider"])),
            "}",
            "",
        ]
    )


def declared_inputs(schema: Schema) -> str:
    """The declarations of nested inputs."""
    lines = [PULUMI + 'import * as enums from "./enums";\nimport * as inputs from "./inputs";\n']
    for token, found in objects_for_inputs(schema).items():
        lines += _doc(summary(found["description"]))
        lines += [f"export interface {title_of(token)}Args {{", *_inputs(schema, properties(found)), "}", ""]
    return "\n".join(lines) + ("" if objects_for_inputs(schema) else "export {};\n")


def declared_outputs(schema: Schema) -> str:
    """The declarations of nested outputs and of the items of lists."""
    lines = ['import * as outputs from "./outputs";\n']
    for token, found in objects(schema).items():
        lines += _doc(summary(found["description"]))
        lines += [f"export interface {title_of(token)} {{", *_outputs(schema, properties(found)), "}", ""]
    return "\n".join(lines) + ("" if objects(schema) else "export {};\n")


def declared_enums(schema: Schema) -> str:
    """The declarations of enumerations: values by name, and their type."""
    lines: list[str] = []
    for token, found in enums(schema).items():
        title = title_of(token)
        lines += [*_doc(summary(found["description"])), f"export declare const {title}: {{"]
        for item in found["enum"]:
            lines += _doc(item["description"], 4) if item.get("description") else []
            lines.append(f"    readonly {item['name']}: {json.dumps(item['value'])};")
        lines += ["};", f"export type {title} = (typeof {title})[keyof typeof {title}];", ""]
    return "\n".join(lines) + ("" if lines else "export {};\n")


def declared_functions(schema: Schema) -> str:
    """The declarations of functions, of what they take and answer."""
    lines = [_imports("enums", "inputs", "outputs").rstrip(), ""]
    for token, found in schema["functions"].items():
        name, result = title_of(token), f"{title_of(token)[:1].upper()}{title_of(token)[1:]}"
        items = properties(found.get("inputs", {}))
        for suffix, options, returned in (
            ("", "pulumi.InvokeOptions", f"Promise<{result}Result>"),
            ("Output", "pulumi.InvokeOutputOptions", f"pulumi.Output<{result}Result>"),
        ):
            if items:
                optional = "" if any(item.required for item in items) else "?"
                parameters = [f"args{optional}: {result}{suffix}Args"]
            else:
                parameters = []
            parameters.append(f"opts?: {options}")
            lines += _doc(summary(found["description"]))
            lines += [f"export declare function {name}{suffix}({', '.join(parameters)}): {returned};", ""]
            if items:
                lines += [
                    f"export interface {result}{suffix}Args {{",
                    *_inputs(schema, items, plain=not suffix),
                    "}",
                    "",
                ]
        lines += _doc(found["outputs"]["description"])
        lines += [f"export interface {result}Result {{", *_outputs(schema, properties(found["outputs"])), "}", ""]
    return "\n".join(lines)


def declared_index(schema: Schema) -> str:
    """The declarations of the whole package."""
    lines = [
        f'export {{ {title_of(token)}, {title_of(token)}Args }} from "./{file_of(token)}";'
        for token in schema["resources"]
    ]
    lines += [
        'export { Provider, ProviderArgs } from "./provider";',
        'export * from "./functions";',
        'export * from "./enums";',
        'import * as config from "./config";',
        'import * as enums from "./enums";',
        'import * as input from "./inputs";',
        'import * as output from "./outputs";',
        "export { config, enums };",
        "export declare namespace types {",
        "    export { enums, input, output };",
        "}",
    ]
    return "\n".join(lines) + "\n"
