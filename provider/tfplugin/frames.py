"""The frames of HTTP/2: bytes <-> (type, flags, stream, payload). Not here: what they mean for a connection (http2.py).

RFC 9113, sections 4 and 6.
"""

from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
PAYLOAD_BYTES_MAX = 16384
"""The largest payload we take (we announce no other) and the least that everybody must take."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x2, 0x3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 0x5, 0x6, 0x7, 0x8, 0x9
ENHANCE_YOUR_CALM = 0xB

SET_HEADER_TABLE_SIZE, SET_ENABLE_PUSH, SET_STREAMS_MAX, SET_INITIAL_WINDOW, SET_FRAME_SIZE_MAX = 1, 2, 3, 4, 5


class ConnectionBroken(Exception):
    """The other side broke the rules of the connection: say so (GOAWAY with `code`) and end it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class StreamBroken(Exception):
    """The other side broke the rules of one stream: reset it with `code`."""

    def __init__(self, stream: int, code: int) -> None:
        super().__init__(f"stream {stream}")
        self.stream = stream
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(
        SETTINGS, 0, 0, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    )


def goaway(last_stream: int, code: int, reason: str = "") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + reason.encode()[:200])


def number(payload: bytes) -> int:
    """The 31 bits of a payload of four bytes."""
    return int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF


def whole(kind: int, payload: bytes, size: int) -> None:
    """A frame whose payload has one size only."""
    if len(payload) != size:
        raise ConnectionBroken(FRAME_SIZE_ERROR, f"frame type {kind} with {len(payload)} bytes")


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionBroken(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
