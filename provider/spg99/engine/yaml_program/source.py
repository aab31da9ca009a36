"""YAML text as values that know where they stand. Here: reading. Not here: what the values mean (document.py).

Plain words are read as YAML 1.2 reads them, which Pulumi does too: `yes`, `on` and dates are text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from spg99.errors import BadRequest

_DEEPEST = 100
_PREFIX = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Place:
    """A position in a file; line and column begin at 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Node:
    """A value of the text."""

    value: Content
    place: Place
    key_places: dict[str, Place] = field(default_factory=dict)
    """of a mapping: where each key stands"""


Content: TypeAlias = "str | int | float | bool | list[Node] | dict[str, Node] | None"


class Problem(BadRequest):
    """A mistake in a program, with its place."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(f"{place}: {text}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the end of a sentence about an unknown word: the nearest known one, else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1) or [n for n in names if n.lower() == word.lower()]
    if close:
        return f" Did you mean `{close[0]}`?"
    return f" There are: {', '.join(names)}." if names else ""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as its base class has it


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_PREFIX + _tag, re.compile(f"(?:{_pattern})\\Z"), _first)


def read(text: str, file: str) -> Node:
    """The text's document. Raises BadRequest (a Problem) at what is no YAML."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        raise Problem(place, f"This is no YAML: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise BadRequest(f"{file}: This is no YAML: {error}") from error
    finally:
        loader.dispose()
    if root is None:
        return Node({}, Place(file, 1, 1))
    return _node(root, file, 0)


def _node(node: yaml.Node, file: str, depth: int) -> Node:
    place = Place(file, node.start_mark.line + 1, node.start_mark.column + 1)
    if depth > _DEEPEST:
        raise Problem(place, "This is nested too deeply, or contains itself.")
    if isinstance(node, yaml.ScalarNode):
        return Node(_scalar(node, place), place)
    if isinstance(node, yaml.SequenceNode) and node.tag == _PREFIX + "seq":
        return Node([_node(item, file, depth + 1) for item in node.value], place)
    if not isinstance(node, yaml.MappingNode) or node.tag != _PREFIX + "map":
        raise Problem(place, f"The tag `{node.tag}` has no meaning here.")
    found: dict[str, Node] = {}
    places: dict[str, Place] = {}
    merged: dict[str, Node] = {}
    for key, value in node.value:
        at = Place(file, key.start_mark.line + 1, key.start_mark.column + 1)
        if not isinstance(key, yaml.ScalarNode):
            raise Problem(at, "A key must be text.")
        if key.tag == _PREFIX + "merge":
            merged |= _merged(_node(value, file, depth + 1))
            continue
        if key.value in found:
            raise Problem(at, f"The key `{key.value}` stands here twice; first in line {places[key.value].line}.")
        found[key.value], places[key.value] = _node(value, file, depth + 1), at
    for name, inherited in merged.items():
        if name not in found:
            found[name], places[name] = inherited, inherited.place
    return Node(found, place, places)


def _merged(node: Node) -> dict[str, Node]:
    """What `<<` brings in: a mapping, or a list of them of which the first wins."""
    if isinstance(node.value, dict):
        return node.value
    if isinstance(node.value, list) and all(isinstance(item.value, dict) for item in node.value):
        found: dict[str, Node] = {}
        for item in node.value:
            assert isinstance(item.value, dict)
            found = item.value | found
        return found
    raise Problem(node.place, "`<<` takes a mapping, or a list of mappings.")


def _scalar(node: yaml.ScalarNode, place: Place) -> str | int | float | bool | None:
    tag, text = node.tag.removeprefix(_PREFIX), node.value
    if tag == "str" or tag == "merge":
        return str(text)
    if tag == "null":
        return None
    try:
        if tag == "bool":
            return {"true": True, "false": False}[text.lower()]
        if tag == "int":
            return int(text, 0 if text[:2] in ("0x", "0o") else 10)
        if tag == "float":
            return float(text)
    except (KeyError, ValueError) as error:
        raise Problem(place, f"`{text}` is no {tag}.") from error
    raise Problem(place, f"The tag `{node.tag}` has no meaning here.")
