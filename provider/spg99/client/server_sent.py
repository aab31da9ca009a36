"""Server-Sent Events as bytes: parts of a body to messages (WHATWG HTML, 9.2). Not here: the stream (events.py)."""

from __future__ import annotations

from typing import NamedTuple

from spg99.client.exchanges import NotHttp

LINE_BYTES_MAX = 16 << 20


class Message(NamedTuple):
    """One message."""

    id: str
    """The last one that was told, also by a message before; empty for none."""
    event: str
    data: str


class MessageReader:
    """Collects bytes until they are messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._coding = "utf-8-sig"
        """Only what comes first may begin with a byte order mark."""
        self._id = self._event = ""
        self._data: list[str] = []
        self._is_empty = True

    def feed(self, part: bytes) -> list[Message]:
        """The messages that are whole by now. Raises NotHttp for a line without end."""
        text = self._rest + part
        # The end of a line may be cut in two; what has no end yet stays.
        end = max(text.rfind(b"\n"), text.rfind(b"\r", 0, -1)) + 1
        self._rest = text[end:]
        if len(self._rest) > LINE_BYTES_MAX:
            raise NotHttp("a line without end")
        return [found for line in text[:end].splitlines() if (found := self._line(line)) is not None]

    def _line(self, line: bytes) -> Message | None:
        text, self._coding = line.decode(self._coding, "replace"), "utf-8"
        if not text:
            return self._message()
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        else:
            return None  # a comment, or what we do not know
        self._is_empty = False
        return None

    def _message(self) -> Message | None:
        if self._is_empty:
            return None
        found = Message(self._id, self._event or "message", "\n".join(self._data))
        self._event, self._data, self._is_empty = "", [], True
        return found
