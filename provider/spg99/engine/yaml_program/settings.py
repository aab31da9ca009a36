"""Configuration that a YAML program declares: types, defaults, secrecy. Here: from a stack's text to typed values. Not here: the files
(project.py)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from spg99.engine.values import Value, is_secret, reveal, secret
from spg99.engine.yaml_program.source import Node, Place, Problem, did_you_mean

_KEYS = {"type", "default", "value", "secret", "description", "items", "name"}
_TYPES = {
    "string": "string",
    "integer": "integer",
    "int": "integer",
    "number": "number",
    "boolean": "boolean",
    "bool": "boolean",
    "object": "object",
    "array": "array",
    "list": "array",
}
_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping (JSON)",
    "array": "a list (JSON)",
}
_LIST_OF = re.compile(r"(?:list|array)<\w+>")


@dataclass(frozen=True)
class Setting:
    """One configuration value that the program may use."""

    key: str
    place: Place
    type: str
    default: Value
    """None: there is none"""
    secret: bool


def declared(key: str, node: Node) -> Setting:
    """What an entry of `config` declares. Raises Problem."""
    if not isinstance(node.value, dict):
        value = _plain(node)
        return Setting(key, node.place, _type_of(value), value, False)
    parts = node.value
    for part in parts:
        if part not in _KEYS:
            hint = did_you_mean(part, _KEYS)
            raise Problem(node.key_places[part], f"`{part}` is not known in the configuration `{key}`.{hint}")
    default = _plain(parts["value"]) if "value" in parts else _plain(parts["default"]) if "default" in parts else None
    type_ = _type_of(default)
    if "type" in parts:
        named = str(parts["type"].value).lower()
        if _LIST_OF.fullmatch(named):
            named = "array"
        if named not in _TYPES:
            hint = did_you_mean(named, _WORDS)
            raise Problem(parts["type"].place, f"`{parts['type'].value}` is no type of a configuration.{hint}")
        type_ = _TYPES[named]
        if default is not None and not _fits(default, type_):
            at = parts["value" if "value" in parts else "default"].place
            raise Problem(at, f"The default of `{key}` must be {_WORDS[type_]}.")
    hidden = parts.get("secret")
    if hidden is not None and not isinstance(hidden.value, bool):
        raise Problem(hidden.place, "`secret` is true or false.")
    own = parts["name"].value if "name" in parts else key
    return Setting(str(own), node.place, type_, default, hidden is not None and bool(hidden.value))


def value_of(setting: Setting, config: Mapping[str, Value], project: str) -> Value:
    """The value that a stack gives it. Raises Problem when there is none, or one of another type."""
    given = config.get(setting.key if ":" in setting.key else f"{project}:{setting.key}")
    if given is None:
        if setting.default is None:
            option = "--secret " if setting.secret else ""
            raise Problem(
                setting.place,
                f"The configuration `{setting.key}` has no value. Set it: `spg99 config set {option}{setting.key} VALUE`.",
            )
        value = setting.default
    else:
        value = _typed(setting, str(reveal(given)))
    return secret(value) if setting.secret or is_secret(given) else value


def _typed(setting: Setting, text: str) -> Value:
    # The text may be a secret: no message shows it.
    try:
        if setting.type == "integer":
            return int(text)
        if setting.type == "number":
            return float(text)
        if setting.type == "boolean":
            return {"true": True, "false": False}[text.lower()]
        if setting.type in ("object", "array"):
            value = json.loads(text)
            if _fits(value, setting.type):
                return value
            raise ValueError
    except (ValueError, KeyError):
        raise Problem(setting.place, f"The configuration `{setting.key}` must be {_WORDS[setting.type]}.") from None
    return text


def _plain(node: Node) -> Value:
    if isinstance(node.value, dict):
        return {key: _plain(item) for key, item in node.value.items()}
    return [_plain(item) for item in node.value] if isinstance(node.value, list) else node.value


def _type_of(value: Value) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "object" if isinstance(value, dict) else "array" if isinstance(value, list) else "string"


def _fits(value: Value, type_: str) -> bool:
    return _type_of(value) == type_ or (type_ == "number" and _type_of(value) == "integer")
