"""MessagePack: bytes <-> Python. Not here: what the values mean to Terraform (values.py).

    nil None · bool · int · float · str · bin bytes · array list · map dict with text keys · extension `Extension`

Format: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

import struct
from struct import pack as _pack
from struct import unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEPTH_MAX = 200
"""Arrays and maps inside each other; no value of a configuration gets near, and Python's stack is not endless."""


class BadValue(ValueError):
    """Bytes which are no value, or a value which is none of the expected type. Says where, never the value itself."""


class Extension:
    """An extension value: `code` and its bytes."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code = code
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Extension) and (self.code, self.data) == (other.code, other.data)

    def __hash__(self) -> int:
        return hash((self.code, self.data))


def unpack(data: bytes) -> Any:
    """The one value in `data`. BadValue if it is cut off, too deep, or followed by something."""
    try:
        value, at = _read(data, 0, 0)
    except (IndexError, struct.error):
        raise BadValue("the value ends too early") from None
    except UnicodeDecodeError:
        raise BadValue("a text is not UTF-8") from None
    if at != len(data):
        raise BadValue("bytes follow the value")
    return value


_NUMBERS = {
    0xCA: (">f", 4), 0xCB: (">d", 8), 0xCC: (">B", 1), 0xCD: (">H", 2), 0xCE: (">I", 4), 0xCF: (">Q", 8),
    0xD0: (">b", 1), 0xD1: (">h", 2), 0xD2: (">i", 4), 0xD3: (">q", 8),
}  # fmt: skip
_LENGTHS = {
    0xC4: (">B", 1), 0xC5: (">H", 2), 0xC6: (">I", 4), 0xC7: (">B", 1), 0xC8: (">H", 2), 0xC9: (">I", 4),
    0xD9: (">B", 1), 0xDA: (">H", 2), 0xDB: (">I", 4), 0xDC: (">H", 2), 0xDD: (">I", 4), 0xDE: (">H", 2), 0xDF: (">I", 4),
}  # fmt: skip
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    code = data[at]
    at += 1
    if code < 0x80:
        return code, at
    if code < 0x90:
        return _map(data, at, code & 0x0F, depth)
    if code < 0xA0:
        return _array(data, at, code & 0x0F, depth)
    if code < 0xC0:
        return _slice(data, at, code & 0x1F).decode(), at + (code & 0x1F)
    if code >= 0xE0:
        return code - 0x100, at
    if code == 0xC0:
        return None, at
    if code in (0xC2, 0xC3):
        return code == 0xC3, at
    if code in _NUMBERS:
        form, size = _NUMBERS[code]
        return unpack_from(form, data, at)[0], at + size
    if code in _FIXED_EXTENSIONS:
        return _extension(data, at, _FIXED_EXTENSIONS[code])
    if code not in _LENGTHS:
        raise BadValue("an unknown kind of value")
    form, size = _LENGTHS[code]
    length: int = unpack_from(form, data, at)[0]
    at += size
    if 0xD9 <= code <= 0xDB:
        return _slice(data, at, length).decode(), at + length
    if code <= 0xC6:
        return _slice(data, at, length), at + length
    if code <= 0xC9:
        return _extension(data, at, length)
    if code <= 0xDD:
        return _array(data, at, length, depth)
    return _map(data, at, length, depth)


def _slice(data: bytes, at: int, length: int) -> bytes:
    if length > len(data) - at:
        raise BadValue("the value ends too early")
    return data[at : at + length]


def _extension(data: bytes, at: int, length: int) -> tuple[Extension, int]:
    code: int = unpack_from(">b", data, at)[0]
    return Extension(code, _slice(data, at + 1, length)), at + 1 + length


def _array(data: bytes, at: int, length: int, depth: int) -> tuple[list[Any], int]:
    if depth >= DEPTH_MAX:
        raise BadValue("values nested too deeply")
    made = []
    for _ in range(length):
        value, at = _read(data, at, depth + 1)
        made.append(value)
    return made, at


def _map(data: bytes, at: int, length: int, depth: int) -> tuple[dict[Any, Any], int]:
    if depth >= DEPTH_MAX:
        raise BadValue("values nested too deeply")
    made = {}
    for _ in range(length):
        key, at = _read(data, at, depth + 1)
        # Whole numbers are the keys of refinements; every other map has text keys.
        if not isinstance(key, str | int):
            raise BadValue("a key of a map is not a text")
        made[key], at = _read(data, at, depth + 1)
    return made, at


def pack(value: Any) -> bytes:
    """`value` as bytes. BadValue for a whole number above 64 bits (write it as text) and for what has no form here."""
    out = bytearray()
    _write(value, out)
    return bytes(out)


def _write(value: Any, out: bytearray) -> None:
    if value is None:
        out.append(0xC0)
    elif value is True or value is False:
        out.append(0xC3 if value else 0xC2)
    elif isinstance(value, str):
        text = value.encode()
        _head(out, len(text), 0xA0, 32, 0xD9)
        out += text
    elif isinstance(value, int):
        _whole(value, out)
    elif isinstance(value, list | tuple):
        _head(out, len(value), 0x90, 16, 0xDB)
        for item in value:
            _write(item, out)
    elif isinstance(value, dict):
        _head(out, len(value), 0x80, 16, 0xDD)
        for key, item in value.items():
            _write(key, out)
            _write(item, out)
    elif isinstance(value, bytes):
        _head(out, len(value), 0, 0, 0xC4)
        out += value
    elif isinstance(value, float):
        out += _pack(">Bd", 0xCB, value)
    elif isinstance(value, Extension):
        size = len(value.data)
        if size in (1, 2, 4, 8, 16):
            out.append({1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}[size])
        else:
            _head(out, size, 0, 0, 0xC7)
        out += _pack(">b", value.code)
        out += value.data
    else:
        raise BadValue(f"no form for {type(value).__name__}")


def _head(out: bytearray, length: int, short: int, short_end: int, long: int) -> None:
    """The head of something with a length; `long` is the code for one byte of length (arrays and maps have none)."""
    if length < short_end:
        out.append(short | length)
    elif length < 1 << 8 and long not in (0xDB, 0xDD):
        out += _pack(">BB", long, length)
    elif length < 1 << 16:
        out += _pack(">BH", long + 1, length)
    elif length < 1 << 32:
        out += _pack(">BI", long + 2, length)
    else:
        raise BadValue("too long")


def _whole(value: int, out: bytearray) -> None:
    if -32 <= value < 128:
        out += _pack(">b", value)
    elif 0 <= value < 1 << 64:
        for code, form, end in (
            (0xCC, ">BB", 1 << 8),
            (0xCD, ">BH", 1 << 16),
            (0xCE, ">BI", 1 << 32),
            (0xCF, ">BQ", 1 << 64),
        ):
            if value < end:
                out += _pack(form, code, value)
                return
    elif -(1 << 63) <= value < 0:
        for code, form, end in (
            (0xD0, ">Bb", 1 << 7),
            (0xD1, ">Bh", 1 << 15),
            (0xD2, ">Bi", 1 << 31),
            (0xD3, ">Bq", 1 << 63),
        ):
            if value >= -end:
                out += _pack(form, code, value)
                return
    else:
        raise BadValue("a whole number above 64 bits")
