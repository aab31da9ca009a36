"""Server-Sent Events as bytes: each rule of the standard (WHATWG HTML, 9.2) that our streams need, whole and cut anywhere. Not here: the stream (test_in_loop.py)."""

from __future__ import annotations

import pytest

from spg99.client import server_sent
from spg99.client.exchanges import NotHttp
from spg99.client.server_sent import Message, MessageReader

ONE = Message("", "message", "1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            b": hello\n\nid: 5\n\nevent: a\r\ndata: 1\r\ndata:2\r\nid: 6\r\n\r\ndata: \xc3\xa9\rretry: 3\r\rdata: last",
            [Message("5", "message", ""), Message("6", "a", "1\n2"), Message("6", "message", "\u00e9")],
            id="all at once",
        ),
        pytest.param(
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
            [Message("1", "message", "first event"), Message("", "message", "second event")],
            id="the standard's: an id without a value ends the one before, what has no end is no message",
        ),
        pytest.param(
            b"data\n\ndata\ndata\n\ndata:",
            [ONE._replace(data=""), ONE._replace(data="\n")],
            id="the standard's: no colon",
        ),
        pytest.param(b"data:1\n\ndata: 1\n\ndata:  1\n\n", [ONE, ONE, ONE._replace(data=" 1")], id="one blank is none"),
        pytest.param(b"\xef\xbb\xbfdata:1\n\n", [ONE], id="a byte order mark at the beginning"),
        pytest.param(b"data:1\n\n\xef\xbb\xbfdata:2\n\n", [ONE], id="and nowhere else"),
        pytest.param(b"data:1\n\n\n\n:\n\nretry: 5\n\nother: x\n\n", [ONE], id="nothing is no message"),
        pytest.param(b"id: a\0b\ndata:1\n\n", [ONE], id="no id has a NUL"),
        pytest.param(b"event: x\n\ndata:1\n\n", [Message("", "x", ""), ONE], id="a kind is for one message"),
        pytest.param(
            b"data:\x0b\x0c\xc2\x85\xe2\x80\xa8\n\n",
            [ONE._replace(data="\x0b\x0c\x85\u2028")],
            id="no other ends of lines",
        ),
        pytest.param(b"data:\xff\n\n", [ONE._replace(data="\ufffd")], id="not UTF-8"),
    ],
)
def test_messages_of_a_stream_however_it_is_cut(text: bytes, expected: list[Message]) -> None:
    assert MessageReader().feed(text) == expected
    for size in (1, 2, 3, 7):
        reader = MessageReader()
        assert [m for at in range(0, len(text), size) for m in reader.feed(text[at : at + size])] == expected


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sent, "LINE_BYTES_MAX", 10)
    reader = MessageReader()
    assert reader.feed(b"data: long enough\n\ndata:") == [ONE._replace(data="long enough")]
    with pytest.raises(NotHttp):
        reader.feed(b"x" * 6)
