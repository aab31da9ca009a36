"""Terraform's values by their type: DynamicValue <-> Python, exact, with unknowns. Not here: bytes (msgpack.py), schemas.

Types: "string", "number", "bool", "dynamic", ("list", T), ("set", T), ("map", T), ("tuple", (T, ...)), ("object", {name: T}).

    string str · bool bool · number int, or Decimal if it is no whole number (never float) · null None · unknown `Unknown`
    list, set, tuple list · map, object dict (an object has every attribute) · dynamic `Dynamic(type, value)` or None

`decode(type, None)` and an empty DynamicValue are None: the object is not there. Format: object-wire-format.md of
hashicorp/terraform. Errors are BadValue with the path of the value and never the value itself.
"""

from __future__ import annotations

from tfplugin.msgpack import BadValue, Extension, pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Type = str | tuple[Any, ...]

_UNKNOWN, _REFINED = 0, 12
_REFINEMENTS = {1: "is_null", 2: "prefix", 3: "number_min", 4: "number_max", 5: "length_min", 6: "length_max"}
_DIGITS_MAX = 2000
"""Digits of a number. Terraform keeps about 150; a longer text would only keep the processor busy."""


class Unknown:
    """A value that is known after apply. Test by `isinstance`.

    `refinements` is what Terraform already knows: `is_null` False, `prefix` of a text, `number_min`, `number_max` (number,
    whether it is inside), `length_min`, `length_max`. They are read, and never written back: a plain unknown promises nothing.
    """

    __slots__ = ("refinements",)

    def __init__(self, refinements: Mapping[str, Any] | None = None) -> None:
        self.refinements = refinements or {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown)

    def __hash__(self) -> int:
        return hash(Unknown)

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()
_PLAIN_UNKNOWN = Extension(_UNKNOWN, b"\0")


class Dynamic:
    """A value whose type comes with it."""

    __slots__ = ("type", "value")

    def __init__(self, type: Type, value: Any) -> None:
        self.type = type
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dynamic) and (self.type, self.value) == (other.type, other.value)

    def __hash__(self) -> int:
        return hash(repr(self.type))

    def __repr__(self) -> str:
        return f"Dynamic({self.type!r}, {self.value!r})"


def decode(type: Type, dynamic_value: Mapping[str, Any] | None, *, unknown: Any = None) -> Any:
    """The Python value in a DynamicValue. Unknowns become `unknown`, if given, else `Unknown`. BadValue if it does not fit."""
    if dynamic_value is None:
        return None
    if dynamic_value.get("msgpack"):
        return _decoded(type, unpack(dynamic_value["msgpack"]), (), unknown)
    if dynamic_value.get("json"):
        return from_json(type, dynamic_value["json"])
    return None


def encode(type: Type, value: Any, *, unknown: Any = None) -> dict[str, bytes]:
    """A DynamicValue. `unknown` is a further mark that stands for an unknown. Attributes left out of an object are null."""
    return {"msgpack": pack(_encoded(type, value, (), unknown))}


def from_json(type: Type, data: bytes, *, lenient: bool = False) -> Any:
    """The value in JSON (states that are upgraded or moved). Lenient: attributes which the type has not are passed over."""
    return conform(type, parse_json(data), lenient=lenient)


def conform(type: Type, value: Any, *, lenient: bool = False) -> Any:
    """A value of parsed JSON as one of `type`: attributes that are missing are null."""
    return _from_plain(type, value, (), lenient)


def parse_json(data: bytes) -> Any:
    """JSON as Python, numbers as int or Decimal. BadValue if it is none."""
    # Late: JSON's module costs a start some milliseconds, and no new plan needs it.
    import json

    try:
        return json.loads(data, parse_float=_number_of_text, parse_int=_number_of_text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadValue("the value is no JSON") from None


def type_json(type: Type) -> bytes:
    """The type as the schema messages want it: JSON in the form of cty."""
    import json

    return json.dumps(_type_plain(type), separators=(",", ":"), sort_keys=True).encode()


def type_of_json(data: bytes) -> Type:
    """The type of a cty type in JSON."""
    return _type_of_plain(parse_json(data))


def _type_plain(type: Type) -> Any:
    if isinstance(type, str):
        return type
    if type[0] == "object":
        return ["object", {name: _type_plain(each) for name, each in type[1].items()}]
    if type[0] == "tuple":
        return ["tuple", [_type_plain(each) for each in type[1]]]
    return [type[0], _type_plain(type[1])]


def _type_of_plain(plain: Any) -> Type:
    match plain:
        case "string" | "number" | "bool" | "dynamic":
            return str(plain)
        case ["list" | "set" | "map" as kind, inner]:
            return (kind, _type_of_plain(inner))
        case ["tuple", list(inner)]:
            return ("tuple", tuple(map(_type_of_plain, inner)))
        # The optional third part names attributes that may be left out; a value has them all the same.
        case ["object", dict(inner), *_]:
            return ("object", {name: _type_of_plain(each) for name, each in inner.items()})
    raise BadValue("an unknown type")


def _where(path: tuple[str | int, ...], message: str) -> BadValue:
    return BadValue(f"{'.'.join(map(str, path)) or 'the value'}: {message}")


def _number_of_text(text: str) -> Any:
    # A number with a huge exponent would be written out digit by digit as soon as it becomes an int.
    if len(text) > _DIGITS_MAX:
        raise BadValue("a number is too long")
    if text.lstrip("-").isdecimal():
        return int(text)
    from decimal import Decimal, InvalidOperation

    try:
        number = Decimal(text)
    except InvalidOperation:
        raise BadValue("not a number") from None
    if not number.is_finite() or abs(number.adjusted()) > _DIGITS_MAX:
        raise BadValue("a number is too large, too small or infinite")
    return int(number) if number == number.to_integral_value() else number


def _no_number(text: str) -> Any:
    raise BadValue("not a number")


def _number(value: Any, path: tuple[str | int, ...]) -> Any:
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | float):
        try:
            if isinstance(value, str):
                return _number_of_text(value)
            from decimal import Decimal

            # Terraform sends a float only where it is exact; so is this.
            return _number_of_text(str(Decimal(value)))
        except BadValue as bad:
            raise _where(path, str(bad)) from None
    return value


_PYTHON = {"string": str, "bool": bool}


def _decoded(type: Type, raw: Any, path: tuple[str | int, ...], unknown: Any) -> Any:
    if raw is None:
        return None
    if isinstance(raw, Extension):
        return _unknown_of(raw) if unknown is None else unknown
    if isinstance(type, str):
        if type == "dynamic":
            if not isinstance(raw, list) or len(raw) != 2 or not isinstance(raw[0], bytes):
                raise _where(path, "a dynamic value is a type and a value")
            real = type_of_json(raw[0])
            return Dynamic(real, _decoded(real, raw[1], path, unknown))
        if type == "number":
            if isinstance(raw, bool):
                raise _where(path, "a number is expected")
            raw = _number(raw, path)
        if type == "number" and (isinstance(raw, list | dict | bytes)):
            raise _where(path, "a number is expected")
        if type == "string" and isinstance(raw, bytes):
            raise _where(path, "a text is expected")
        if type in _PYTHON and not isinstance(raw, _PYTHON[type]):
            raise _where(path, f"a {type} is expected")
        return raw
    kind, inner = type
    if kind in ("list", "set", "tuple"):
        if not isinstance(raw, list) or (kind == "tuple" and len(raw) != len(inner)):
            raise _where(path, f"a {kind} is expected")
        return [
            _decoded(inner[place] if kind == "tuple" else inner, item, (*path, place), unknown)
            for place, item in enumerate(raw)
        ]
    if not isinstance(raw, dict):
        raise _where(path, f"{'an object' if kind == 'object' else 'a map'} is expected")
    if kind == "map":
        return {str(key): _decoded(inner, item, (*path, key), unknown) for key, item in raw.items()}
    if extra := raw.keys() - inner.keys():
        raise _where(path, f"an object without {sorted(map(str, extra))} is expected")
    return {name: _decoded(each, raw.get(name), (*path, name), unknown) for name, each in inner.items()}


def _unknown_of(extension: Extension) -> Unknown:
    if extension.code != _REFINED:
        return UNKNOWN
    known = unpack(extension.data)
    if not isinstance(known, dict):
        return UNKNOWN
    return Unknown({_REFINEMENTS[key]: value for key, value in known.items() if key in _REFINEMENTS})


def _encoded(type: Type, value: Any, path: tuple[str | int, ...], unknown: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Unknown) or (unknown is not None and value is unknown):
        return _PLAIN_UNKNOWN
    if isinstance(type, str):
        return _encoded_plain(type, value, path, unknown)
    kind, inner = type
    if kind in ("list", "set", "tuple"):
        if isinstance(value, set | frozenset):
            value = sorted(value, key=repr)
        if not isinstance(value, list | tuple) or (kind == "tuple" and len(value) != len(inner)):
            raise _where(path, f"a {kind} is expected, not {_kind_of(value)}")
        return [
            _encoded(inner[place] if kind == "tuple" else inner, item, (*path, place), unknown)
            for place, item in enumerate(value)
        ]
    if not hasattr(value, "items"):
        raise _where(path, f"{'an object' if kind == 'object' else 'a map'} is expected, not {_kind_of(value)}")
    if kind == "map":
        return {key: _encoded(inner, item, (*path, key), unknown) for key, item in value.items()}
    if extra := value.keys() - inner.keys():
        raise _where(path, f"the object has no {sorted(map(str, extra))}")
    return {name: _encoded(each, value.get(name), (*path, name), unknown) for name, each in inner.items()}


def _encoded_plain(type: str, value: Any, path: tuple[str | int, ...], unknown: Any) -> Any:
    if type == "dynamic":
        if not isinstance(value, Dynamic):
            value = Dynamic(_type_of_value(value, path), value)
        return [type_json(value.type), _encoded(value.type, value.value, path, unknown)]
    if type == "number":
        if isinstance(value, bool):
            raise _where(path, "a number is expected, not bool")
        if isinstance(value, int):
            return value if -(1 << 63) <= value < 1 << 63 else str(value)
        # A float is meant as it is written (0.1, not 0.1000000000000000055...).
        number = _number_of_text(str(value)) if isinstance(value, float) else value
        if _kind_of(number) == "Decimal" and number.is_finite():
            return str(number)
        if isinstance(number, int):
            return _encoded_plain(type, number, path, unknown)
        raise _where(path, f"a number is expected, not {_kind_of(value)}")
    if not isinstance(value, _PYTHON[type]):
        raise _where(path, f"a {type} is expected, not {_kind_of(value)}")
    return str(value) if type == "string" else value


def _kind_of(value: object) -> str:
    return type(value).__name__


def _type_of_value(value: Any, path: tuple[str | int, ...]) -> Type:
    if value is None or isinstance(value, Unknown):
        return "dynamic"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float) or _kind_of(value) == "Decimal":
        return "number"
    if isinstance(value, list | tuple):
        return ("tuple", tuple(_type_of_value(item, (*path, place)) for place, item in enumerate(value)))
    if isinstance(value, dict):
        return ("object", {name: _type_of_value(item, (*path, name)) for name, item in value.items()})
    raise _where(path, f"no type for {_kind_of(value)}")


def _from_plain(type: Type, value: Any, path: tuple[str | int, ...], lenient: bool) -> Any:
    """What JSON holds, as a value of `type`; in lenient form keys of an older schema are passed over."""
    if value is None:
        return None
    if isinstance(type, tuple) and isinstance(value, dict) and type[0] == "object":
        if not lenient and (extra := value.keys() - type[1].keys()):
            raise _where(path, f"an object without {sorted(extra)} is expected")
        return {name: _from_plain(each, value.get(name), (*path, name), lenient) for name, each in type[1].items()}
    if isinstance(type, tuple) and isinstance(value, dict) and type[0] == "map":
        return {name: _from_plain(type[1], item, (*path, name), lenient) for name, item in value.items()}
    if isinstance(type, tuple) and isinstance(value, list) and type[0] in ("list", "set"):
        return [_from_plain(type[1], item, (*path, place), lenient) for place, item in enumerate(value)]
    if isinstance(type, tuple) and isinstance(value, list) and type[0] == "tuple" and len(value) == len(type[1]):
        return [_from_plain(type[1][place], item, (*path, place), lenient) for place, item in enumerate(value)]
    if type == "dynamic" and isinstance(value, dict) and value.keys() == {"type", "value"}:
        real = _type_of_plain(value["type"])
        return Dynamic(real, _from_plain(real, value["value"], path, lenient))
    if type == "string" and isinstance(value, str):
        return value
    if type == "bool" and isinstance(value, bool):
        return value
    if type == "number" and not isinstance(value, bool | dict | list):
        return _number(value, path)
    raise _where(path, f"a {type if isinstance(type, str) else type[0]} is expected")
