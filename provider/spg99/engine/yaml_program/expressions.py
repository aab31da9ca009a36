"""What may stand where a value is wanted: plain values, `${references}`, `fn::` calls. Here: from text to expressions. Not here:
their worth (evaluate.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from spg99.engine.yaml_program.functions import FUNCTIONS, REFUSED
from spg99.engine.yaml_program.source import Node, Place, Problem, did_you_mean

Step: TypeAlias = "str | int"
_NAME = re.compile(r"[A-Za-z_][\w:-]*")
_STEP = re.compile(r"""\.([^.\[\]"}\s]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]""")


@dataclass(frozen=True)
class Literal:
    """A plain value."""

    value: str | int | float | bool | None
    place: Place


@dataclass(frozen=True)
class Reference:
    """`${name.step[0]["step"]}`"""

    name: str
    steps: tuple[Step, ...]
    place: Place

    def __str__(self) -> str:
        text = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in self.steps)
        return f"${{{self.name}{text}}}"


@dataclass(frozen=True)
class Text:
    """Text with references in it."""

    parts: tuple[str | Reference, ...]
    place: Place


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Expression, ...]
    place: Place


@dataclass(frozen=True)
class Fields:
    """A mapping."""

    fields: dict[str, Expression]
    place: Place


@dataclass(frozen=True)
class Call:
    """A function of the language."""

    function: str
    argument: Expression
    place: Place


@dataclass(frozen=True)
class Invoke:
    """A function of a provider."""

    token: str
    arguments: Expression | None
    options: dict[str, Expression]
    returned: str
    """the one property of the answer that is wanted; empty: all of it"""
    place: Place


Expression: TypeAlias = "Literal | Reference | Text | Items | Fields | Call | Invoke"

_INVOKE_KEYS = {"function", "arguments", "options", "return"}
INVOKE_OPTIONS = {"parent", "provider", "version", "pluginDownloadURL", "dependsOn"}


def parse(node: Node) -> Expression:
    """The expression that a value of the text is. Raises Problem."""
    value = node.value
    if isinstance(value, str):
        return _text(value, node.place)
    if isinstance(value, list):
        return Items(tuple(parse(item) for item in value), node.place)
    if not isinstance(value, dict):
        return Literal(value, node.place)
    calls = [key for key in value if key.lower().startswith("fn::")]
    if not calls:
        return Fields({key: parse(item) for key, item in value.items()}, node.place)
    if len(value) > 1:
        raise Problem(node.key_places[calls[0]], f"`{calls[0]}` must be the only key of its mapping.")
    return _call(calls[0], value[calls[0]], node.key_places[calls[0]])


def _call(key: str, argument: Node, place: Place) -> Expression:
    name = key[4:]
    if name == "invoke":
        return _invoke(argument, place)
    if ":" in name:  # `fn::spg99:getDatabase: {...}`: the short form of an invoke
        return Invoke(token(name), parse(argument), {}, "", place)
    if name in FUNCTIONS and key.startswith("fn::"):
        return Call(name, parse(argument), place)
    if name in REFUSED:
        raise Problem(
            place, f"The embedded engine does not do `{key}` ({REFUSED[name]}). Use the Pulumi CLI for this program."
        )
    hint = did_you_mean(key, [f"fn::{known}" for known in (*FUNCTIONS, "invoke")])
    raise Problem(place, f"There is no function `{key}`.{hint}")


def _invoke(node: Node, place: Place) -> Invoke:
    if not isinstance(node.value, dict):
        raise Problem(node.place, "`fn::invoke` takes a mapping with `function` and `arguments`.")
    check_keys(node, _INVOKE_KEYS, "`fn::invoke`")
    function, returned = node.value.get("function"), node.value.get("return")
    if function is None or not isinstance(function.value, str):
        raise Problem(function.place if function else node.place, "`fn::invoke` needs the name of a `function`.")
    if returned is not None and not isinstance(returned.value, str):
        raise Problem(returned.place, "`return` names one property of the answer.")
    options: dict[str, Expression] = {}
    if (given := node.value.get("options")) is not None:
        if not isinstance(given.value, dict):
            raise Problem(given.place, "`options` must be a mapping.")
        check_keys(given, INVOKE_OPTIONS, "the options of `fn::invoke`")
        options = {key: parse(value) for key, value in given.value.items()}
    arguments = node.value.get("arguments")
    return Invoke(
        token(function.value),
        parse(arguments) if arguments is not None else None,
        options,
        str(returned.value) if returned is not None else "",
        place,
    )


def check_keys(node: Node, known: set[str], what: str) -> None:
    """Raises Problem at the first key that is not known."""
    assert isinstance(node.value, dict)
    for key in node.value:
        if key not in known:
            raise Problem(node.key_places[key], f"`{key}` is not known in {what}.{did_you_mean(key, known)}")


def _text(text: str, place: Place) -> Expression:
    parts: list[str | Reference] = []
    rest = text
    plain = ""
    while rest:
        before, mark, after = rest.partition("${")
        if not mark:
            plain += rest
            break
        if before.endswith("$"):  # `$${` is how `${` itself is written
            plain, rest = plain + before[:-1] + "${", after
            continue
        reference, rest = _reference(after, place)
        if plain + before:
            parts.append(plain + before)
        plain = ""
        parts.append(reference)
    if plain:
        parts.append(plain)
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return parts[0]
    if any(isinstance(part, Reference) for part in parts):
        return Text(tuple(parts), place)
    return Literal("".join(str(part) for part in parts), place)


def _reference(text: str, place: Place) -> tuple[Reference, str]:
    """The reference at the start of `text` (behind its `${`), and what follows its brace."""
    match = _NAME.match(text)
    if match is None:
        raise Problem(
            place, f"`${{{text[:20]}` names nothing. Write `${{name.property}}`, and `$${{` for a plain `${{`."
        )
    position = match.end()
    steps: list[Step] = []
    while step := _STEP.match(text, position):
        if step[2] is not None:
            steps.append(int(step[2]))
        else:
            steps.append(step[1] if step[1] is not None else re.sub(r"\\(.)", r"\1", step[3]))
        position = step.end()
    if text[position : position + 1] != "}":
        raise Problem(place, f'`${{{text[:position]}` does not end as it should. Write `${{name.property[0]["key"]}}`.')
    return Reference(match[0], tuple(steps), place), text[position + 1 :]


def references(expression: Expression | None) -> Iterator[Reference]:
    """Every reference in an expression."""
    if isinstance(expression, Reference):
        yield expression
    elif isinstance(expression, Text):
        yield from (part for part in expression.parts if isinstance(part, Reference))
    elif isinstance(expression, Items):
        for item in expression.items:
            yield from references(item)
    elif isinstance(expression, Fields):
        for item in expression.fields.values():
            yield from references(item)
    elif isinstance(expression, Call):
        yield from references(expression.argument)
    elif isinstance(expression, Invoke):
        yield from references(expression.arguments)
        for item in expression.options.values():
            yield from references(item)


def invokes(expression: Expression | None) -> Iterator[Invoke]:
    """Every call of a provider's function in an expression."""
    if isinstance(expression, Invoke):
        yield expression
        yield from invokes(expression.arguments)
    elif isinstance(expression, Items):
        for item in expression.items:
            yield from invokes(item)
    elif isinstance(expression, Fields):
        for item in expression.fields.values():
            yield from invokes(item)
    elif isinstance(expression, Call):
        yield from invokes(expression.argument)


def token(text: str) -> str:
    """A resource's type or a function as the engine spells it: `spg99:Database` is `spg99:index:Database`."""
    parts = text.split(":")
    return f"{parts[0]}:index:{parts[1]}" if len(parts) == 2 else text
