"""The server's side of HTTP/2 against the library `h2` as the client, and against clients that break every rule."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.examples import examples
from tfplugin import frames, hpack, http2
from tfplugin.frames import frame
from tfplugin.http2 import Http2

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b"), (":authority", "x"), ("te", "trailers")]
OPEN = frames.PREFACE + frames.settings({})


class Pair:
    """A real client and our server, without a socket between."""

    def __init__(self) -> None:
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.client.initiate_connection()
        self.server = Http2()
        self.events: list[http2.Event] = []
        self.seen: list[Any] = []

    def exchange(self) -> None:
        """Until neither has anything to say."""
        for _ in range(10_000):
            sent = self.client.data_to_send()
            if sent:
                self.events += self.server.feed(sent)
            answered = self.server.take()
            if answered:
                for event in self.client.receive_data(answered):
                    self.seen.append(event)
                    if isinstance(event, h2.events.DataReceived):
                        self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if not sent and not answered:
                return
        raise AssertionError("they never stop")

    def call(self, body: bytes = b"") -> http2.Stream:
        number = self.client.get_next_available_stream_id()
        self.client.send_headers(number, REQUEST)
        view = memoryview(body)
        while view:
            self.exchange()
            size = min(self.client.local_flow_control_window(number), self.client.max_outbound_frame_size, len(view))
            assert size, "the server does not open its window"
            self.client.send_data(number, bytes(view[:size]))
            view = view[size:]
        self.client.end_stream(number)
        self.exchange()
        return next(stream for kind, stream in self.events if kind == http2.OPENED and stream.id == number)

    def of(self, kind: type[Any], stream: http2.Stream) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind) and event.stream_id == stream.id]


def test_a_call_and_its_answer() -> None:
    pair = Pair()
    stream = pair.call(b"question")
    assert stream.headers == REQUEST
    assert bytes(stream.body) == b"question"
    assert [kind for kind, _ in pair.events] == [http2.OPENED, http2.FED, http2.ENDED] or pair.events[-1][
        0
    ] == http2.ENDED
    pair.server.start(stream, [(":status", "200")])
    pair.server.write(stream, b"answer")
    pair.server.finish(stream, [("grpc-status", "0")])
    pair.exchange()
    (response,) = pair.of(h2.events.ResponseReceived, stream)
    assert dict(response.headers)[":status"] == "200"
    assert b"".join(event.data for event in pair.of(h2.events.DataReceived, stream)) == b"answer"
    (trailers,) = pair.of(h2.events.TrailersReceived, stream)
    assert dict(trailers.headers) == {"grpc-status": "0"}
    assert not pair.server.streams


def test_large_bodies_go_both_ways_within_the_windows() -> None:
    pair = Pair()
    body = bytes(range(256)) * 40_000  # 10 MB, more than twice our window
    stream = pair.call(body)
    assert bytes(stream.body) == body
    pair.server.start(stream, [(":status", "200")])
    pair.server.write(stream, body)
    pair.server.finish(stream, [("grpc-status", "0")])
    pair.exchange()
    assert b"".join(event.data for event in pair.of(h2.events.DataReceived, stream)) == body


def test_answers_take_turns() -> None:
    """A small answer is not held up by a large one before it, even when the window of the connection is the limit."""
    pair = Pair()
    large, small = pair.call(), pair.call()
    for stream, size in ((large, 60_000), (small, 100)):
        pair.server.start(stream, [(":status", "200")])
        pair.server.write(stream, b"x" * size)
        pair.server.finish(stream, [("grpc-status", "0")])
    sent = pair.server.take()
    for event in pair.client.receive_data(sent):
        pair.seen.append(event)
    ended = [event.stream_id for event in pair.seen if isinstance(event, h2.events.StreamEnded)]
    assert ended == [small.id, large.id]


def test_a_window_that_shrinks_and_grows_again() -> None:
    pair = Pair()
    stream = pair.call()
    pair.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10})
    pair.exchange()
    pair.server.start(stream, [(":status", "200")])
    pair.server.write(stream, b"y" * 100)
    pair.server.finish(stream, [("grpc-status", "0")])
    first = pair.server.take()
    assert first.count(b"y") == 10
    pair.client.receive_data(first)
    pair.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 5})
    assert pair.server.feed(pair.client.data_to_send()) == []
    assert pair.server.take().count(b"y") == 0
    pair.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    pair.server.feed(pair.client.data_to_send())
    assert pair.server.take().count(b"y") == 90


def test_ping_settings_and_unknown_frames() -> None:
    pair = Pair()
    pair.client.ping(b"12345678")
    pair.exchange()
    assert [event.ping_data for event in pair.seen if isinstance(event, h2.events.PingAckReceived)] == [b"12345678"]
    assert any(isinstance(event, h2.events.SettingsAcknowledged) for event in pair.seen)
    assert pair.server.feed(frame(0xBE, 0xFF, 7, b"what is this")) == []
    assert not pair.server.over


def test_a_smaller_table_is_acknowledged_before_the_next_headers() -> None:
    pair = Pair()
    pair.client.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0})
    pair.exchange()
    stream = pair.call()
    pair.server.finish(stream, [(":status", "200"), ("grpc-status", "12")])
    pair.exchange()  # the client's reader raises if the size is not announced
    assert pair.of(h2.events.ResponseReceived, stream)


def test_a_reset_is_told_and_its_answer_dropped() -> None:
    pair = Pair()
    stream = pair.call()
    pair.client.reset_stream(stream.id)
    pair.exchange()
    assert pair.events[-1] == (http2.RESET, stream)
    pair.server.start(stream, [(":status", "200")])
    pair.server.write(stream, b"late")
    pair.server.finish(stream, [("grpc-status", "0")])
    assert pair.server.take() == b""


def test_an_answer_before_the_end_of_the_question() -> None:
    pair = Pair()
    number = pair.client.get_next_available_stream_id()
    pair.client.send_headers(number, REQUEST)
    pair.client.send_data(number, b"much")
    pair.exchange()
    stream = pair.events[0][1]
    pair.server.finish(stream, [(":status", "200"), ("grpc-status", "8")])
    pair.exchange()
    assert [event.error_code for event in pair.of(h2.events.StreamReset, stream)] == [frames.NO_ERROR]
    # What is still on its way is taken, counted and forgotten.
    assert pair.server.feed(frame(frames.DATA, frames.END_STREAM, number, b"x" * 100)) == []
    assert not pair.server.over


def test_trailers_of_a_client_end_its_question() -> None:
    block = hpack.write([(":method", "POST")])
    server = Http2()
    server.feed(OPEN + frame(frames.HEADERS, frames.END_HEADERS, 1, block))
    events = server.feed(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, hpack.write([("x", "y")])))
    assert [kind for kind, _ in events] == [http2.ENDED]


def test_headers_in_many_pieces_with_padding_and_priority() -> None:
    block = hpack.write(REQUEST)
    server = Http2()
    flags = frames.PADDED | frames.PRIORITISED | frames.END_STREAM
    events = server.feed(
        OPEN
        + frame(frames.PRIORITY, 0, 3, b"\0\0\0\0\1")
        + frame(frames.HEADERS, flags, 1, b"\3" + b"\0\0\0\0\1" + block[:5] + b"\0\0\0")
        + frame(frames.CONTINUATION, 0, 1, block[5:9])
        + frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[9:])
    )
    assert [kind for kind, _ in events] == [http2.OPENED, http2.ENDED]
    assert events[0][1].headers == REQUEST


def started() -> Http2:
    """A server with stream 1 open and stream 3 fully asked."""
    server = Http2()
    block = hpack.write(REQUEST)
    server.feed(OPEN + frame(frames.HEADERS, frames.END_HEADERS, 1, block))
    server.feed(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 3, block))
    server.take()
    return server


def frames_of(data: bytes) -> list[tuple[int, int, bytes]]:
    made = []
    while data:
        size = int.from_bytes(data[:3], "big")
        made.append((data[3], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return made


P, F, S, C = frames.PROTOCOL_ERROR, frames.FLOW_CONTROL_ERROR, frames.FRAME_SIZE_ERROR, frames.COMPRESSION_ERROR


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(frames.DATA, 0, 0, b"x"), P), (frame(frames.HEADERS, 4, 0, b"\x82"), P), (frame(frames.HEADERS, 4, 2, b"\x82"), P),
        (frame(frames.DATA, 0, 5, b"x"), P), (frame(frames.RST_STREAM, 0, 5, bytes(4)), P), (frame(frames.WINDOW_UPDATE, 0, 5, b"\0\0\0\1"), P),
        (frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), P), (frame(frames.CONTINUATION, 4, 1, b"\x82"), P),
        (frame(frames.SETTINGS, 0, 1), P), (frame(frames.PING, 0, 1, bytes(8)), P), (frame(frames.GOAWAY, 0, 1, bytes(8)), P),
        (frame(frames.PING, 0, 0, bytes(7)), S), (frame(frames.RST_STREAM, 0, 1, bytes(3)), S), (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), S),
        (frame(frames.SETTINGS, 0, 0, bytes(5)), S), (frame(frames.SETTINGS, 1, 0, bytes(6)), S), (frame(frames.GOAWAY, 0, 0, bytes(7)), S),
        (frame(frames.PRIORITY, 0, 1, bytes(4)), S), (b"\x00\x40\x01" + bytes(6), S), (b"\xff\xff\xff" + bytes(6), S),
        (frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)), P), (frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), F),
        (frames.settings({4: 1 << 31}), F), (frames.settings({5: 100}), P), (frames.settings({5: 1 << 24}), P), (frames.settings({2: 2}), P),
        (frame(frames.DATA, frames.PADDED, 1, b"\x05ab"), P), (frame(frames.DATA, frames.PADDED, 1), P),
        (frame(frames.HEADERS, 4 | frames.PRIORITISED, 5, b"\0\0"), S), (frame(frames.HEADERS, 4, 5, b"\xff\xff\xff\xff\xff\xff"), C),
        (frame(frames.HEADERS, 0, 5, b"\x82") + frame(frames.PING, 0, 0, bytes(8)), P),
        (frame(frames.HEADERS, 0, 5, b"\x82") + frame(frames.CONTINUATION, 4, 7, b""), P),
        (frame(frames.HEADERS, 0, 5, b"") + frame(frames.CONTINUATION, 0, 5, b"\0" * 16000) * 5, frames.ENHANCE_YOUR_CALM),
    ],
)  # fmt: skip
def test_a_broken_rule_ends_the_connection_with_its_code(sent: bytes, code: int) -> None:
    server = started()
    server.feed(sent)
    assert server.over
    kind, stream, payload = frames_of(server.take())[-1]
    assert (kind, stream) == (frames.GOAWAY, 0)
    assert int.from_bytes(payload[4:8], "big") == code
    assert server.feed(frame(frames.PING, 0, 0, bytes(8))) == []
    assert server.take() == b""


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(frames.DATA, 0, 3, b"late"), frames.STREAM_CLOSED),
        (frame(frames.HEADERS, 5, 3, b"\x82"), frames.STREAM_CLOSED),
        (frame(frames.HEADERS, 4, 1, b"\x82"), P),
        (frame(frames.WINDOW_UPDATE, 0, 1, bytes(4)), P),
        (frame(frames.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), F),
    ],
)
def test_a_rule_broken_on_a_stream_ends_only_that(sent: bytes, code: int) -> None:
    server = started()
    events = server.feed(sent)
    assert not server.over
    assert [kind for kind, _ in events] == [http2.RESET]
    kind, stream, payload = frames_of(server.take())[-1]
    assert (kind, stream, int.from_bytes(payload, "big")) == (frames.RST_STREAM, int.from_bytes(sent[5:9], "big"), code)


def test_too_many_calls_are_refused_one_by_one() -> None:
    server = Http2()
    block = hpack.write(REQUEST)
    server.feed(OPEN + b"".join(frame(frames.HEADERS, 5, 2 * n + 1, block) for n in range(http2.STREAMS_MAX)))
    server.take()
    server.feed(frame(frames.HEADERS, 5, 2 * http2.STREAMS_MAX + 1, block))
    assert frames_of(server.take()) == [
        (frames.RST_STREAM, 2 * http2.STREAMS_MAX + 1, frames.REFUSED_STREAM.to_bytes(4, "big"))
    ]
    assert not server.over


def test_a_flood_of_pings_that_nobody_fetches_ends() -> None:
    server = started()
    for _ in range(100):
        server.feed(frame(frames.PING, 0, 0, bytes(8)) * 1000)
    assert server.over
    assert len(server.take(1 << 30)) < 2 * http2.CONTROL_BYTES_MAX


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nXX", b"\0" * 50]
)
def test_what_is_no_http2_is_refused_at_the_first_byte(sent: bytes) -> None:
    server = Http2()
    assert server.feed(sent) == []
    assert server.over


def test_the_first_frame_must_be_settings() -> None:
    server = Http2()
    server.feed(frames.PREFACE + frame(frames.PING, 0, 0, bytes(8)))
    assert server.over


kinds = st.integers(0, 11)
wild = st.builds(frame, kinds, st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40))


@settings(max_examples=examples(300))
@given(st.lists(wild | st.binary(max_size=30), max_size=12), st.integers(1, 50))
def test_wild_frames_never_raise(sent: list[bytes], piece: int) -> None:
    server = started()
    data = b"".join(sent)
    for at in range(0, len(data), piece):
        for kind, stream in server.feed(data[at : at + piece]):
            if kind == http2.ENDED:
                server.start(stream, [(":status", "200")])
                server.write(stream, b"answer" * 10)
                server.finish(stream, [("grpc-status", "0")])
        server.take()
    assert server.over or server.feed(frame(0xBE, 0, 0)) is not None
