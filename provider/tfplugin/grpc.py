"""gRPC over HTTP/2: one call as path, message, status. Not here: frames (http2.py), who answers which path (dispatch.py).

Wire format: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. Messages are never compressed: we announce no
compression, and both sides are on one machine.
"""

from __future__ import annotations

import time

from tfplugin import http2
from tfplugin.interface import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tfplugin.connection import Connection
    from tfplugin.http2 import Stream

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED = 0, 1, 2, 3, 4
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 12, 13, 14
"""The codes of gRPC that are answered here."""

MESSAGE_BYTES_MAX = 256 * 1024 * 1024
"""One message. Terraform takes and sends as much."""
PREFIX_BYTES = 5
# Never answered, so they stay open and need nobody: an idle connection is closed by Terraform's library after half an hour, and
# a connection that closes is the end of the provider.
STAY_OPEN = frozenset(
    {"/plugin.GRPCStdio/StreamStdio", "/plugin.GRPCBroker/StartStream", "/grpc.health.v1.Health/Watch"}
)
_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def framed(message: bytes) -> bytes:
    """A message with its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def seconds_of(timeout: str) -> float | None:
    """Seconds in a grpc-timeout ("100m", "5S"), None if there is none or it cannot be read."""
    if 2 <= len(timeout) <= 9 and timeout[-1] in _UNITS and timeout[:-1].isdecimal():
        return int(timeout[:-1]) * _UNITS[timeout[-1]]
    return None


def escaped(text: str) -> str:
    """A status message as gRPC wants it in a header: everything but plain ASCII in percents."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte != 0x25 else f"%{byte:02X}" for byte in text.encode())


class Exchange:
    """One call on the wire: its path, its one message, and the ways to answer. Every way may be taken from any thread, once."""

    __slots__ = ("_connection", "_stream", "call", "message", "path")

    def __init__(self, connection: Connection, stream: Stream, path: str, deadline: float | None) -> None:
        self._connection = connection
        self._stream = stream
        self.path = path
        self.call = Call(path.rpartition("/")[2], deadline)
        self.message = b""

    def reply(self, message: bytes) -> None:
        """Answer with one message."""
        if len(message) > MESSAGE_BYTES_MAX:
            self.fail(RESOURCE_EXHAUSTED, f"the answer has {len(message)} bytes, {MESSAGE_BYTES_MAX} are allowed")
            return
        if self.call.deadline is not None and time.monotonic() >= self.call.deadline:
            self.fail(DEADLINE_EXCEEDED, "the answer is there, but too late")
            return
        self._connection.answer(self._stream, _HEADERS, framed(message), [("grpc-status", "0")])

    def fail(self, status: int, message: str) -> None:
        """Answer with a status and no message."""
        self._connection.finish(
            self._stream, [*_HEADERS, ("grpc-status", str(status)), ("grpc-message", escaped(message))]
        )

    def begin(self) -> None:
        """Start an answer of many messages."""
        self._connection.start(self._stream, _HEADERS)

    def send(self, message: bytes) -> bool:
        """One of many messages; waits while they are not fetched. False when nobody wants them any more."""
        return self._connection.write(self._stream, framed(message))

    def end(self, status: int = OK, message: str = "") -> None:
        """End an answer of many messages."""
        trailers = [("grpc-status", str(status))]
        self._connection.finish(self._stream, [*trailers, ("grpc-message", escaped(message))] if message else trailers)


class Reception:
    """Makes exchanges of a connection's events. `take` gets each when its message is there, on the reading thread."""

    __slots__ = ("_take",)

    def __init__(self, take: Callable[[Exchange], None]) -> None:
        self._take = take

    def on_event(self, connection: Connection, kind: str, stream: Stream) -> None:
        """What `Connection` calls."""
        if kind == http2.OPENED:
            self._open(connection, stream)
        elif not isinstance(stream.tag, Exchange):
            return
        elif kind == http2.RESET:
            stream.tag.call.cancel()
        elif kind == http2.FED and len(stream.body) >= PREFIX_BYTES:
            self._check(stream, stream.tag)
        elif kind == http2.ENDED and not stream.closed:
            self._finish(stream, stream.tag)

    def _open(self, connection: Connection, stream: Stream) -> None:
        headers = dict(stream.headers)
        kind = headers.get("content-type", "")
        if headers.get(":method") != "POST" or not kind.startswith("application/grpc"):
            connection.finish(stream, [(":status", "405" if headers.get(":method") != "POST" else "415")])
            return
        if headers.get(":path") in STAY_OPEN:
            return
        seconds = seconds_of(headers.get("grpc-timeout", ""))
        deadline = None if seconds is None else time.monotonic() + seconds
        stream.tag = Exchange(connection, stream, headers.get(":path", ""), deadline)

    def _check(self, stream: Stream, exchange: Exchange) -> None:
        """Refuse what is too large before it is here."""
        if stream.body[0]:
            stream.tag = None
            exchange.fail(UNIMPLEMENTED, "compressed messages are not understood")
        elif int.from_bytes(stream.body[1:PREFIX_BYTES], "big") > MESSAGE_BYTES_MAX:
            stream.tag = None
            exchange.fail(RESOURCE_EXHAUSTED, f"the message is larger than {MESSAGE_BYTES_MAX} bytes")

    def _finish(self, stream: Stream, exchange: Exchange) -> None:
        body = stream.body
        if len(body) < PREFIX_BYTES or len(body) - PREFIX_BYTES != int.from_bytes(body[1:PREFIX_BYTES], "big"):
            exchange.fail(INTERNAL, "the call does not hold exactly one whole message")
            return
        exchange.message = bytes(memoryview(body)[PREFIX_BYTES:])
        stream.body = bytearray()
        self._take(exchange)
