"""What an expression is worth. Here: values with secrets and unknowns kept. Not here: when it is asked (run.py), parsing
(expressions.py).

Values are the engine's (values.py): a secret is a marked mapping, an unknown the string UNKNOWN, a resource a reference.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

from spg99.engine.values import (
    REFERENCE,
    SIG,
    UNKNOWN,
    Props,
    Value,
    has_secret,
    has_unknown,
    is_secret,
    reveal,
    secret,
)
from spg99.engine.yaml_program.expressions import (
    Call,
    Expression,
    Fields,
    Invoke,
    Items,
    Literal,
    Reference,
    Step,
    Text,
)
from spg99.engine.yaml_program.functions import FUNCTIONS, Misused, kind_of, read_file
from spg99.engine.yaml_program.source import Place, Problem, did_you_mean


class World(Protocol):
    """What an expression may ask for."""

    folder: Path

    def named(self, name: str) -> Value:
        """The value of a variable, a configuration or a resource (a reference)."""

    def outputs(self, urn: str) -> tuple[Props, bool]:
        """What is known of a resource with `urn` and `id` among it, and whether that is all there will be."""

    def invoke(self, call: Invoke, arguments: Props, options: dict[str, Value]) -> Value:
        """The answer of a provider's function. Raises Problem."""


def evaluate(expression: Expression, world: World) -> Value:
    """The expression's value. Raises Problem."""
    if isinstance(expression, Literal):
        return expression.value
    if isinstance(expression, Reference):
        return _follow(world.named(expression.name), expression.steps, expression, world)
    if isinstance(expression, Text):
        return _text(expression, world)
    if isinstance(expression, Items):
        return [evaluate(item, world) for item in expression.items]
    if isinstance(expression, Fields):
        return {key: evaluate(item, world) for key, item in expression.fields.items()}
    if isinstance(expression, Invoke):
        return _invoke(expression, world)
    return _call(expression, world)


def is_reference(value: Value) -> bool:
    """Whether the value is a resource."""
    return isinstance(value, dict) and value.get(SIG) == REFERENCE


def _follow(value: Value, steps: tuple[Step, ...], asked: Reference, world: World) -> Value:
    for place, step in enumerate(steps):
        if is_secret(value):
            return secret(_follow(value["value"], steps[place:], asked, world))
        if value == UNKNOWN:
            return UNKNOWN
        if is_reference(value):
            value = _property(value["urn"], str(step), asked, world)
        elif isinstance(value, dict):
            if str(step) not in value:
                raise Problem(asked.place, f"{asked}: there is no `{step}`.{did_you_mean(str(step), value)}")
            value = value[str(step)]
        elif isinstance(value, list):
            if not isinstance(step, int):
                raise Problem(asked.place, f"{asked}: a list has no `{step}`; write an index like `[0]`.")
            if step >= len(value):
                raise Problem(asked.place, f"{asked}: the list has {len(value)} items.")
            value = value[step]
        else:
            raise Problem(asked.place, f"{asked}: `{step}` is asked of {kind_of(value)}.")
    return value


def _property(urn: str, name: str, asked: Reference, world: World) -> Value:
    outputs, complete = world.outputs(urn)
    if name in outputs:
        return outputs[name]
    if not complete:
        return UNKNOWN
    # Providers may leave out what is null, so only what looks like a slip is called one.
    hint = did_you_mean(name, outputs)
    if hint.startswith(" Did"):
        raise Problem(asked.place, f"{asked}: the resource has no property `{name}`.{hint}")
    return None


def _text(expression: Text, world: World) -> Value:
    pieces: list[str] = []
    hidden = unknown = False
    for part in expression.parts:
        if isinstance(part, str):
            pieces.append(part)
            continue
        value = evaluate(part, world)
        hidden |= has_secret(value)
        if has_unknown(value) and not is_reference(value):
            unknown = True
        else:
            pieces.append(_as_text(reveal(value), part))
    text = UNKNOWN if unknown else "".join(pieces)
    return secret(text) if hidden else text


def _as_text(value: Value, asked: Reference) -> str:
    if is_reference(value):
        raise Problem(
            asked.place, f"{asked} is a resource; name one of its properties, such as `${{{asked.name}.id}}`."
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    hint = " Use `fn::toJSON`." if isinstance(value, dict | list) else ""
    raise Problem(asked.place, f"{asked} is {kind_of(value)} and cannot stand inside text.{hint}")


def _call(call: Call, world: World) -> Value:
    value = evaluate(call.argument, world)
    compute = FUNCTIONS[call.function]
    if compute is None:
        return secret(value)
    if call.function == "select":
        value = _only_what_is_selected(value)
    refuse_resources(value, call.function, call.place)
    if has_unknown(value):
        return secret(UNKNOWN) if has_secret(value) else UNKNOWN
    if call.function == "readFile":
        constant = isinstance(call.argument, Literal)
        compute = partial(read_file, is_constant=constant, is_secret=has_secret(value))
    try:
        result = compute(reveal(value), world.folder)
    except Misused as error:
        raise Problem(call.place, f"`fn::{call.function}` {error}") from error
    return secret(result) if has_secret(value) else result


def _only_what_is_selected(value: Value) -> Value:
    """The other items of the list made plain: they neither hide nor delay the one that is selected."""
    if not isinstance(value, list) or len(value) != 2:
        return value
    index, items = value
    if not isinstance(index, int) or isinstance(index, bool) or not isinstance(items, list):
        return value
    return [index, [item if place == index else None for place, item in enumerate(items)]]


def refuse_resources(value: Value, function: str, place: Place) -> None:
    """Raises Problem when a whole resource is handed to a function that wants values."""
    if is_reference(value):
        raise Problem(place, f"`fn::{function}` takes values, not a whole resource; name a property of it.")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        refuse_resources(item, function, place)


def _invoke(call: Invoke, world: World) -> Value:
    arguments = evaluate(call.arguments, world) if call.arguments is not None else {}
    if not isinstance(arguments, dict) or SIG in arguments:
        raise Problem(call.place, f"The arguments of `{call.token}` must be a mapping.")
    options = {key: evaluate(value, world) for key, value in call.options.items()}
    answer = world.invoke(call, arguments, options)
    if call.returned and answer != UNKNOWN:
        inner = answer["value"] if is_secret(answer) else answer
        if call.returned not in inner:
            raise Problem(
                call.place, f"`{call.token}` answers no `{call.returned}`.{did_you_mean(call.returned, inner)}"
            )
        return secret(inner[call.returned]) if is_secret(answer) else inner[call.returned]
    return answer
