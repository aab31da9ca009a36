"""Messages with a type byte: built as PostgreSQL builds them, cut as they come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.errors import ProtocolViolation
from spg99.wire import messages
from spg99.wire.messages import FrameScanner, ends_between_messages, ends_with_fatal, error_response, frame


def test_error_response() -> None:
    made = error_response("28P01", "no\0way", hint="try again")
    assert made == b"E" + (len(made) - 1).to_bytes(4) + b"SFATAL\0VFATAL\0C28P01\0Mnoway\0Htry again\0\0"
    assert messages.error_fields(made[5:])["M"] == "noway"


def test_log_in_messages() -> None:
    assert messages.authentication_sasl(["B", "A"]) == b"R\0\0\0\x0d\0\0\0\x0aB\0A\0\0"
    assert messages.authentication_sasl_continue(b"abc") == b"R\0\0\0\x0b\0\0\0\x0babc"
    assert messages.authentication_sasl_final(b"abc") == b"R\0\0\0\x0b\0\0\0\x0cabc"
    assert messages.negotiate_protocol_version(2, [b"_pq_.x"]) == b"v\0\0\0\x13\0\3\0\2\0\0\0\1_pq_.x\0"
    assert messages.backend_key_data(1, b"abcd") == b"K\0\0\0\x0c\0\0\0\1abcd"
    assert messages.parameter_status("a", "b") == b"S\0\0\0\x08a\0b\0"
    assert messages.ready_for_query() == b"Z\0\0\0\5I"


def test_sasl_initial_response() -> None:
    assert messages.sasl_initial_response(b"X\0\0\0\0\3abc") == ("X", b"abc")
    for wrong in (b"", b"X", b"X\0\0\0\0", b"X\0\0\0\0\4abc", b"X\0\xff\xff\xff\xffabc"):
        with pytest.raises(ProtocolViolation):
            messages.sasl_initial_response(wrong)


FRAMES = st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=40)), max_size=8)


@given(sent=FRAMES, cuts=st.lists(st.integers(0, 400), max_size=10))
def test_scanner_does_not_care_how_the_stream_is_cut(sent: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(frame(kind, body) for kind, body in sent)
    edges = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    scanner, found = FrameScanner(bytes_max=100), []
    for begin, end in itertools.pairwise(edges):
        scanner.feed(stream[begin:end])
        found += list(scanner)
    assert found == sent
    assert scanner.rest == b""


@given(st.binary(max_size=100))
def test_scanner_raises_nothing_but_protocol_violation(data: bytes) -> None:
    scanner = FrameScanner(bytes_max=50)
    scanner.feed(data)
    try:
        list(scanner)
    except ProtocolViolation:
        return


def test_scanner_refuses_a_giant_before_it_comes() -> None:
    scanner = FrameScanner(bytes_max=1000)
    scanner.feed(b"p\x7f\xff\xff\xff")
    with pytest.raises(ProtocolViolation):
        scanner.take()


@given(sent=FRAMES, cut=st.integers(1, 4))
def test_end_between_messages(sent: list[tuple[bytes, bytes]], cut: int) -> None:
    stream = b"".join(frame(kind, body) for kind, body in sent)
    assert ends_between_messages(stream)
    assert not ends_between_messages(stream + frame(b"D", b"some row")[:cut])


def test_end_after_ready_for_query_whatever_the_chunk_began_with() -> None:
    assert ends_between_messages(b"st of a row" + messages.ready_for_query())
    assert not ends_between_messages(b"st of a row")


def test_fatal_at_the_end() -> None:
    assert ends_with_fatal(error_response("57P01", "bye"))
    assert not ends_with_fatal(error_response("22012", "division by zero", severity="ERROR"))
    assert not ends_with_fatal(messages.ready_for_query())
