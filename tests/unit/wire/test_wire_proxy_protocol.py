"""PROXY protocol headers as bytes: those of the specification, every cut, and what is malformed."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from itertools import repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.examples import examples
from spg99.errors import ProtocolViolation, Spg99Error
from spg99.wire.login import ClientLeft, Receive, Send
from spg99.wire.proxy_protocol import SIGNATURE_V2, V1_BYTES_MAX, V2_BODY_BYTES_MAX, read_header
from spg99.wire.startup import SSL_REQUEST, StartupReader

AFTER = SSL_REQUEST + b"and more"


def version_2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE_V2 + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


def tcp4(source: str = "203.0.113.7", more: bytes = b"") -> bytes:
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address("192.0.2.1").packed
    return version_2(1, 0x11, addresses + struct.pack("!HH", 40000, 5432) + more)


def tcp6(source: str = "2001:db8::7") -> bytes:
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address("2001:db8::1").packed
    return version_2(1, 0x21, addresses + struct.pack("!HH", 40000, 5432))


def read(data: bytes, sizes: Iterator[int] | None = None) -> tuple[object, bytes, bytes]:
    """What it came to, what was sent, what was not taken."""
    generator, sent = read_header(), b""
    try:
        step = next(generator)
        while True:
            if isinstance(step, Send):
                sent += step.data
                step = next(generator)
                continue
            assert isinstance(step, Receive)
            found = data[: min(step.bytes_max, next(sizes) if sizes else len(data))]
            if not step.peek:
                data = data[len(found) :]
            step = generator.send(found)
    except StopIteration as end:
        return end.value, sent, data
    except Spg99Error as error:
        return error, sent, data


GOOD = {
    b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 5432\r\n": "203.0.113.7",
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": "255.255.255.255",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 5432\r\n": "2001:db8::7",
    b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n": "ffff:" * 7 + "ffff",
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n": None,
    tcp4(): "203.0.113.7",
    tcp4(more=b"\x20\x00\x05\x01\0\0\0\0" + b"\x04\0\x03abc"): "203.0.113.7",
    tcp6(): "2001:db8::7",
    version_2(0, 0, b""): None,
    version_2(0, 0x11, b"\0" * 12): None,
    version_2(1, 0, b""): None,
    version_2(1, 0x31, b"\0" * 216): None,
    version_2(1, 0x12, b"\0" * 12): None,
}
assert max(len(header) for header in GOOD if header.startswith(b"PROXY")) <= V1_BYTES_MAX


@pytest.mark.parametrize("header", GOOD)
def test_good_headers_in_every_cut_and_not_a_byte_more(header: bytes) -> None:
    for size in range(1, len(header) + 3):
        assert read(header + AFTER, repeat(size)) == (GOOD[header], b"", AFTER)


BAD = {
    "no header": SSL_REQUEST + b"\0" * 10,
    "TLS at once": b"\x16\x03\x01" + b"x" * 20,
    "lower case": b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "no such family": b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "an IPv6 address under TCP4": b"PROXY TCP4 2001:db8::7 192.0.2.1 1 2\r\n",
    "a name": b"PROXY TCP4 localhost 192.0.2.1 1 2\r\n",
    "a zone": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "leading zeros": b"PROXY TCP4 203.0.113.007 192.0.2.1 1 2\r\n",
    "port too large": b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 2\r\n",
    "port with a sign": b"PROXY TCP4 203.0.113.7 192.0.2.1 +1 2\r\n",
    "port with a zero before": b"PROXY TCP4 203.0.113.7 192.0.2.1 01 2\r\n",
    "no port": b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n",
    "two spaces": b"PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n",
    "more words": b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 3\r\n",
    "line feed only": b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n",
    "early line feed": b"PROXY TCP4\n\n\n\n\n\n",
    "never ends": b"PROXY TCP4 " + b"1" * 200,
    "version 3": SIGNATURE_V2 + b"\x31\x11\0\x0c" + b"\0" * 12,
    "no such command": SIGNATURE_V2 + b"\x22\x11\0\x0c" + b"\0" * 12,
    "too short for IPv4": version_2(1, 0x11, b"\0" * 11),
    "too short for IPv6": version_2(1, 0x21, b"\0" * 35),
    "too long": SIGNATURE_V2 + b"\x21\x11" + struct.pack("!H", V2_BODY_BYTES_MAX + 1),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_headers_are_refused_with_a_sentence(name: str) -> None:
    for size in (1, 7, 1000):
        outcome, sent, _ = read(BAD[name] + b"\0" * 8, repeat(size))
        assert isinstance(outcome, ProtocolViolation), name
        assert sent[:1] == b"E"
        assert b"PROXY protocol" in sent


@pytest.mark.parametrize("header", GOOD)
def test_a_header_that_breaks_off(header: bytes) -> None:
    for length in range(len(header)):
        outcome, sent, _ = read(header[:length])
        assert isinstance(outcome, ClientLeft)
        assert sent == b""


@given(
    data=st.binary(max_size=60)
    | st.binary(max_size=60).map(lambda rest: SIGNATURE_V2 + rest)
    | st.binary(max_size=90).map(lambda rest: b"PROXY TCP4 " + rest),
    size=st.integers(1, 50),
)
@settings(max_examples=examples(400))
def test_any_bytes_end(data: bytes, size: int) -> None:
    outcome, _, rest = read(data, repeat(size))
    if isinstance(outcome, str):
        ipaddress.ip_address(outcome)
    else:
        assert outcome is None or isinstance(outcome, ProtocolViolation | ClientLeft)
    assert data.endswith(rest)


@pytest.mark.parametrize("header", [b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 5432\r\n", tcp4(), tcp6()])
def test_a_header_where_none_is_taken(header: bytes) -> None:
    """What a peer gets that is in no named network: the log-in's own reader refuses it and says which setting it is."""
    with pytest.raises(ProtocolViolation, match="--proxy-networks"):
        StartupReader().feed(header)
