"""Values for any noun, made from its shape alone: good ones, and one more for each field. Here: choosing. Not here: what a bridge does with them.

A field that no change fits, because a rule across fields forbids it, gets another starting point; a noun for which there is none
fails loudly: a case that silently disappears would prove nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from spg99.bridges.shared import inputs
from spg99.shapes import Field, Noun, Type

Values = dict[str, Any]


def good_values(noun: Noun, number: int = 1) -> Values:
    """Inputs that are right: all required ones, and every other that has an example. `number` makes two objects different."""
    values: Values = {}
    for field in noun.inputs:
        if field.name in noun.id_fields():
            values[field.name] = _named(field, number)
        elif field.required or (field.examples and not field.secret):
            values[field.name] = next(candidates(field))
    for field in noun.inputs:
        if field.examples and not field.required and field.name not in noun.id_fields() and not is_right(noun, values):
            values.pop(field.name, None)
    assert is_right(noun, values), (noun.noun, values, inputs.check(noun, values).failures)
    return values


def a_change_of(noun: Noun, field: Field, number: int = 1) -> tuple[Values, Values]:
    """Right inputs before and after, which differ in this field alone."""
    for before in _starting_points(noun, number):
        for candidate in candidates(field):
            after = before | {field.name: candidate}
            if before.get(field.name, field.default) != candidate and is_right(noun, after):
                return before, after
    raise AssertionError(f"no change of {noun.noun}.{field.name} is right; give the field examples")


def is_right(noun: Noun, values: Values) -> bool:
    """Whether the noun's own check lets these inputs through."""
    return not inputs.check(noun, values).failures


def _starting_points(noun: Noun, number: int) -> Iterator[Values]:
    first = good_values(noun, number)
    yield first
    optional = [field for field in noun.inputs if not field.required and not field.secret]
    for field in optional:
        for candidate in candidates(field):
            one = first | {field.name: candidate}
            if is_right(noun, one):
                yield one
            for other in optional:
                for second in candidates(other):
                    both = one | {other.name: second}
                    if other is not field and is_right(noun, both):
                        yield both


def _named(field: Field, number: int) -> str:
    stem = str(field.examples[0]) if field.examples else "thing"
    return f"{stem}{number}"


def candidates(field: Field) -> Iterator[Any]:
    """Some values that this field may take, its examples first."""
    yield from field.examples
    yield from _of(field.type)


def _of(type_: Type) -> Iterator[Any]:
    """Some values of a type, within its bounds; the first is the plainest."""
    if type_.kind == "enum":
        yield from (value.value for value in type_.values)
    elif type_.kind == "flag":
        yield from (True, False)
    elif type_.kind in ("whole", "number"):
        lowest = type_.at_least if type_.at_least is not None else (type_.above + 1 if type_.above is not None else 1)
        yield from (lowest + step for step in (1, 2, 60) if type_.at_most is None or lowest + step <= type_.at_most)
    elif type_.kind == "time":
        yield from ("2031-01-01T00:00:00Z", "2032-02-02T12:30:00Z")
    elif type_.kind == "text":
        length = max(type_.min_length or 1, 1)
        for letter in ("a", "b", "0/1A2B3C8", "0/2B3C4D8"):  # the last two: places in the WAL
            text = (letter * length)[: type_.max_length]
            if type_.pattern is None or re.search(type_.pattern, text):
                yield text
    elif type_.kind == "list" and type_.of is not None:
        items = list(_of(type_.of))
        yield from (items[:1], items[:2])
    elif type_.kind == "map" and type_.of is not None:
        items = list(_of(type_.of))
        yield from ({"one": items[0]}, {"one": items[0], "two": items[-1]})
    elif type_.kind == "object":
        members = {member.name: list(candidates(member)) for member in type_.fields}
        first = {member.name: members[member.name][0] for member in type_.fields if members[member.name]}
        yield first
        for name, values in members.items():
            if len(values) > 1:
                yield first | {name: values[-1]}
