"""HPACK, the header compression of HTTP/2: a complete reader, and a writer that needs no memory. Not here: frames (frames.py).

RFC 7541. Our own headers are written as literals which are never indexed: there are four of them, and so there is no table
that two sides must keep equal.
"""

from __future__ import annotations

TABLE_BYTES_MAX = 4096
"""What we let the other side keep in its table (SETTINGS_HEADER_TABLE_SIZE; we announce no other)."""
LIST_BYTES_MAX = 64 * 1024
"""All headers of one call, unpacked."""

Header = tuple[str, str]


class BadHeaders(ValueError):
    """A header block that cannot be read: the connection is lost, since both tables differ from here on."""


_STATIC: tuple[Header, ...] = (
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
)  # fmt: skip

# Appendix B. The code is canonical: symbols in order of length, then of value, have consecutive codes. So the symbols of each
# length say all; bytes from 127 on are written in hex.
_SYMBOLS_BY_LENGTH: tuple[tuple[int, bytes], ...] = (
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b'!"()?'),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
    (19, bytes.fromhex("5cc3d0")),
    (20, bytes.fromhex("808283a2b8c2e0e2")),
    (21, bytes.fromhex("99a1a7acb0b1b3d1d8d9e3e5e6")),
    (22, bytes.fromhex("8184858688929a9ca0a3a4a9aaadb2b5b9babbbdbec4c6e4e8e9")),
    (23, bytes.fromhex("0187898a8b8c8d8f93959697989b9d9ea5a6a8aeafb4b6b7bcbfc5e7ef")),
    (24, bytes.fromhex("098e9091949fabced7e1eced")),
    (25, bytes.fromhex("c7cfeaeb")),
    (26, bytes.fromhex("c0c1c8c9cacdd2d5dadbeef0f2f3ff")),
    (27, bytes.fromhex("cbccd3d4d6dddedff1f4f5f6f7f8fafbfcfdfe")),
    (28, bytes.fromhex("020304050607080b0c0e0f1011121314151718191a1b1c1d1e1f7fdcf9")),
    (30, bytes.fromhex("0a0d16")),
)
_ALL_ONES = (1 << 30) - 1
_codes: dict[int, tuple[int, bytes]] = {}  # length -> first code, symbols
_unpacked: dict[bytes, str] = {}


def _prepare() -> dict[int, tuple[int, bytes]]:
    codes, code, last = dict[int, tuple[int, bytes]](), 0, 0
    for length, symbols in _SYMBOLS_BY_LENGTH:
        code <<= length - last
        codes[length] = (code, symbols)
        code += len(symbols)
        last = length
    return codes


def unpack_text(packed: bytes) -> str:
    """A text in the Huffman code."""
    global _codes
    if packed in _unpacked:
        return _unpacked[packed]
    if not (codes := _codes):
        # Threads of several connections come here: each sees no table or a whole one.
        codes = _codes = _prepare()
    out = bytearray()
    code = length = 0
    for byte in packed:
        for place in range(7, -1, -1):
            code = code << 1 | byte >> place & 1
            length += 1
            if length > 30 or (length == 30 and code == _ALL_ONES):
                raise BadHeaders("no such code")
            if length in codes:
                first, symbols = codes[length]
                if 0 <= code - first < len(symbols):
                    out.append(symbols[code - first])
                    code = length = 0
    if length > 7 or code != (1 << length) - 1:
        raise BadHeaders("the last code is not filled up with ones")
    text = out.decode("latin-1")
    # Every call has the same few names; one that never comes again would only fill memory.
    if len(packed) <= 128 and len(_unpacked) < 256:
        _unpacked[packed] = text
    return text


class Reader:
    """Reads the header blocks of one connection, in their order."""

    __slots__ = ("_limit", "_size", "_table")

    def __init__(self) -> None:
        self._table: list[Header] = []  # the newest first
        self._size = 0
        self._limit = TABLE_BYTES_MAX

    def read(self, block: bytes) -> list[Header]:
        """The headers of a block. BadHeaders if it is none, or if they are too many."""
        try:
            return self._read(block)
        except IndexError:
            raise BadHeaders("the block ends too early") from None

    def _read(self, block: bytes) -> list[Header]:
        headers: list[Header] = []
        at = total = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                place, at = _number(block, at, 7)
                header = self._entry(place)
            elif first & 0x40:
                header, at = self._literal(block, at, 6)
                self._remember(header)
            elif first & 0x20:
                if headers:
                    raise BadHeaders("a new table size in the middle of a block")
                limit, at = _number(block, at, 5)
                if limit > TABLE_BYTES_MAX:
                    raise BadHeaders("a table larger than allowed")
                self._limit = limit
                self._shrink()
                continue
            else:
                header, at = self._literal(block, at, 4)
            headers.append(header)
            total += len(header[0]) + len(header[1]) + 32
            if total > LIST_BYTES_MAX:
                raise BadHeaders("too many headers")
        return headers

    def _entry(self, place: int) -> Header:
        if 1 <= place <= len(_STATIC):
            return _STATIC[place - 1]
        place -= len(_STATIC) + 1
        if 0 <= place < len(self._table):
            return self._table[place]
        raise BadHeaders("no such header in the table")

    def _literal(self, block: bytes, at: int, bits: int) -> tuple[Header, int]:
        place, at = _number(block, at, bits)
        if place:
            name = self._entry(place)[0]
        else:
            name, at = _text(block, at)
        value, at = _text(block, at)
        return (name, value), at

    def _remember(self, header: Header) -> None:
        self._table.insert(0, header)
        self._size += len(header[0]) + len(header[1]) + 32
        self._shrink()

    def _shrink(self) -> None:
        while self._size > self._limit:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + 32


def _number(block: bytes, at: int, bits: int) -> tuple[int, int]:
    full = (1 << bits) - 1
    value = block[at] & full
    at += 1
    if value < full:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise BadHeaders("a number is too large")


def _text(block: bytes, at: int) -> tuple[str, int]:
    packed = block[at] & 0x80
    length, at = _number(block, at, 7)
    if length > len(block) - at:
        raise BadHeaders("a text ends too early")
    text = bytes(block[at : at + length])
    return unpack_text(text) if packed else text.decode("latin-1"), at + length


def _write_text(text: str) -> bytes:
    data = text.encode("latin-1")
    return number(len(data), 7, 0) + data


def number(value: int, bits: int, mark: int) -> bytes:
    """A number whose first byte has room for `bits` of it, beside `mark`."""
    full = (1 << bits) - 1
    if value < full:
        return bytes((mark | value,))
    out = bytearray((mark | full,))
    value -= full
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write(headers: list[Header]) -> bytes:
    """A header block that needs no table. Text is latin-1."""
    out = bytearray()
    for name, value in headers:
        if (name, value) == (":status", "200"):
            out.append(0x88)
        else:
            out += b"\x10" + _write_text(name) + _write_text(value)
    return bytes(out)


NO_TABLE = b"\x20"
"""Opens our first block when the other side wants a smaller table than ours could be: we keep none."""
