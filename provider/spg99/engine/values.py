"""Values on Pulumi's wire: secrets, unknowns, output values, resource references.

Here: Struct <-> Python, and questions about a value. Not here: how a secret is encrypted (crypt.py) or stored (state.py).
A secret is the dict `{SIG: SECRET, "value": v}`, an unknown is the string UNKNOWN; both may stand anywhere in a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf import struct_pb2

# The Python shape of a JSON-like wire value; Any because it is what programs and providers make of it.
Value: TypeAlias = Any
Props: TypeAlias = dict[str, Any]

SIG = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
REFERENCE = "5cf8f73096256a8f31e491e813e4eb8e"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
# Typed unknowns (bool, number, array, asset, archive, object) mean the same to an engine.
UNKNOWNS = frozenset(
    {
        UNKNOWN,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
_EXACT_INTEGERS = 2**53  # beyond it a double no longer is one whole number


def from_struct(struct: struct_pb2.Struct | None) -> Props:
    """A Struct as a dict; whole numbers become int, so that JSON shows 5 and not 5.0."""
    return {key: from_value(value) for key, value in struct.fields.items()} if struct is not None else {}


def from_value(value: struct_pb2.Value) -> Value:
    """One wire value as a Python value."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return [from_value(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) < _EXACT_INTEGERS else number
    if kind == "bool_value":
        return value.bool_value
    return None


def to_struct(props: Mapping[str, Value]) -> struct_pb2.Struct:
    """A dict as a Struct."""
    struct = struct_pb2.Struct()
    for key, value in props.items():
        _fill(struct.fields[key], value)
    return struct


def _fill(target: struct_pb2.Value, value: Value) -> None:
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            _fill(target.struct_value.fields[key], item)
    else:
        target.list_value.SetInParent()
        for item in value:
            _fill(target.list_value.values.add(), item)


def is_secret(value: Value) -> bool:
    """Whether the value itself is marked secret."""
    return isinstance(value, dict) and value.get(SIG) == SECRET


def is_output(value: Value) -> bool:
    """Whether the value is an output value (value, secrecy and dependencies together)."""
    return isinstance(value, dict) and value.get(SIG) == OUTPUT


def secret(value: Value) -> Value:
    """The value marked secret (once)."""
    return value if is_secret(value) else {SIG: SECRET, "value": value}


def lower(value: Value) -> Value:
    """Output values replaced by what they hold: a plain value, a secret or an unknown."""
    if isinstance(value, dict):
        if value.get(SIG) == OUTPUT:
            inner = lower(value["value"]) if "value" in value else UNKNOWN
            return secret(inner) if value.get("secret") else inner
        return {key: lower(item) for key, item in value.items()}
    if isinstance(value, list):
        return [lower(item) for item in value]
    return UNKNOWN if isinstance(value, str) and value in UNKNOWNS else value


def reveal(value: Value) -> Value:
    """The value without its secret marks."""
    if isinstance(value, dict):
        if value.get(SIG) == SECRET:
            return reveal(value.get("value"))
        return {key: reveal(item) for key, item in value.items()}
    return [reveal(item) for item in value] if isinstance(value, list) else value


def redact(value: Value) -> Value:
    """The value as a person may see it: secrets and unknowns by name, references by URN."""
    if isinstance(value, dict):
        if value.get(SIG) == SECRET:
            return "[secret]"
        if value.get(SIG) == REFERENCE:
            return value.get("id") or value.get("urn")
        return {key: redact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item) for item in value]
    return "output<string>" if value == UNKNOWN else value


def has_unknown(value: Value) -> bool:
    """Whether anything in the value is not known yet."""
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return bool(value == UNKNOWN)


def has_secret(value: Value) -> bool:
    """Whether anything in the value is secret."""
    if isinstance(value, dict):
        return value.get(SIG) == SECRET or any(has_secret(item) for item in value.values())
    return any(has_secret(item) for item in value) if isinstance(value, list) else False


def without_references(value: Value) -> Value:
    """Resource references as their ids (or URNs), for a provider that does not take references."""
    if isinstance(value, dict):
        if value.get(SIG) == REFERENCE:
            return (value.get("id") or UNKNOWN) if "id" in value else value.get("urn")
        return {key: without_references(item) for key, item in value.items()}
    return [without_references(item) for item in value] if isinstance(value, list) else value


def keep_secrecy(outs: Props, ins: Props) -> Props:
    """`outs` with everything marked secret that is secret in `ins` under the same key.

    For providers that do not take strongly typed secrets: what was secret going in is secret coming out.
    """
    marked = dict(outs)
    for key, value in ins.items():
        if key not in marked or is_secret(marked[key]):
            continue
        if isinstance(value, dict) and SIG not in value and isinstance(marked[key], dict) and SIG not in marked[key]:
            marked[key] = keep_secrecy(marked[key], value)
        elif has_secret(value):
            marked[key] = secret(marked[key])
    return marked


def changed_keys(old: Props, new: Props) -> list[str]:
    """Top-level keys whose values differ, secrecy aside. An unknown differs from everything."""
    return sorted(
        key
        for key in old.keys() | new.keys()
        if (key in old) != (key in new) or reveal(old[key]) != reveal(new[key]) or has_unknown(new[key])
    )
