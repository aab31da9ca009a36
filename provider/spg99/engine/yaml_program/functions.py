"""The functions of the YAML language. Here: pure ones, on plain values. Not here: secrets and unknowns (evaluate.py), functions of
providers (run.py)."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable
from pathlib import Path

from spg99.engine.values import Value


class Misused(Exception):
    """A function was given what it cannot take; the text completes a sentence that begins with its name."""


def _pair(value: Value, what: str) -> tuple[Value, Value]:
    if not isinstance(value, list) or len(value) != 2:
        raise Misused(f"takes a list of two: {what}.")
    return value[0], value[1]


def _text_of(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise Misused(f"takes text, not {kind_of(value)}.")


def join(value: Value, folder: Path) -> Value:
    """`[delimiter, [parts]]` as one text."""
    delimiter, parts = _pair(value, "the delimiter and the parts")
    if not isinstance(parts, list):
        raise Misused(f"takes a list of parts, not {kind_of(parts)}.")
    return _text_of(delimiter).join(_text_of(part) for part in parts)


def split(value: Value, folder: Path) -> Value:
    """`[delimiter, text]` as a list of texts."""
    delimiter, text = _pair(value, "the delimiter and the text")
    if not delimiter:
        return list(_text_of(text))
    return _text_of(text).split(_text_of(delimiter))


def select(value: Value, folder: Path) -> Value:
    """`[index, list]`: one item of the list."""
    index, items = _pair(value, "the index and the list")
    if isinstance(index, bool) or not isinstance(index, int | float) or index != int(index):
        raise Misused(f"takes a whole number as index, not {kind_of(index)}.")
    if not isinstance(items, list):
        raise Misused(f"takes a list to select from, not {kind_of(items)}.")
    if not 0 <= index < len(items):
        raise Misused(f"has the index {int(index)}, and the list has {len(items)} items.")
    return items[int(index)]


def to_json(value: Value, folder: Path) -> Value:
    """The value as JSON text."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def to_base64(value: Value, folder: Path) -> Value:
    """The text in base 64."""
    return base64.b64encode(_text_of(value).encode()).decode()


def from_base64(value: Value, folder: Path) -> Value:
    """The text that base 64 holds."""
    try:
        return base64.b64decode(_text_of(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Misused("takes text in base 64 that holds UTF-8 text.") from error


def read_file(value: Value, folder: Path, *, is_constant: bool = False, is_secret: bool = False) -> Value:
    """The text of a file; its path begins at the program's folder.

    As in Pulumi's own YAML, only a path that stands in the program itself may lead out of that folder, symbolic links
    followed: one that was put together may come from whoever writes a configuration or names an object.
    """
    written = folder / _text_of(value)
    path = Path(os.path.realpath(written))
    if not is_constant and not path.is_relative_to(os.path.realpath(folder)):
        shown = "" if is_secret else f", and {written} does not"
        raise Misused(f"takes a path that must be a constant, or lead to a file inside the program's folder{shown}.")
    try:
        return path.read_text()
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or no path at all
        what = "the file" if is_secret else str(written)
        raise Misused(f"cannot read {what}: {_reason_of(error)}.") from (None if is_secret else error)


def _reason_of(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return getattr(error, "strerror", None) or str(error)


def kind_of(value: Value) -> str:
    """What a value is, for a sentence."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a flag"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else "text" if isinstance(value, str) else "a number"


# `secret` marks instead of computing, so evaluate.py does it.
FUNCTIONS: dict[str, Callable[[Value, Path], Value] | None] = {
    "join": join,
    "split": split,
    "select": select,
    "toJSON": to_json,
    "toBase64": to_base64,
    "fromBase64": from_base64,
    "readFile": read_file,
    "secret": None,
}
REFUSED = {
    "assetArchive": "assets",
    "fileArchive": "assets",
    "fileAsset": "assets",
    "remoteArchive": "assets",
    "remoteAsset": "assets",
    "stringAsset": "assets",
    "method": "methods on resources",
}
