"""The first packets of a client: every one understood, everything else refused with a sentence."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.errors import ProtocolViolation
from spg99.wire.startup import (
    SSL_REQUEST,
    STARTUP_BYTES_MAX,
    CancelRequest,
    GssEncRequest,
    Packet,
    SslRequest,
    Startup,
    StartupReader,
    cancel_request,
    printable,
    startup_message,
)


def packet(code: int, body: bytes = b"") -> bytes:
    return struct.pack("!II", len(body) + 8, code) + body


def read(data: bytes) -> Packet | None:
    return StartupReader().feed(data)


def test_requests() -> None:
    assert read(SSL_REQUEST) == SslRequest()
    assert read(packet(80877104)) == GssEncRequest()
    assert read(cancel_request(4711, b"abcd")) == CancelRequest(4711, b"abcd")
    assert read(cancel_request(4711, b"k" * 32)) == CancelRequest(4711, b"k" * 32), "protocol 3.2"


def test_startup_message() -> None:
    found = read(startup_message({b"user": b"tnt_x", b"database": b"app", b"options": b"-c a=b"}))
    assert found == Startup(0, {b"user": b"tnt_x", b"database": b"app", b"options": b"-c a=b"})


def test_names_are_bytes() -> None:
    """PostgreSQL takes any: the encoding is an affair between the client and its database."""
    found = read(startup_message({b"user": b"caf\xe9", b"database": b"\xff", b"application_name": b"\xc3\x28"}))
    assert found == Startup(0, {b"user": b"caf\xe9", b"database": b"\xff", b"application_name": b"\xc3\x28"})
    assert printable(b"caf\xe9") == "caf\\xe9"
    assert printable("café".encode()) == "café"


def test_database_defaults_to_the_user() -> None:
    for parameters in ({b"user": b"u"}, {b"user": b"u", b"database": b""}):
        found = read(startup_message(parameters))
        assert isinstance(found, Startup)
        assert found.database == b"u"


def test_protocol_3_2_and_options() -> None:
    found = read(packet((3 << 16) | 9999, b"user\0u\0_pq_.grease\0\0_pq_.other\0x\0\0"))
    assert found == Startup(9999, {b"user": b"u"}, (b"_pq_.grease", b"_pq_.other"))


def test_what_comes_after_is_kept_apart() -> None:
    reader = StartupReader()
    assert reader.feed(SSL_REQUEST + b"injected") == SslRequest()
    assert reader.rest == b"injected"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\0\0\0\7", "length"),
        (struct.pack("!I", STARTUP_BYTES_MAX + 1), "length"),
        (b"\xff\xff\xff\xff", "length"),
        (b"GET / HTTP/1.1", "HTTP"),
        (packet(2 << 16, b"x"), r"version 2\.0"),
        (packet(4 << 16, b"user\0u\0\0"), r"version 4\.0"),
        (packet(80877103, b"x"), "trailing"),
        (packet(80877102, b"1234"), "cancel request"),
        (packet(80877102, b"1234" + b"x" * 257), "cancel request"),
        (packet(3 << 16), "zero byte"),
        (packet(3 << 16, b"user\0u\0"), "malformed"),
        (packet(3 << 16, b"user\0u\0\0\0"), "after its end|malformed"),
        (packet(3 << 16, b"database\0d\0\0"), "names no user"),
        (packet(3 << 16, b"user\0\0\0"), "names no user"),
    ],
)
def test_refused(data: bytes, word: str) -> None:
    with pytest.raises(ProtocolViolation, match=word):
        read(data)


def test_length_is_refused_before_the_rest_comes() -> None:
    with pytest.raises(ProtocolViolation):
        read(struct.pack("!I", 2**31 - 1))
    assert read(struct.pack("!I", STARTUP_BYTES_MAX)) is None


VALUES = st.binary(max_size=30).map(lambda value: value.replace(b"\0", b""))
PARAMETERS = st.dictionaries(
    VALUES.filter(lambda name: name != b"" and not name.startswith(b"_pq_.")), VALUES, max_size=6
)


@given(parameters=PARAMETERS, user=VALUES.filter(bool))
def test_round_trip(parameters: dict[bytes, bytes], user: bytes) -> None:
    wanted = parameters | {b"user": user}
    assert read(startup_message(wanted)) == Startup(0, wanted)


CODES = st.sampled_from([80877102, 80877103, 80877104, 3 << 16, (3 << 16) | 2, 2 << 16])
PACKETS = st.binary(max_size=64) | st.builds(packet, CODES, st.binary(max_size=64))


@given(data=PACKETS)
def test_a_byte_at_a_time_is_the_same_as_all_at_once(data: bytes) -> None:
    """And nothing but ProtocolViolation is ever raised."""

    def outcome(chunks: list[bytes]) -> tuple[object, bytes]:
        reader = StartupReader()
        for at, chunk in enumerate(chunks):
            try:
                found = reader.feed(chunk)
            except ProtocolViolation as error:
                return str(error), b""
            if found is not None:
                return found, reader.rest + b"".join(chunks[at + 1 :])
        return None, b""

    assert outcome([bytes([byte]) for byte in data]) == outcome([data])
