"""Functions, settings and the provider of the Python SDK. Not here: resources and packaging (sdk_python.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from spg99.emit.names import snake
from spg99.emit.sdk_python_types import doc, input_hint, module_head, parameter, params_doc, quoted, result_hint
from spg99.emit.sdk_types import Property, Schema, Spec, inputs_of, list_in, properties, summary, title_of

IMPORTS = (
    "from typing import Any, Dict, Iterator, List, Literal, Mapping, Optional, Sequence, Tuple, TypedDict, Union, overload",
    "",
    "import pulumi",
    "",
)
"""What the modules of the SDK import."""


def functions(schema: Schema) -> str:
    lines = [
        module_head(schema, "Functions: reads of what others manage, and pure ones.", IMPORTS),
        "from . import _inputs, _package, outputs",
        "",
    ]
    for token, found in schema["functions"].items():
        name = title_of(token)
        lines += [
            "",
            *result_class(schema, result_name(name), properties(found["outputs"]), found["outputs"]["description"]),
        ]
        if (only := list_in(found)) is not None:
            lines += _like_a_list(schema, only)
        lines += ["", "", *_function(schema, token, found, is_output=False), "", ""]
        lines += [*_function(schema, token, found, is_output=True), ""]
    return "\n".join(lines)


def result_name(function: str) -> str:
    return f"{function[:1].upper()}{function[1:]}Result"


def _like_a_list(schema: Schema, only: Property) -> list[str]:
    """A result that is nothing but a list may be walked through as one."""
    field, item = snake(only.name), result_hint(schema, Property(only.name, only.spec["items"], True))
    return [
        "",
        f"    def __iter__(self) -> Iterator[{item}]:",
        f"        return iter(self.{field})",
        "",
        "    def __len__(self) -> int:",
        f"        return len(self.{field})",
    ]


def _function(schema: Schema, token: str, found: Spec, *, is_output: bool) -> list[str]:
    name, result = snake(title_of(token)), result_name(title_of(token))
    items = properties(found.get("inputs", {}))
    parameters = []
    for item in items:
        hint = input_hint(schema, item.spec, plain=not is_output)
        hint = f"pulumi.Input[{hint}]" if is_output else hint
        parameters.append(f"{snake(item.name)}: {hint if item.required else f'Optional[{hint}] = None'}")
    options = "Union[pulumi.InvokeOptions, pulumi.InvokeOutputOptions]" if is_output else "pulumi.InvokeOptions"
    parameters.append(f"opts: Optional[{options}] = None")
    given = ", ".join(f'"{item.name}": {snake(item.name)}' for item in items)
    returned = f"pulumi.Output[{result}]" if is_output else result
    call = "invoke_output" if is_output else "invoke"
    lines = [f"def {name}{'_output' if is_output else ''}({', '.join(parameters)}) -> {returned}:"]
    said = summary(found["description"]) + (" Takes outputs, and runs when they are known." if is_output else "")
    lines += params_doc(" ".join(said.split()), items, 4)
    lines.append(f"    given: Dict[str, Any] = {{{given}}}")
    if is_output:
        lines.append(
            f'    found: {returned} = pulumi.runtime.invoke_output("{token}", given, opts=_package.invoke_options(opts), typ={result})'
        )
    else:
        lines.append(
            f'    found: {returned} = pulumi.runtime.{call}("{token}", given, opts=_package.invoke_options(opts), typ={result}).value'
        )
    return [*lines, "    return found"]


def config(schema: Schema) -> str:
    lines = [
        module_head(
            schema,
            "Settings of this package in the stack's configuration, else in the environment.",
            ("from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple", ""),
        ),
        "from . import _package",
        "",
        "if TYPE_CHECKING:",
    ]
    where = {}
    for name, spec in schema["config"]["variables"].items():
        lines += [f"    {snake(name)}: Optional[str]", doc(spec["description"], 4)]
        where[snake(name)] = (name, *spec.get("defaultInfo", {}).get("environment", ()))
    lines += ["", f"_WHERE: Dict[str, Tuple[str, ...]] = {table(where)}", "", ""]
    lines += [
        "def __getattr__(name: str) -> Any:",
        "    if name not in _WHERE:",
        '        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")',
        "    from pulumi.runtime.config import get_config",
        "",
        "    key, *variables = _WHERE[name]",
        '    found = get_config(f"{_package.NAME}:{key}")',
        "    return found if found is not None else _package.environment(*variables)",
    ]
    return "\n".join(lines) + "\n"


def provider(schema: Schema) -> str:
    inputs = inputs_of(schema["provider"])
    lines = [
        module_head(schema, "Provider: a Control Plane of its own for some resources.", IMPORTS),
        "from . import _package",
        "",
        "",
        "class Provider(pulumi.ProviderResource):",
        doc(summary(schema["provider"]["description"]), 4),
        "",
        "    def __init__(",
        "        self,",
        "        resource_name: str,",
        "        opts: Optional[pulumi.ResourceOptions] = None,",
        *(["        *,"] if inputs else []),
        *[f"        {parameter(schema, item)}," for item in inputs],
        "    ) -> None:",
        *params_doc("", inputs, 8),
        "        given: Dict[str, Any] = {}",
    ]
    for item in inputs:
        # The environment is the plugin's to read: what stands in a provider's inputs stays in the state.
        field = snake(item.name)
        value = f"pulumi.Output.secret({field})" if item.secret else field
        if item.spec.get("type") != "string":
            # The settings of a provider travel as text.
            value = f"pulumi.Output.from_input({value}).apply(pulumi.runtime.to_json)"
        lines += [f"        if {field} is not None:", f'            given["{item.name}"] = {value}']
    lines.append("        super().__init__(_package.NAME, resource_name, given, _package.resource_options(opts))")
    return "\n".join(lines) + "\n"


def result_class(schema: Schema, name: str, items: list[Property], said: str, module: str = "outputs.") -> list[str]:
    lines = ["@pulumi.output_type", f"class {name}:", doc(said, 4), ""]
    for item in items:
        hint = result_hint(schema, item, module)
        lines += [f'    {snake(item.name)}: {hint} = pulumi.property("{item.name}")', doc(item.description, 4)]
    return lines


def table(values: Mapping[str, object]) -> str:
    return "{\n" + "".join(f"    {json.dumps(key)}: {_literal(value)},\n" for key, value in values.items()) + "}"


def _literal(value: object) -> str:
    return f"({quoted(map(str, value))})" if isinstance(value, tuple) else json.dumps(value)
