"""Property values on Pulumi's wire. Here: Struct <-> JSON values with secrets and unknowns marked. Not here: which field they are (properties.py).

Inside, a secret is `Secret(value)`, what is not known yet is UNKNOWN, and everything else a JSON value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from spg99.bridges.pulumi.native.messages import message
from spg99.bridges.pulumi.shared.unknown_texts import UNKNOWN_TEXT, UNKNOWN_TEXTS
from spg99.bridges.shared.unknown import UNKNOWN, Unknown
from spg99.shapes import EXACT_WHOLE_NUMBER_MAX

SIGNATURE = "4dabf18193072939515e22adb298388d"
"""Key that makes an object on the wire something else than an object; its value says what."""
SECRET = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
REFERENCE = "5cf8f73096256a8f31e491e813e4eb8e"
ASSETS = {
    "c44067f5952c0a294b673a41bacd8c17": "file asset",
    "0def7320c3a5731c473e5ecbe6d01bc7": "archive",
}


class Secret(NamedTuple):
    """A value that must be encrypted wherever it is kept."""

    value: Any

    def __repr__(self) -> str:
        return "Secret([secret])"


class Asset(NamedTuple):
    """A file or an archive, which no field of ours takes."""

    what: str


def decode(struct: Any) -> dict[str, Any]:
    """A Struct as a dict."""
    return {entry.key: _decoded(entry.value) for entry in struct.fields}


def _decoded(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        return UNKNOWN if text in UNKNOWN_TEXTS else text
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= EXACT_WHOLE_NUMBER_MAX else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_decoded(item) for item in value.list_value.values]
    if kind == "struct_value":
        return _object(decode(value.struct_value))
    return None


def _object(found: dict[str, Any]) -> Any:
    """An object, or what its signature says it is."""
    signature = found.get(SIGNATURE)
    if signature is None:
        return found
    if signature == SECRET:
        return secret(found.get("value"))
    if signature == OUTPUT:
        inner = found.get("value", UNKNOWN)
        return secret(inner) if found.get("secret") else inner
    if signature == REFERENCE:
        # What a text field can take of a resource is its id; a component has none.
        known = found.get("id")
        return UNKNOWN if known in ("", None) and "id" in found else known if "id" in found else found.get("urn")
    return Asset(ASSETS.get(str(signature), "value of an unknown kind"))


def secret(value: Any) -> Secret:
    """The value marked secret, once."""
    return value if isinstance(value, Secret) else Secret(value)


def encode(values: Mapping[str, Any]) -> Any:
    """A dict as a Struct."""
    struct = message("Struct")()
    _fill_struct(struct, values)
    return struct


def _fill_struct(struct: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        entry = struct.fields.add()
        entry.key = key
        _fill(entry.value, value)


def _fill(target: Any, value: Any) -> None:
    if value is None:
        target.null_value = 0
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, Unknown):
        target.string_value = UNKNOWN_TEXT
    elif isinstance(value, Secret):
        target.struct_value.SetInParent()
        _fill_struct(target.struct_value, {SIGNATURE: SECRET, "value": value.value})
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        _fill_struct(target.struct_value, value)
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for item in value:
            _fill(target.list_value.values.add(), item)
    else:
        raise TypeError(f"a {type(value).__name__} is no property value")


def revealed(value: Any) -> Any:
    """The value without its secret marks."""
    if isinstance(value, Secret):
        return revealed(value.value)
    if isinstance(value, dict):
        return {key: revealed(item) for key, item in value.items()}
    return [revealed(item) for item in value] if isinstance(value, list) else value


def as_secret_as(value: Any, pattern: Any) -> Any:
    """`value` with everything marked secret that is secret in `pattern` at the same place.

    Where both have not the same shape any more, the whole is secret if anything in the pattern is.
    """
    if isinstance(value, Secret):
        return value
    if isinstance(pattern, Secret):
        return Secret(value)
    if isinstance(pattern, dict) and isinstance(value, dict):
        return {key: as_secret_as(item, pattern.get(key)) for key, item in value.items()}
    if isinstance(pattern, list) and isinstance(value, list) and len(pattern) == len(value):
        return [as_secret_as(item, other) for item, other in zip(value, pattern, strict=True)]
    return Secret(value) if has_secret(pattern) else value


def has_secret(value: Any) -> bool:
    """Whether anything in the value is secret."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, dict):
        return any(has_secret(item) for item in value.values())
    return any(has_secret(item) for item in value) if isinstance(value, list) else False
