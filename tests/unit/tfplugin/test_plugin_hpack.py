"""Header compression against the library `hpack`: both ways, with memory, and a clean error for what is broken."""

from __future__ import annotations

from collections.abc import Iterator

import hpack as oracle
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from tfplugin import hpack

latin = st.text(st.characters(max_codepoint=255), max_size=30)
names = st.sampled_from([":path", ":method", "content-type", "te", "user-agent", "x-own"]) | st.text(
    "abcz-", min_size=1, max_size=9
)
headers = st.lists(st.tuples(names, st.sampled_from(["POST", "", "application/grpc"]) | latin), max_size=12)


@given(st.lists(st.tuples(headers, st.booleans(), st.sampled_from([None, 0, 100, 4096])), max_size=6))
def test_reads_what_the_library_writes_block_after_block(
    blocks: list[tuple[list[tuple[str, str]], bool, int | None]],
) -> None:
    writer, reader = oracle.Encoder(), hpack.Reader()
    for block, huffman, size in blocks:
        if size is not None:
            writer.header_table_size = size
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in block]
        assert reader.read(writer.encode(raw, huffman=huffman)) == block


@given(headers)
def test_the_library_reads_what_we_write(block: list[tuple[str, str]]) -> None:
    read = oracle.Decoder().decode(hpack.write([(":status", "200"), *block]), raw=True)
    assert [(name.decode("latin-1"), value.decode("latin-1")) for name, value in read] == [(":status", "200"), *block]
    assert oracle.Decoder().decode(hpack.NO_TABLE + hpack.write([(":status", "200")])) == [(":status", "200")]


def test_every_symbol_of_the_huffman_code() -> None:
    packer = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    for byte in range(256):
        text = bytes([byte]) * 3
        assert hpack.unpack_text(packer.encode(text)) == text.decode("latin-1")


@given(st.binary(max_size=60))
def test_random_bytes_are_headers_or_a_clean_error(block: bytes) -> None:
    try:
        theirs = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in oracle.Decoder().decode(block, raw=True)
        ]
    except oracle.HPACKError:
        theirs = None
    except Exception:  # the library's own trap
        theirs = None
    try:
        ours = hpack.Reader().read(block)
    except hpack.BadHeaders:
        ours = None
    if theirs is not None and ours is not None:
        assert ours == theirs


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (b"\x80", "no such header"),
        (b"\xbe", "no such header"),
        (b"\xff\xff\xff\xff\xff\xff", "too large"),
        (b"\x40\x05ab", "too early"),
        (b"\x40", "too early"),
        (b"\x3f\xe2\x1f", "larger than allowed"),
        (b"\x82\x20", "in the middle"),
        (b"\x00\x84\xff\xff\xff\xff\x00", "no such code"),
        (b"\x00\x81\x00\x00", "filled up"),
        (b"\x00\x81\xff\x00", "filled up"),
    ],
)
def test_what_is_broken_is_refused(block: bytes, said: str) -> None:
    with pytest.raises(hpack.BadHeaders, match=said):
        hpack.Reader().read(block)


def test_a_bomb_of_headers_is_refused() -> None:
    writer = oracle.Encoder()
    reader = hpack.Reader()
    reader.read(writer.encode([(b"x", b"y" * 3900)]))
    with pytest.raises(hpack.BadHeaders, match="too many"):
        reader.read(b"\xbe" * 100)


def test_two_threads_that_read_the_first_text_at_once_read_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, read = hpack._SYMBOLS_BY_LENGTH, list[str]()

    class Slow:
        """The table, and in the middle of it another thread's turn."""

        def __iter__(self) -> Iterator[tuple[int, bytes]]:
            yield whole[0]
            monkeypatch.setattr(hpack, "_SYMBOLS_BY_LENGTH", whole)
            read.append(hpack.unpack_text(packed))
            yield from whole[1:]

    packed = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(b"/tfplugin6.Provider/XYZ")
    for name, value in (("_codes", {}), ("_unpacked", {}), ("_SYMBOLS_BY_LENGTH", Slow())):
        monkeypatch.setattr(hpack, name, value)
    assert hpack.unpack_text(packed) == "/tfplugin6.Provider/XYZ" == read[0]
