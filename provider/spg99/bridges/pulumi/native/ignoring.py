"""Pulumi's `ignoreChanges`: properties that stay as they are, whatever the program says. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from typing import Any

_STEP = re.compile(r'\.?(?:\["((?:[^"\\]|\\.)*)"\]|\[(\d+|\*)\]|([^.\[\]]+))')
_MISSING = object()


def steps_of(path: str) -> tuple[str | int, ...]:
    """`tags.color`, `steps[0]`, `tags["a.b"]`, `tags[*]` as steps."""
    steps: list[str | int] = []
    for quoted, index, name in _STEP.findall(path):
        if index:
            steps.append(index if index == "*" else int(index))
        else:
            steps.append(name or re.sub(r"\\(.)", r"\1", quoted))
    return tuple(steps)


def leave_as_is(
    patterns: Iterable[str], *, wanted: dict[str, Any], wrote: dict[str, Any] | None, actual: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """`wanted` and `wrote` (new and old inputs) such that no ignored property differs from `actual`, under the same names.

    Whole properties are left out of both, which says "nothing is wanted of it"; what is inside others is taken from `actual`.
    """
    wanted, wrote = copy.copy(wanted), copy.copy(wrote)
    for pattern in patterns:
        steps = steps_of(pattern)
        for path in list(_matching(steps, [actual, wanted])):
            if len(path) == 1:
                wanted.pop(str(path[0]), None)
                if wrote is not None:
                    wrote.pop(str(path[0]), None)
            else:
                name = str(path[0])
                wanted[name] = _with(wanted.get(name), path[1:], _at(actual, path))
    return wanted, wrote


def _matching(
    steps: tuple[str | int, ...], trees: list[Any], path: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    """The paths that a pattern means in these values."""
    if not steps:
        if path:
            yield path
        return
    step, rest = steps[0], steps[1:]
    found: list[str | int] = [step]
    if step == "*":
        found = []
        for tree in trees:
            here: Iterable[str | int] = (
                tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
            )
            found += [key for key in here if key not in found]
    for key in found:
        inner = [_child(tree, key) for tree in trees]
        if any(item is not _MISSING for item in inner):
            yield from _matching(rest, inner, (*path, key))


def _child(tree: Any, key: str | int) -> Any:
    if isinstance(tree, dict) and isinstance(key, str):
        return tree.get(key, _MISSING)
    if isinstance(tree, list) and isinstance(key, int) and key < len(tree):
        return tree[key]
    return _MISSING


def _at(tree: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        tree = _child(tree, key)
    return tree


def _with(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """`tree` with `value` at `path` (or nothing there); unchanged where it has no such place."""
    key, rest = path[0], path[1:]
    if isinstance(tree, dict) and isinstance(key, str):
        inner = _with(tree.get(key), rest, value) if rest else value
        return {**{k: v for k, v in tree.items() if k != key}, **({} if inner is _MISSING else {key: inner})}
    if isinstance(tree, list) and isinstance(key, int):
        if key < len(tree):
            inner = _with(tree[key], rest, value) if rest else value
            return [*tree[:key], *([] if inner is _MISSING else [inner]), *tree[key + 1 :]]
        return [*tree, value] if not rest and value is not _MISSING else tree
    return tree
