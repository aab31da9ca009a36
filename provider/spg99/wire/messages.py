"""Messages with a type byte: those the gateway itself sends or reads around log-in, and the frames of all others.

Here: bytes and values. Not here: start-up packets (startup.py), SASL contents (scram_exchange.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from spg99.errors import ProtocolViolation

AUTHENTICATION: Final = b"R"
BACKEND_KEY_DATA: Final = b"K"
DATA_ROW: Final = b"D"
ERROR_RESPONSE: Final = b"E"
PARAMETER_STATUS: Final = b"S"
PASSWORD: Final = b"p"
QUERY: Final = b"Q"
READY_FOR_QUERY: Final = b"Z"
TERMINATE: Final = b"X\0\0\0\4"

AUTHENTICATION_OK: Final = b"R\0\0\0\x08\0\0\0\0"
NEWEST_MINOR_VERSION: Final = 2
SASL_MESSAGE_BYTES_MAX: Final = 2048
"""PostgreSQL allows 1,024 for the SASL data itself."""


def frame(kind: bytes, body: bytes) -> bytes:
    """A message of this type."""
    return kind + (len(body) + 4).to_bytes(4) + body


def error_response(
    sqlstate: str, message: str, *, severity: str = "FATAL", detail: str | None = None, hint: str | None = None
) -> bytes:
    """ErrorResponse with a sentence for a person."""
    fields = [("S", severity), ("V", severity), ("C", sqlstate), ("M", message), ("D", detail), ("H", hint)]
    body = b"".join(
        code.encode() + text.replace("\0", "").encode(errors="replace") + b"\0" for code, text in fields if text
    )
    return frame(ERROR_RESPONSE, body + b"\0")


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by their letter."""
    return {word[:1].decode(): word[1:].decode(errors="replace") for word in body.split(b"\0") if word}


def authentication_sasl(mechanisms: Iterable[str]) -> bytes:
    """Offers SASL mechanisms, the preferred first."""
    return frame(AUTHENTICATION, (10).to_bytes(4) + b"".join(m.encode() + b"\0" for m in mechanisms) + b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    """The server's first SASL message."""
    return frame(AUTHENTICATION, (11).to_bytes(4) + data)


def authentication_sasl_final(data: bytes) -> bytes:
    """The server's final SASL message."""
    return frame(AUTHENTICATION, (12).to_bytes(4) + data)


def negotiate_protocol_version(minor_version: int, unknown_options: Iterable[bytes]) -> bytes:
    """Says which protocol is spoken instead of the one asked for (3.`minor_version`), and which options are not known."""
    names = [name + b"\0" for name in unknown_options]
    version = (3 << 16) | min(minor_version, NEWEST_MINOR_VERSION)
    return frame(b"v", version.to_bytes(4) + len(names).to_bytes(4) + b"".join(names))


def backend_key_data(pid: int, secret: bytes) -> bytes:
    """The key a client cancels with."""
    return frame(BACKEND_KEY_DATA, pid.to_bytes(4) + secret)


def parameter_status(name: str, value: str) -> bytes:
    """A setting the client should know."""
    return frame(PARAMETER_STATUS, name.encode() + b"\0" + value.encode() + b"\0")


def ready_for_query(status: bytes = b"I") -> bytes:
    """The session waits for a query; `status` is I, T or E."""
    return frame(READY_FOR_QUERY, status)


def data_row(body: bytes) -> tuple[str | None, ...]:
    """The values of a DataRow, as text; None for NULL."""
    values: list[str | None] = []
    at = 2
    for _ in range(int.from_bytes(body[:2])):
        length = int.from_bytes(body[at : at + 4], signed=True)
        at += 4
        values.append(None if length < 0 else body[at : at + length].decode(errors="replace"))
        at += max(length, 0)
    return tuple(values)


def sasl_initial_response(body: bytes) -> tuple[str, bytes]:
    """Mechanism and first message of a SASLInitialResponse."""
    name, zero, rest = body.partition(b"\0")
    if not zero or len(rest) < 4:
        raise ProtocolViolation("The SASL initial response is malformed.")
    length, data = int.from_bytes(rest[:4], signed=True), rest[4:]
    if length != len(data):
        raise ProtocolViolation("The SASL initial response has an invalid length.")
    return name.decode(errors="replace"), data


class FrameScanner:
    """Cuts a stream into messages; raises ProtocolViolation for one that is longer than `bytes_max`."""

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._buffer = b""

    @property
    def rest(self) -> bytes:
        """Bytes of a message that is not complete yet."""
        return self._buffer

    def feed(self, data: bytes) -> None:
        """Adds bytes from the stream."""
        self._buffer += data

    def take(self) -> tuple[bytes, bytes] | None:
        """The next message as (type, body), or None until it is complete."""
        if len(self._buffer) < 5:
            return None
        length = int.from_bytes(self._buffer[1:5])
        if not 4 <= length <= self._bytes_max:
            raise ProtocolViolation("A message has an invalid length.")
        if len(self._buffer) <= length:
            return None
        kind, body = self._buffer[:1], self._buffer[5 : length + 1]
        self._buffer = self._buffer[length + 1 :]
        return kind, body

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        while (message := self.take()) is not None:
            yield message


def ends_between_messages(chunk: bytes) -> bool:
    """Whether a stream whose last bytes are `chunk` probably stopped between two messages.

    True when it ends with ReadyForQuery, or when walking it as whole messages from its start ends exactly at its end.
    For a stream that is over anyway: what is put after it is only read when this is right.
    """
    if chunk[-6:-1] == b"Z\0\0\0\5" and chunk[-1:] in (b"I", b"T", b"E"):
        return True
    at = 0
    while at + 5 <= len(chunk):
        length = int.from_bytes(chunk[at + 1 : at + 5])
        if length < 4:
            return False
        at += length + 1
    return at == len(chunk)


def ends_with_fatal(chunk: bytes) -> bool:
    """Whether the last bytes of a stream already say why it ends."""
    return chunk[-1:] == b"\0" and (b"VFATAL\0" in chunk[-8192:] or b"VPANIC\0" in chunk[-8192:])
