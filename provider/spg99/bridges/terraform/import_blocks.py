"""Terraform configuration that takes existing objects over: an `import` block and the resource of each. Not here: reading the
objects (commands), importing (imports.py).

A state that is lost whole comes back by it: the file beside the provider's block, `apply`, and the next plan is empty. Secrets are
left out; what is written holds for OpenTofu as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from spg99.emit.shapes import noun_of
from spg99.resources import Resource
from spg99.shapes import Noun, Type

PROVIDER = "spg99"
_NAME = re.compile(r"[^A-Za-z0-9_-]")


def import_blocks(objects: Iterable[Resource]) -> str:
    """The text of a `.tf` file for these objects."""
    taken: set[str] = set()
    return "\n".join(_blocks(item, taken) for item in objects)


def _blocks(item: Resource, taken: set[str]) -> str:
    noun = noun_of(type(item))
    values = item.model_dump(mode="json")
    human_id = noun.id_of(values)
    address = f"{PROVIDER}_{noun.noun}.{_label(noun, human_id, taken)}"
    kind, label = address.split(".")
    head = f"import {{\n  to = {address}\n  id = {_text(human_id)}\n}}\n"
    return f'{head}\nresource "{kind}" "{label}" {{\n{_arguments(noun, values)}}}\n'


def _label(noun: Noun, human_id: str, taken: set[str]) -> str:
    """A name for the resource: that of its object, and another where two would have the same."""
    label = _NAME.sub("_", human_id)
    label = label if re.match(r"[A-Za-z_]", label) else f"_{label}"
    number = 2
    found = label
    while f"{noun.noun}.{found}" in taken:
        found, number = f"{label}_{number}", number + 1
    taken.add(f"{noun.noun}.{found}")
    return found


def _arguments(noun: Noun, values: Mapping[str, Any]) -> str:
    hidden = noun.secrets() | {field.name for field in noun.write_only()}
    lines = [
        f"  {field.name} = {_value(field.type, values[field.name])}\n"
        for field in noun.inputs
        if field.name not in hidden and values.get(field.name) is not None
    ]
    return "".join(lines)


def _value(type_: Type, value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        inner = type_.of or type_
        return f"[{', '.join(_value(inner, item) for item in value)}]"
    if isinstance(value, dict):
        fields = {field.name: field.type for field in type_.fields} if type_.kind == "object" else {}
        pairs = (
            f"{_text(key)} = {_value(fields.get(key, type_.of or type_), item)}"
            for key, item in value.items()
            if item is not None
        )
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    return json.dumps(value)


def _text(text: str) -> str:
    """A quoted text; what would begin a template is escaped."""
    return json.dumps(text, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")
