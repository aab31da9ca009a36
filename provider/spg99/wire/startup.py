"""The packets a client sends before it is a session: SSL, GSS and cancel requests, and the start-up message.

Here: bytes to values, and a start-up message back to bytes for the compute. Not here: messages with a type byte
(messages.py), what is answered (login.py).

Names and values are bytes, as in PostgreSQL: which encoding they are in is known only to the client and its database.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spg99.errors import ProtocolViolation

STARTUP_BYTES_MAX: Final = 10_000
"""As PostgreSQL's MAX_STARTUP_PACKET_LENGTH."""
CANCEL_KEY_BYTES_MAX: Final = 256
TLS_HANDSHAKE_BYTE: Final = 0x16
"""First byte of a TLS ClientHello: a client that begins with it wants TLS without asking (`sslnegotiation=direct`)."""
SSL_REQUEST: Final = struct.pack("!II", 8, 80877103)

_CANCEL_CODE: Final = 80877102
_SSL_CODE: Final = 80877103
_GSS_CODE: Final = 80877104
_VERSION_3_0: Final = 3 << 16
_HTTP_METHODS: Final = (b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ")
_PROXY_HEADS: Final = (b"PROX", b"\r\n\r\n")


@dataclass(frozen=True, slots=True)
class SslRequest:
    """The client asks for TLS."""


@dataclass(frozen=True, slots=True)
class GssEncRequest:
    """The client asks for GSSAPI encryption."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The client asks to cancel what another connection runs; the pair is the key that connection was given."""

    pid: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Startup:
    """The client introduces itself."""

    minor_version: int
    parameters: dict[bytes, bytes]
    """As sent, without the `_pq_.` options."""
    protocol_options: tuple[bytes, ...] = ()
    """Names of the `_pq_.` options asked for; none is known here, so each is refused by negotiation."""

    @property
    def user(self) -> bytes:
        """The PostgreSQL user; never empty."""
        return self.parameters[b"user"]

    @property
    def database(self) -> bytes:
        """The database, which is named like the user unless given."""
        return self.parameters.get(b"database") or self.user


Packet = SslRequest | GssEncRequest | CancelRequest | Startup


class StartupReader:
    """Collects bytes until they are one whole packet; `rest` is what came after it."""

    def __init__(self) -> None:
        self._buffer = b""
        self.rest = b""

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished packet is here."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Packet | None:
        """The packet when it is complete. Raises ProtocolViolation as early as it can be known."""
        self._buffer += data
        if len(self._buffer) < 4:
            return None
        head = self._buffer[:4]
        length = int.from_bytes(head)
        if not 8 <= length <= STARTUP_BYTES_MAX:
            if head in _HTTP_METHODS:
                raise ProtocolViolation("This port speaks the PostgreSQL protocol, not HTTP.")
            if head in _PROXY_HEADS:
                raise ProtocolViolation(
                    "A PROXY protocol header is taken only from the networks that the Gateway's --proxy-networks names."
                )
            raise ProtocolViolation("The start-up packet has an invalid length: this is not a PostgreSQL client.")
        if len(self._buffer) < length:
            return None
        packet, self.rest, self._buffer = self._buffer[:length], self._buffer[length:], b""
        return _parse(int.from_bytes(packet[4:8]), packet[8:])


def _parse(code: int, body: bytes) -> Packet:
    if code in (_SSL_CODE, _GSS_CODE):
        if body:
            raise ProtocolViolation("An encryption request has trailing bytes.")
        return SslRequest() if code == _SSL_CODE else GssEncRequest()
    if code == _CANCEL_CODE:
        if not 4 < len(body) <= 4 + CANCEL_KEY_BYTES_MAX:
            raise ProtocolViolation("A cancel request has an invalid length.")
        return CancelRequest(int.from_bytes(body[:4]), body[4:])
    if code >> 16 != 3:
        raise ProtocolViolation(f"Protocol version {code >> 16}.{code & 0xFFFF} is not supported, only version 3 is.")
    return _startup(code & 0xFFFF, body)


def _startup(minor_version: int, body: bytes) -> Startup:
    if not body.endswith(b"\0"):
        raise ProtocolViolation("The start-up message does not end with a zero byte.")
    # name, value, name, value, ..., and an empty name at the end
    words = body[:-1].split(b"\0")
    if words.pop() != b"" or len(words) % 2:
        raise ProtocolViolation("The start-up message is malformed.")
    pairs = [(words[i], words[i + 1]) for i in range(0, len(words), 2)]
    if any(not name for name, _ in pairs):
        raise ProtocolViolation("The start-up message has bytes after its end.")
    parameters = {name: value for name, value in pairs if not name.startswith(b"_pq_.")}
    if not parameters.get(b"user"):
        raise ProtocolViolation("The start-up message names no user.")
    return Startup(minor_version, parameters, tuple(name for name, _ in pairs if name.startswith(b"_pq_.")))


def startup_message(parameters: Mapping[bytes, bytes]) -> bytes:
    """A start-up message of protocol 3.0 with these parameters."""
    words = b"".join(name + b"\0" + value + b"\0" for name, value in parameters.items())
    return struct.pack("!II", len(words) + 9, _VERSION_3_0) + words + b"\0"


def cancel_request(pid: int, secret: bytes) -> bytes:
    """A cancel request for the compute that gave out this key."""
    return struct.pack("!III", 12 + len(secret), _CANCEL_CODE, pid) + secret


def printable(name: bytes) -> str:
    """A name for a sentence or a log: what is not UTF-8 is shown as \\xNN, as PostgreSQL shows it in application_name."""
    return name.decode(errors="backslashreplace")
