"""Protocol Buffers, read and written by tables: dict <-> bytes. Not here: which messages there are (messages.py).

A table is text: "1 name string, 2 steps *Step, 3 schemas %Schema, 4 private ?bytes". `*` repeated, `%` a map with text keys,
`?` optional (None when absent). Scalars: string, bytes, bool, int64 (also for int32 and enums). Everything else is a message.
A read message has every field; a written one may leave out any, but may not have one that the table does not know.
Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Message = dict[str, Any]

DEPTH_MAX = 100
"""Messages inside messages; Google's libraries stop there too."""

_SCALARS: dict[str, Any] = {"string": "", "bytes": b"", "bool": False, "int64": 0}
_VARINT, _FIXED64, _LENGTH, _GROUP, _GROUP_END, _FIXED32 = range(6)


class BadMessage(ValueError):
    """Bytes which are no message of this kind, or a value which does not fit its field."""


class Field:
    """One line of a table, taken apart."""

    __slots__ = ("kind", "label", "message", "name", "number", "tag", "wire")

    def __init__(self, text: str) -> None:
        number, self.name, kind = text.split()
        self.label = kind[0] if kind[0] in "*%?" else ""
        self.kind = kind[1:] if self.label else kind
        self.message = self.kind not in _SCALARS
        self.number = int(number)
        self.wire = _VARINT if self.kind in ("bool", "int64") and self.label != "%" else _LENGTH
        self.tag = varint(self.number << 3 | self.wire)


class Codec:
    """The messages of some tables."""

    __slots__ = ("_fields", "tables")

    def __init__(self, tables: Mapping[str, str]) -> None:
        self.tables = tables
        self._fields: dict[str, dict[int, Field]] = {}

    def fields(self, name: str) -> dict[int, Field]:
        """The fields of a message by number; a table is taken apart when its message is first met."""
        try:
            return self._fields[name]
        except KeyError:
            table = self.tables[name]
            made = {field.number: field for field in map(Field, table.split(",") if table else ())}
            return self._fields.setdefault(name, made)

    def empty(self, name: str) -> Message:
        """A message of which nothing was sent."""
        made: Message = {}
        for field in self.fields(name).values():
            if field.label == "*":
                made[field.name] = []
            elif field.label == "%":
                made[field.name] = {}
            else:
                made[field.name] = None if field.label or field.message else _SCALARS[field.kind]
        return made

    def decode(self, name: str, data: bytes | bytearray | memoryview) -> Message:
        """The message `name` in `data`. BadMessage if it is none."""
        made = self.empty(name)
        self._read(name, made, bytes(data), 0, len(data), 0)
        return made

    def encode(self, name: str, message: Mapping[str, Any]) -> bytes:
        """`message` as bytes; values with `as_message()` are asked for their message. BadMessage names a field that does not fit."""
        out = bytearray()
        self._write(name, message, out)
        return bytes(out)

    def _read(self, name: str, made: Message, data: bytes, at: int, end: int, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise BadMessage(f"{name}: messages nested too deeply")
        fields = self.fields(name)
        while at < end:
            tag, at = read_varint(data, at, end)
            number, wire = tag >> 3, tag & 7
            if not number:
                raise BadMessage(f"{name}: field number 0")
            field = fields.get(number)
            if field is None or field.wire != wire:
                at = _skip(data, at, end, number, wire, depth)
            elif wire == _VARINT:
                value, at = read_varint(data, at, end)
                made[field.name] = bool(value) if field.kind == "bool" else value - (value >> 63 << 64)
            else:
                length, at = read_varint(data, at, end)
                if length > end - at:
                    raise BadMessage(f"{name}.{field.name}: ends too early")
                self._read_field(name, field, made, data, at, at + length, depth)
                at += length

    def _read_field(self, name: str, field: Field, made: Message, data: bytes, at: int, end: int, depth: int) -> None:
        if field.label == "%":
            entry = self._entry(field)
            pair = self.empty(entry)
            self._read(entry, pair, data, at, end, depth + 1)
            value = pair["value"]
            made[field.name][pair["key"]] = self.empty(field.kind) if value is None else value
        elif field.message:
            # A singular message which is sent in two pieces is one message.
            known = made[field.name] if field.label != "*" else None
            value = self.empty(field.kind) if known is None else known
            self._read(field.kind, value, data, at, end, depth + 1)
            if field.label == "*":
                made[field.name].append(value)
            else:
                made[field.name] = value
        else:
            value = _scalar(name, field, data[at:end])
            if field.label == "*":
                made[field.name].append(value)
            else:
                made[field.name] = value

    def _entry(self, field: Field) -> str:
        entry = f"%{field.kind}"
        if entry not in self._fields:
            pair = (Field("1 key string"), Field(f"2 value {field.kind}"))
            self._fields[entry] = {part.number: part for part in pair}
        return entry

    def _write(self, name: str, message: Any, out: bytearray) -> None:
        if hasattr(message, "as_message"):
            message = message.as_message()
        left = len(message)
        for field in self.fields(name).values():
            if field.name not in message:
                continue
            left -= 1
            value = message[field.name]
            if value is None:
                continue
            if field.label == "*":
                for item in value:
                    self._write_field(name, field, item, out)
            elif field.label == "%":
                entry = self._entry(field)
                for key, item in value.items():
                    inner = bytearray()
                    self._write(entry, {"key": key, "value": item}, inner)
                    out += field.tag + varint(len(inner)) + inner
            elif field.label or field.message or value:
                self._write_field(name, field, value, out)
        if left:
            known = {field.name for field in self.fields(name).values()}
            raise BadMessage(f"{name} has no field {sorted(set(message) - known)}")

    def _write_field(self, name: str, field: Field, value: Any, out: bytearray) -> None:
        if field.message:
            inner = bytearray()
            self._write(field.kind, value, inner)
            out += field.tag + varint(len(inner)) + inner
        elif field.kind == "string":
            if not isinstance(value, str):
                raise BadMessage(f"{name}.{field.name} is text, not {type(value).__name__}")
            text = value.encode()
            out += field.tag + varint(len(text)) + text
        elif field.kind == "bytes":
            if not isinstance(value, bytes | bytearray):
                raise BadMessage(f"{name}.{field.name} is bytes, not {type(value).__name__}")
            out += field.tag + varint(len(value)) + value
        else:
            if not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
                raise BadMessage(f"{name}.{field.name} is a whole number of 64 bits")
            out += field.tag + varint(int(value) & 0xFFFF_FFFF_FFFF_FFFF)


def varint(value: int) -> bytes:
    """A number of at least 0, seven bits a byte, the smallest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at `at` (64 bits, what is above is cut off) and where it ends."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift >= 70:
            raise BadMessage("a number is longer than ten bytes")
    raise BadMessage("ends inside a number")


def _scalar(name: str, field: Field, data: bytes) -> str | bytes:
    if field.kind == "bytes":
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadMessage(f"{name}.{field.name} is not UTF-8") from None


def _skip(data: bytes, at: int, end: int, number: int, wire: int, depth: int) -> int:
    """Pass over a field which the table does not know."""
    if wire == _VARINT:
        return read_varint(data, at, end)[1]
    if wire == _GROUP:
        if depth > DEPTH_MAX:
            raise BadMessage("groups nested too deeply")
        while at < end:
            tag, at = read_varint(data, at, end)
            if tag & 7 == _GROUP_END:
                if tag >> 3 != number:
                    break
                return at
            at = _skip(data, at, end, tag >> 3, tag & 7, depth + 1)
        raise BadMessage("a group does not end")
    if wire == _LENGTH:
        length, at = read_varint(data, at, end)
    elif wire in (_FIXED32, _FIXED64):
        length = 4 if wire == _FIXED32 else 8
    else:
        raise BadMessage(f"unknown wire type {wire}")
    if length > end - at:
        raise BadMessage("a field ends too early")
    return at + length
