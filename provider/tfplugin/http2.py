"""The server's side of one HTTP/2 connection: bytes in, events and bytes out. Not here: sockets, TLS (connection.py), gRPC.

RFC 9113. Bodies that come in are collected whole, so their windows are opened again at once; bodies that go out wait here for
the other side's windows, in turn, one frame each. Not safe for threads: connection.py holds a lock.
"""

from __future__ import annotations

from tfplugin import frames, hpack
from tfplugin.frames import ConnectionBroken, StreamBroken, frame

STREAMS_MAX = 2048
"""Calls at a time on one connection."""
WINDOW_BYTES = 4 * 1024 * 1024
"""How much may be on its way to us, for a call and for the connection."""
WINDOW_BYTES_MAX = (1 << 31) - 1
BLOCK_BYTES_MAX = 64 * 1024
"""One packed header block, over all its CONTINUATION frames."""
CONTROL_BYTES_MAX = 1024 * 1024
"""Answers to PING and SETTINGS which the other side does not fetch."""

OPENED, FED, ENDED, RESET = "opened", "fed", "ended", "reset"
"""What happened to a stream: headers are there · more body is there · nothing more will come · nobody waits any more."""


class Stream:
    """One call. `headers` and `body` are what came in; `tag` belongs to whoever answers."""

    __slots__ = (
        "body",
        "closed",
        "ended",
        "headers",
        "id",
        "outgoing",
        "received",
        "sent",
        "tag",
        "trailers",
        "window",
    )

    def __init__(self, number: int, window: int) -> None:
        self.id = number
        self.headers: list[hpack.Header] = []
        self.body = bytearray()
        self.ended = False  # the other side has sent all
        self.closed = False
        self.tag: object = None
        self.received = 0  # bytes since we last opened their window
        self.window = window  # bytes we may send
        self.outgoing: list[memoryview] = []
        self.sent = False  # our headers are out
        self.trailers: list[hpack.Header] | None = None


Event = tuple[str, Stream]


class Http2:
    """A connection. `feed` what came, do what its events say, send what `take` gives, end it once `over` and nothing is left."""

    def __init__(self) -> None:
        self.over = False
        self.preface_seen = False
        self.streams: dict[int, Stream] = {}
        self._incoming = bytearray()
        self._out = bytearray(
            frames.settings({frames.SET_STREAMS_MAX: STREAMS_MAX, frames.SET_INITIAL_WINDOW: WINDOW_BYTES})
            + frame(frames.WINDOW_UPDATE, 0, 0, (WINDOW_BYTES - 65535).to_bytes(4, "big"))
        )
        self._reader = hpack.Reader()
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags, header block so far
        self._last_id = 0
        self._received = 0
        self._window = 65535
        self._their_window = 65535
        self._their_frame_bytes = frames.PAYLOAD_BYTES_MAX
        self._their_settings_seen = False
        self._prefix = b""
        self._ready: dict[int, Stream] = {}  # streams with something to send and room for it, in turn
        self._events: list[Event] = []

    # Coming in

    def feed(self, data: bytes) -> list[Event]:
        """Events of these bytes. A broken rule ends the connection (`over`) after what came before it."""
        if not self.over:
            self._incoming += data
            try:
                self._read()
            except ConnectionBroken as broken:
                self.goaway(broken.code, str(broken))
                self.over = True
        events, self._events = self._events, []
        return events

    def _read(self) -> None:
        at = 0
        incoming = self._incoming
        if not self.preface_seen:
            if not frames.PREFACE.startswith(bytes(incoming[: len(frames.PREFACE)])):
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "this is no HTTP/2")
            if len(incoming) < len(frames.PREFACE):
                return
            self.preface_seen = True
            at = len(frames.PREFACE)
        while len(incoming) - at >= frames.HEAD_BYTES and not self.over:
            length = int.from_bytes(incoming[at : at + 3], "big")
            if length > frames.PAYLOAD_BYTES_MAX:
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "a frame is too large")
            end = at + frames.HEAD_BYTES + length
            if len(incoming) < end:
                break
            payload = bytes(incoming[at + frames.HEAD_BYTES : end])
            kind, flags, stream = incoming[at + 3], incoming[at + 4], frames.number(bytes(incoming[at + 5 : at + 9]))
            at = end
            try:
                self._frame(kind, flags, stream, payload)
            except StreamBroken as broken:
                self.reset(broken.stream, broken.code)
        del incoming[:at]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if not self._their_settings_seen and kind != frames.SETTINGS:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._block is not None and (kind != frames.CONTINUATION or stream != self._block[0]):
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "a frame inside a header block")
        if kind in (frames.SETTINGS, frames.PING, frames.GOAWAY):
            if stream:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "a frame of the connection on a stream")
        elif kind != frames.WINDOW_UPDATE and kind <= frames.CONTINUATION and not stream:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "a frame of a stream on the connection")
        if kind == frames.DATA:
            self._data(stream, flags, payload)
        elif kind == frames.HEADERS:
            self._headers(stream, flags, payload)
        elif kind == frames.CONTINUATION:
            if self._block is None:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "CONTINUATION of nothing")
            self._continue(flags, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(stream, payload)
        elif kind == frames.SETTINGS:
            self._settings(flags, payload)
        elif kind == frames.PING:
            frames.whole(kind, payload, 8)
            if not flags & frames.ACK:
                self._answer(frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.RST_STREAM:
            frames.whole(kind, payload, 4)
            self._known(stream)
            if stream in self.streams:
                self._close(self.streams[stream], reset=True)
        elif kind == frames.PRIORITY:
            frames.whole(kind, payload, 5)
        elif kind == frames.GOAWAY:
            if len(payload) < 8:
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "a short GOAWAY")
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "a client does not push")

    def _known(self, stream: int) -> None:
        """A stream that was never opened may get no frame but HEADERS and PRIORITY."""
        if stream > self._last_id or not stream % 2:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "a frame on a stream that is not open")

    def _headers(self, stream: int, flags: int, payload: bytes) -> None:
        payload = frames.unpadded(flags, payload)
        if flags & frames.PRIORITISED:
            if len(payload) < 5:
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "short HEADERS")
            payload = payload[5:]
        if not stream % 2:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "a client's stream has an odd number")
        self._block = (stream, flags, bytearray())
        self._continue(flags, payload)

    def _continue(self, flags: int, payload: bytes) -> None:
        assert self._block is not None
        stream, first_flags, block = self._block
        block += payload
        if len(block) > BLOCK_BYTES_MAX:
            raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, "too many headers")
        if not flags & frames.END_HEADERS:
            return
        self._block = None
        try:
            headers = self._reader.read(bytes(block))
        except hpack.BadHeaders as bad:
            raise ConnectionBroken(frames.COMPRESSION_ERROR, str(bad)) from None
        self._headers_read(stream, headers, ended=bool(first_flags & frames.END_STREAM))

    def _headers_read(self, number: int, headers: list[hpack.Header], *, ended: bool) -> None:
        known = self.streams.get(number)
        if known is not None:
            if known.ended or not ended:
                raise StreamBroken(number, frames.STREAM_CLOSED if known.ended else frames.PROTOCOL_ERROR)
            self._end(known)  # trailers: gRPC's clients have none to tell
            return
        if number <= self._last_id:
            return  # a late frame of a stream that we have answered or reset already
        self._last_id = number
        if len(self.streams) >= STREAMS_MAX:
            raise StreamBroken(number, frames.REFUSED_STREAM)
        stream = self.streams[number] = Stream(number, self._their_window)
        stream.headers = headers
        self._events.append((OPENED, stream))
        if ended:
            self._end(stream)

    def _data(self, number: int, flags: int, payload: bytes) -> None:
        self._known(number)
        # Padding counts too, and so does what comes for a stream that is gone. A client that sends more than its window is not
        # caught: it would have got the room at once.
        self._received += len(payload)
        if self._received >= WINDOW_BYTES // 2:
            self._out += frame(frames.WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big"))
            self._received = 0
        stream = self.streams.get(number)
        if stream is None:
            return
        if stream.ended:
            raise StreamBroken(number, frames.STREAM_CLOSED)
        stream.received += len(payload)
        stream.body += frames.unpadded(flags, payload)
        self._events.append((FED, stream))
        if flags & frames.END_STREAM:
            self._end(stream)
        elif stream.received >= WINDOW_BYTES // 2:
            self._out += frame(frames.WINDOW_UPDATE, 0, number, stream.received.to_bytes(4, "big"))
            stream.received = 0

    def _end(self, stream: Stream) -> None:
        stream.ended = True
        self._events.append((ENDED, stream))

    def _window_update(self, number: int, payload: bytes) -> None:
        frames.whole(frames.WINDOW_UPDATE, payload, 4)
        more = frames.number(payload)
        if not number:
            if not more or self._window + more > WINDOW_BYTES_MAX:
                raise ConnectionBroken(frames.FLOW_CONTROL_ERROR if more else frames.PROTOCOL_ERROR, "a wrong window")
            self._window += more
            return
        self._known(number)
        stream = self.streams.get(number)
        if stream is None:
            return
        if not more or stream.window + more > WINDOW_BYTES_MAX:
            raise StreamBroken(number, frames.FLOW_CONTROL_ERROR if more else frames.PROTOCOL_ERROR)
        stream.window += more
        self._make_ready(stream)

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            frames.whole(frames.SETTINGS, payload, 0)
            return
        if len(payload) % 6:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        self._their_settings_seen = True
        for at in range(0, len(payload), 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == frames.SET_INITIAL_WINDOW:
                if value > WINDOW_BYTES_MAX:
                    raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, "a window is too large")
                change, self._their_window = value - self._their_window, value
                for stream in self.streams.values():
                    stream.window += change
                    if stream.window > WINDOW_BYTES_MAX:
                        raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, "a window is too large")
                    self._make_ready(stream)
            elif key == frames.SET_FRAME_SIZE_MAX:
                if not frames.PAYLOAD_BYTES_MAX <= value < 1 << 24:
                    raise ConnectionBroken(frames.PROTOCOL_ERROR, "a frame size out of bounds")
                self._their_frame_bytes = value
            elif key == frames.SET_ENABLE_PUSH and value > 1:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
            elif key == frames.SET_HEADER_TABLE_SIZE and value < hpack.TABLE_BYTES_MAX:
                self._prefix = hpack.NO_TABLE
        self._answer(frame(frames.SETTINGS, frames.ACK, 0))

    def _answer(self, answer: bytes) -> None:
        if len(self._out) > CONTROL_BYTES_MAX:
            raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, "answers are not fetched")
        self._out += answer

    # Going out

    def start(self, stream: Stream, headers: list[hpack.Header]) -> None:
        """Send the headers of an answer."""
        if not stream.closed and not stream.sent:
            stream.sent = True
            self._send_headers(stream, headers, frames.END_HEADERS)

    def write(self, stream: Stream, body: bytes) -> None:
        """Send a part of the answer's body, as windows allow."""
        if not stream.closed and body:
            stream.outgoing.append(memoryview(body))
            self._make_ready(stream)

    def finish(self, stream: Stream, trailers: list[hpack.Header]) -> None:
        """End the answer; without `start` this is all of it."""
        if not stream.closed:
            stream.sent = True
            stream.trailers = trailers
            self._make_ready(stream)

    def waiting_bytes(self, stream: Stream) -> int:
        """How much of the stream's answer waits for windows."""
        return sum(map(len, stream.outgoing))

    def reset(self, number: int, code: int) -> None:
        """End one stream by force."""
        self._out += frame(frames.RST_STREAM, 0, number, code.to_bytes(4, "big"))
        if number in self.streams:
            self._close(self.streams[number], reset=True)

    def goaway(self, code: int = frames.NO_ERROR, reason: str = "") -> None:
        """Say that no further call is taken (`code` NO_ERROR) or why the connection ends."""
        self._out += frames.goaway(self._last_id, code, reason)

    def take(self, limit: int = 256 * 1024) -> bytes:
        """Bytes to send now, about `limit` of them; nothing if there are none or no window is open."""
        while len(self._out) < limit and self._ready:
            number = next(iter(self._ready))
            stream = self._ready.pop(number)
            if stream.outgoing and self._window <= 0:
                self._ready = {number: stream, **self._ready}
                break
            # A stream whose window has shrunk meanwhile comes back with its next WINDOW_UPDATE.
            if not stream.outgoing or stream.window > 0:
                self._send_part(stream)
        out, self._out = self._out, bytearray()
        return bytes(out)

    def _make_ready(self, stream: Stream) -> None:
        if (stream.outgoing and stream.window > 0) or (not stream.outgoing and stream.trailers is not None):
            self._ready[stream.id] = stream

    def _send_part(self, stream: Stream) -> None:
        if stream.outgoing:
            size = min(len(stream.outgoing[0]), stream.window, self._window, self._their_frame_bytes)
            self._out += frame(frames.DATA, 0, stream.id, stream.outgoing[0][:size])
            stream.window -= size
            self._window -= size
            stream.outgoing[0] = stream.outgoing[0][size:]
            if not stream.outgoing[0]:
                stream.outgoing.pop(0)
        if stream.outgoing or stream.trailers is None:
            self._make_ready(stream)
            return
        self._send_headers(stream, stream.trailers, frames.END_HEADERS | frames.END_STREAM)
        if not stream.ended:
            # The answer is whole before the question: the rest of the question is not wanted.
            self._out += frame(frames.RST_STREAM, 0, stream.id, frames.NO_ERROR.to_bytes(4, "big"))
        self._close(stream, reset=False)

    def _send_headers(self, stream: Stream, headers: list[hpack.Header], flags: int) -> None:
        self._out += frame(frames.HEADERS, flags, stream.id, self._prefix + hpack.write(headers))
        self._prefix = b""

    def _close(self, stream: Stream, *, reset: bool) -> None:
        stream.closed = True
        stream.outgoing = []
        stream.body = bytearray()
        self.streams.pop(stream.id, None)
        self._ready.pop(stream.id, None)
        if reset:
            self._events.append((RESET, stream))
