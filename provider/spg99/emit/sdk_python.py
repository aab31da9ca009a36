"""Writes `sdk/python` from the package schema: typed resources, functions, settings, packaging. Not here: types (sdk_python_types.py)."""

from __future__ import annotations

import json

from spg99.emit.names import snake
from spg99.emit.sdk_python_functions import IMPORTS, config, functions, provider, result_class, result_name, table
from spg99.emit.sdk_python_texts import LAZY, PACKAGE, PROJECT, README
from spg99.emit.sdk_python_types import (
    attribute,
    doc,
    input_hint,
    module_head,
    parameter,
    params_doc,
    quoted,
    result_hint,
)
from spg99.emit.sdk_types import (
    Property,
    Schema,
    Spec,
    biggest,
    enums,
    example,
    inputs_of,
    objects,
    objects_for_inputs,
    properties,
    summary,
    title_of,
    tokens_in,
)


def files(schema: Schema) -> dict[str, str]:
    """Every file of the SDK by its path inside `sdk/python`."""
    module = schema["language"]["python"]["packageName"]
    inside = {
        "__init__.py": _init(schema),
        "_package.py": _package(schema),
        "_inputs.py": _inputs(schema),
        "outputs.py": _outputs(schema),
        "enums.py": _enums(schema),
        "functions.py": functions(schema),
        "config.py": config(schema),
        "provider.py": provider(schema),
        "py.typed": "",
        "pulumi-plugin.json": _plugin(schema),
    }
    inside |= {f"{_module(token)}.py": _resource(schema, token) for token in schema["resources"]}
    outside = {"pyproject.toml": _project(schema), "README.md": _readme(schema)}
    return outside | {f"{module}/{name}": content for name, content in inside.items()}


def _module(token: str) -> str:
    return snake(title_of(token))


def _plugin(schema: Schema) -> str:
    return json.dumps({"resource": True, "name": schema["name"], "version": schema["version"]}, indent=2) + "\n"


def _project(schema: Schema) -> str:
    python = schema["language"]["python"]
    return PROJECT.format(
        distribution=python["packageName"].replace("_", "-"),
        version=schema["version"],
        description=schema["description"],
        license=schema["license"],
        homepage=schema["homepage"],
        repository=schema["repository"],
        module=python["packageName"],
        dependencies=", ".join(f'"{name}{bounds}"' for name, bounds in sorted(python["requires"].items())),
        keywords=", ".join(f'"{word}"' for word in schema["keywords"] if "/" not in word),
    )


def _readme(schema: Schema) -> str:
    module = schema["language"]["python"]["packageName"]
    shown = example(biggest(schema)["description"], "python")
    settings = "\n".join(
        f"- `{schema['name']}:{name}`: {spec['description']}" for name, spec in schema["config"]["variables"].items()
    )
    return README.format(
        distribution=module.replace("_", "-"),
        module=module,
        name=schema["name"],
        version=schema["version"],
        description=schema["description"],
        example=shown,
        settings=settings,
    )


def _package(schema: Schema) -> str:
    where = {token: (_module(token), title_of(token)) for token in schema["resources"]}
    body = PACKAGE.format(version=schema["version"], name=schema["name"], resources=table(where))
    return (
        module_head(schema, "What all resources and functions share: the version, options, how they register.") + body
    )


def _init(schema: Schema) -> str:
    where: dict[str, str] = {"Provider": "provider"}
    for token in schema["resources"]:
        where |= {title_of(token): _module(token), f"{title_of(token)}Args": _module(token)}
    where |= {title_of(token): "enums" for token in enums(schema)}
    for token in objects_for_inputs(schema):
        where |= {f"{title_of(token)}Args": "_inputs", f"{title_of(token)}ArgsDict": "_inputs"}
    for token in schema["functions"]:
        name = title_of(token)
        where |= {result_name(name): "functions", snake(name): "functions", f"{snake(name)}_output": "functions"}
    where = dict(sorted(where.items()))
    modules = ("config", "enums", "outputs")
    imports = [f"    from . import {module} as {module}" for module in modules]
    imports += [f"    from .{module} import {name} as {name}" for name, module in where.items()]
    names = "".join(f'    "{name}",\n' for name in sorted([*where, *modules]))
    body = LAZY.format(imports="\n".join(imports), names=names, where=table(where), modules=f"({quoted(modules)})")
    return module_head(schema, schema["description"]) + body


def _resource(schema: Schema, token: str) -> str:
    found, title = schema["resources"][token], title_of(token)
    inputs, outputs = inputs_of(found), properties(found)
    secrets = [item.name for item in outputs if item.secret]
    lines = [
        "",
        f'__all__ = ["{title}", "{title}Args"]',
        "",
        "",
        *_arguments(schema, f"{title}Args", inputs, f"The inputs of {title}."),
        "",
        "",
        f"class {title}(_package.Resource):",
        doc(_documented(found["description"]), 4),
        "",
        f'    TOKEN = "{token}"',
        f"    ARGS = {title}Args",
        f"    OUTPUTS = ({quoted(snake(item.name) for item in outputs)})",
        f"    REQUIRED = ({quoted(snake(item.name) for item in inputs if item.required)})",
        f"    SECRET_INPUTS = ({quoted(snake(item.name) for item in inputs if item.secret)})",
        f"    SECRETS = ({quoted(secrets)})",
        f"    ALIASES = ({quoted(alias['type'] for alias in found.get('aliases', ()))})",
        "",
    ]
    for item in sorted(outputs, key=lambda item: list(found["properties"]).index(item.name)):
        lines.append(
            f'    {snake(item.name)}: pulumi.Output[{result_hint(schema, item)}] = pulumi.property("{item.name}")'
        )
        lines.append(doc(item.description, 4))
    lines += ["", *_constructors(schema, title, inputs), ""]
    lines += [
        "    @classmethod",
        f'    def get(cls, resource_name: str, id: pulumi.Input[str], opts: Optional[pulumi.ResourceOptions] = None) -> "{title}":',
        '        """Reads an object that is managed elsewhere, by its id."""',
        "        found = cls.__new__(cls)",
        "        found._register(resource_name, pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(id=id)), {})",
        "        return found",
        "",
    ]
    text = "\n".join(lines)
    # Classes of nested values take milliseconds to load: only where there are some.
    modules = [name for name in ("_inputs", "_package", "outputs") if f"{name}." in text]
    head = module_head(schema, f"{title}: the resource and its arguments.", IMPORTS)
    return f"{head}\nfrom . import {', '.join(modules)}\n{text}"


def _documented(description: str) -> str:
    shown = example(description, "python")
    return summary(description) + (f"\n\nExample::\n\n{_indented(shown)}" if shown else "")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def _arguments(schema: Schema, name: str, inputs: list[Property], said: str, module: str = "_inputs.") -> list[str]:
    """An arguments class: attributes for Pulumi, a constructor for people."""

    def local(text: str) -> str:
        return text.replace("_inputs.", module)

    lines = ["@pulumi.input_type", f"class {name}:", doc(said, 4), ""]
    for item in inputs:
        lines += [f"    {local(attribute(schema, item))}", doc(item.description, 4)]
    if not inputs:
        return [*lines, "    def __init__(self) -> None:", "        pass"]
    lines += ["", "    def __init__(", "        self,", "        *,"]
    lines += [f"        {local(parameter(schema, item))}," for item in inputs]
    lines.append("    ) -> None:")
    for item in inputs:
        field = snake(item.name)
        if item.required:
            lines.append(f'        pulumi.set(self, "{field}", {field})')
        else:
            lines += [f"        if {field} is not None:", f'            pulumi.set(self, "{field}", {field})']
    return lines


def _constructors(schema: Schema, title: str, inputs: list[Property]) -> list[str]:
    lines = ["    @overload", "    def __init__(", "        self,", "        resource_name: str,"]
    lines += ["        opts: Optional[pulumi.ResourceOptions] = None,", *(["        *,"] if inputs else [])]
    lines += [f"        {parameter(schema, item)}," for item in inputs]
    lines.append("    ) -> None:")
    lines += params_doc("", inputs, 8)
    lines += [
        "",
        "    @overload",
        f"    def __init__(self, resource_name: str, args: {title}Args, opts: Optional[pulumi.ResourceOptions] = None) -> None: ...",
        "",
        "    def __init__(self, resource_name: str, *given: Any, **named: Any) -> None:",
        "        self._declare(resource_name, given, named)",
    ]
    return lines


def _inputs(schema: Schema) -> str:
    """Classes of nested objects that an input takes, each also as a dict with the same keys."""
    lines = [module_head(schema, "What nested inputs hold, as classes and as dicts.", IMPORTS), ""]
    for token, found in _in_order(objects_for_inputs(schema)).items():
        title, inside = title_of(token), properties(found)
        for base, total in (
            ("Required", [item for item in inside if item.required]),
            ("", [item for item in inside if not item.required]),
        ):
            parent, whole = ("TypedDict", "") if base else (f"_{title}ArgsDictRequired", ", total=False")
            name = f"_{title}ArgsDictRequired" if base else f"{title}ArgsDict"
            lines += ["", f"class {name}({parent}{whole}):", doc(summary(found["description"]), 4)]
            for item in total:
                hint = input_hint(schema, item.spec).replace("_inputs.", "")
                lines.append(f'    {snake(item.name)}: "pulumi.Input[{_unquoted(hint)}]"')
            lines.append("")
        body = _arguments(schema, f"{title}Args", inside, summary(found["description"]), module="")
        lines += ["", *body, ""]
    return "\n".join(lines).rstrip() + "\n"


def _unquoted(hint: str) -> str:
    return hint.replace('"', "'")


def _outputs(schema: Schema) -> str:
    lines = [module_head(schema, "What nested outputs and the items of lists hold.", IMPORTS), ""]
    for token, found in _in_order(objects(schema)).items():
        lines += ["", *result_class(schema, title_of(token), properties(found), summary(found["description"]), ""), ""]
    return "\n".join(lines).rstrip() + "\n"


def _in_order(types: dict[str, Spec]) -> dict[str, Spec]:
    """The objects, each after those that it holds: Python reads their annotations at once."""
    waiting, found = dict(types), dict[str, Spec]()
    while waiting:
        ready = [
            token
            for token, item in waiting.items()
            if not {inner for spec in item["properties"].values() for inner in tokens_in(spec)}
            & waiting.keys() - {token}
        ]
        if not ready:
            raise ValueError(f"types that hold each other: {', '.join(waiting)}")
        found |= {token: waiting.pop(token) for token in ready}
    return found


def _enums(schema: Schema) -> str:
    lines = [
        module_head(schema, "Values that inputs know by name. Any text is taken as well.", ("from enum import Enum",))
    ]
    for token, found in enums(schema).items():
        lines += ["", "", f"class {title_of(token)}(str, Enum):", doc(summary(found["description"]), 4), ""]
        for item in found["enum"]:
            lines.append(f"    {snake(item['name']).upper()} = {json.dumps(item['value'])}")
            if item.get("description"):
                lines.append(doc(item["description"], 4))
        lines += ["", "    def __str__(self) -> str:", "        return str(self.value)"]
    return "\n".join(lines) + "\n"
