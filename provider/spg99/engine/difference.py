"""What a step changes, property by property. Here: which lines a person should see. Not here: how they look (display.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from spg99.engine import paths
from spg99.engine.decide import Change, Kind
from spg99.engine.events import StepEnded
from spg99.engine.values import Props, Value, is_secret, reveal

# Machinery in a dynamic resource's inputs; never news for a person.
_HIDDEN = {"__provider", "__defaults", "__internal"}


@dataclass(frozen=True)
class Line:
    """One changed property. `sign` is +, - or ~."""

    sign: str
    path: str
    old: Value
    new: Value
    replaces: bool = False


def lines_of(event: StepEnded) -> list[Line]:
    """The properties that a step changes: what the provider says, else how the inputs differ."""
    old_inputs = event.old.inputs if event.old else {}
    new_inputs = event.new.inputs if event.new else {}
    if event.kind in (Kind.CREATE, Kind.IMPORT):
        return [Line("+", k, None, v) for k, v in sorted(new_inputs.items()) if k not in _HIDDEN and v is not None]
    if event.kind not in (Kind.UPDATE, Kind.REPLACE):
        return []
    if event.difference.details:
        return list(_detailed(event))
    replacing = set(event.replace_keys)
    found = _compare(old_inputs, new_inputs, replacing)
    if not found and event.old and event.new:  # a refresh: only what the provider reports moved
        found = _compare(event.old.outputs, event.new.outputs, replacing)
    return found


def _detailed(event: StepEnded) -> Iterator[Line]:
    assert event.old is not None and event.new is not None
    signs = {Change.ADD: "+", Change.DELETE: "-", Change.UPDATE: "~"}
    for text, change in sorted(event.difference.details.items()):
        path = paths.parse(text)
        if path and path[0] in _HIDDEN:
            continue
        before = event.old.inputs if text in event.difference.input_details else event.old.outputs | event.old.inputs
        yield Line(
            signs[change], text, _follow(before, path), _follow(event.new.inputs, path), text in event.replace_keys
        )


def _compare(old: Props, new: Props, replacing: set[str]) -> list[Line]:
    lines = []
    for key in sorted((old.keys() | new.keys()) - _HIDDEN):
        before, after = old.get(key), new.get(key)
        if reveal(before) == reveal(after):
            continue
        sign = "+" if before is None else "-" if after is None else "~"
        lines.append(Line(sign, key, before, after, key in replacing))
    return lines


def _follow(value: Value, path: paths.Path) -> Value:
    """What stands at a path; a secret on the way makes it secret."""
    for step in path:
        if is_secret(value):
            return value
        if isinstance(value, dict) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value
