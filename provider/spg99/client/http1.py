"""HTTP/1.1 as a client speaks it: bytes of a request, bytes to an answer (RFC 9112). Not here: sockets (sockets.py, in_loop.py).

What is not exactly an answer is refused: a length that is said twice in two ways, a transfer coding other than `chunked`, a line
that is no header. Nobody may put an answer of his own behind ours: what comes after the end makes the connection unfit.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from spg99.client.exchanges import NotDecompressed, NotHttp, Response

HEAD_BYTES_MAX = 100 * 1024
CHUNK_LINE_BYTES_MAX = 4096
ENCODINGS = "gzip, deflate"
"""What we ask for and can undo."""


def request_bytes(method: str, target: str, headers: Mapping[str, str], content: bytes | None) -> bytes:
    """The request. Raises ValueError where a part would become another line."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if content is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(content or b'')}")
    if any("\r" in line or "\n" in line or "\0" in line for line in lines) or " " in target:
        raise ValueError("A request's line holds a line break or a blank.")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (content or b"")


class AnswerReader:
    """Collects bytes until they are a whole answer."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._data = bytearray()
        self._body = bytearray()
        self._status = 0
        self._headers: dict[str, str] | None = None
        self._left: int | None = None
        """Bytes of the body, or of the chunk, that are still to come; None: until the connection ends."""
        self._chunked = self._after_chunk = self._in_trailers = self._may_stay = False
        self._done = False

    @property
    def is_reusable(self) -> bool:
        """Whether the connection may carry another request: the answer is whole, nothing came behind it, nobody closes."""
        return self._done and self._may_stay and not self._data

    @property
    def head(self) -> tuple[int, Mapping[str, str]] | None:
        """Status and headers, as soon as they are there."""
        return None if self._headers is None else (self._status, self._headers)

    def taken(self) -> bytes:
        """What has come of the body since the last call, for an answer that goes on: the whole one does not hold it again."""
        part = bytes(self._body)
        self._body.clear()
        return part

    def feed(self, data: bytes) -> Response | None:
        """The answer once it is whole; empty `data`: the other side has closed. Raises NotHttp and NotDecompressed."""
        self._data += data
        while self._headers is None:
            if not self._head():
                if not data:
                    raise NotHttp("closed before the answer")
                return None
        if self._chunked:
            self._chunks()
        else:
            self._plain(at_end=not data)
        if self._done:
            return Response(self._status, self._headers, _decompressed(self._headers, bytes(self._body)))
        if not data:
            raise NotHttp("closed within the answer")
        return None

    def _head(self) -> bool:
        """Reads the head of an answer; False when it is not whole. 100 Continue and its like are passed over."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > HEAD_BYTES_MAX:
                raise NotHttp("a head without end")
            if not b"HTTP/1.".startswith(self._data[:7]) and not self._data.startswith(b"HTTP/1."):
                raise NotHttp("another protocol")
            return False
        first, *lines = self._data[:end].decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        version, _, rest = first.partition(" ")
        code = rest[:3]
        if version not in ("HTTP/1.1", "HTTP/1.0") or not code.isascii() or not code.isdigit() or rest[3:4].strip():
            raise NotHttp("no status line")
        self._status = int(code)
        if self._status < 200:
            if self._status == 101:
                raise NotHttp("another protocol")
            return self._head()
        self._headers = _headers(lines)
        self._measure(version)
        return True

    def _measure(self, version: str) -> None:
        headers = self._headers or {}
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        said = {word.strip().lower() for word in headers.get("connection", "").split(",")}
        self._may_stay = "close" not in said and (version == "HTTP/1.1" or "keep-alive" in said)
        if self._method == "HEAD" or self._status in (204, 304):
            self._left = 0
        elif coding is not None:
            if coding.strip().lower() != "chunked" or length is not None:
                raise NotHttp("a transfer coding that is not chunked")
            self._chunked, self._left = True, 0
        elif length is not None:
            lengths = {each.strip() for each in length.split(",")}
            text = lengths.pop()
            if lengths or not text.isascii() or not text.isdigit() or len(text) > 20:
                raise NotHttp("no length")
            self._left = int(text)
        else:
            self._left, self._may_stay = None, False

    def _plain(self, *, at_end: bool) -> None:
        if self._left is None:
            self._body += self._data
            self._data.clear()
            self._done = at_end
            return
        self._take()
        self._done = self._left == 0

    def _take(self) -> None:
        taken = self._data[: self._left]
        self._body += taken
        del self._data[: len(taken)]
        self._left = (self._left or 0) - len(taken)

    def _chunks(self) -> None:
        while not self._done:
            if self._left:
                self._take()
                if self._left:
                    return
            # Behind a chunk's bytes stands an empty line, in front of the next its size.
            end = self._data.find(b"\r\n")
            if end < 0:
                if len(self._data) > CHUNK_LINE_BYTES_MAX:
                    raise NotHttp("a chunk without a size")
                return
            line = bytes(self._data[:end])
            if self._in_trailers:
                del self._data[: end + 2]
                self._done = not line
            elif self._after_chunk:
                if line:
                    raise NotHttp("a chunk that is longer than it says")
                del self._data[:2]
                self._after_chunk = False
            else:
                del self._data[: end + 2]
                size = line.partition(b";")[0].strip()
                if not size or len(size) > 16 or size.strip(b"0123456789abcdefABCDEF"):
                    raise NotHttp("a chunk without a size")
                self._left = int(size, 16)
                self._after_chunk = self._left > 0
                self._in_trailers = self._left == 0


def _headers(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or " " in name or "\n" in line or "\r" in line or "\0" in line:
            raise NotHttp("a line that is no header")
        name, value = name.lower(), value.strip(" \t")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _decompressed(headers: Mapping[str, str], body: bytes) -> bytes:
    """The body without its encodings. One that nobody asked for stays as it is, and is then no JSON."""
    for coding in reversed([each.strip().lower() for each in headers.get("content-encoding", "").split(",")]):
        if coding in ("gzip", "x-gzip", "deflate") and body:
            body = _unpacked(body, zlib.MAX_WBITS | 16 if coding != "deflate" else zlib.MAX_WBITS)
        elif coding not in ("", "identity"):
            return body
    return body


def _unpacked(body: bytes, bits: int) -> bytes:
    for tried in (
        (bits,) if bits != zlib.MAX_WBITS else (bits, -zlib.MAX_WBITS)
    ):  # "deflate" is sent with and without zlib's head
        reader = zlib.decompressobj(tried)
        try:
            plain = reader.decompress(body) + reader.flush()
        except zlib.error:
            continue
        if reader.eof:
            return plain
    raise NotDecompressed("not what its encoding says")
