"""The PROXY protocol, versions 1 and 2: a balancer's header that says whose connection it hands on (HAProxy's
`proxy-protocol.txt`). Here: reading one, in the steps of login.py. Not here: from whom one is taken (gateway/accept.py).
"""

from __future__ import annotations

import ipaddress
from typing import Final

from spg99.errors import ProtocolViolation
from spg99.wire import messages
from spg99.wire.login import ClientLeft, Receive, Send, Steps

SIGNATURE_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
START_V1: Final = b"PROXY "
V1_BYTES_MAX: Final = 107
V2_BODY_BYTES_MAX: Final = 4096
"""The addresses take 36 bytes at most; the rest are extensions (names, certificates of the client), which are not read."""
_HEAD_BYTES: Final = 12
"""As long as the signature of version 2; no header of version 1 is shorter than 15."""
EXPECTED: Final = "A PROXY protocol header was expected from this address, which is one of --proxy-networks."


def read_header() -> Steps[str | None]:
    """The client's address; None when the balancer speaks for itself (its health check) or does not know.

    Takes not a byte beyond the header. Raises ClientLeft, or the ProtocolViolation that was sent.
    """
    try:
        head = yield from _exactly(_HEAD_BYTES)
        if head == SIGNATURE_V2:
            return (yield from _version_2())
        if head.startswith(START_V1):
            return (yield from _version_1(head))
        raise ProtocolViolation(EXPECTED)
    except ClientLeft:
        raise
    except ProtocolViolation as error:
        yield Send(messages.error_response(error.sqlstate, error.message))
        raise


def _version_1(line: bytes) -> Steps[str | None]:
    while b"\n" not in line:
        if len(line) >= V1_BYTES_MAX:
            raise ProtocolViolation("The PROXY protocol header does not end.")
        seen = yield Receive(V1_BYTES_MAX - len(line), peek=True)
        at = seen.find(b"\n")
        line += yield from _exactly(at + 1 or len(seen) or 1)
    words = line[:-2].split(b" ")
    if words[1:2] == [b"UNKNOWN"] and line.endswith(b"\r\n"):
        return None
    if not line.endswith(b"\r\n") or len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProtocolViolation("The PROXY protocol header is malformed.")
    _, family, source, destination, *ports = words
    if not all(port.isdigit() and int(port) < 65536 and (port == b"0" or port[:1] != b"0") for port in ports):
        raise ProtocolViolation("The PROXY protocol header has a port that is none.")
    address, _ = _address(family, source), _address(family, destination)
    return address


def _address(family: bytes, text: bytes) -> str:
    if b"%" in text:
        raise ProtocolViolation("The PROXY protocol header has an address with a zone.")
    try:
        kind = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
        return str(kind(text.decode("ascii")))
    except ValueError:
        raise ProtocolViolation("The PROXY protocol header has an address that is none.") from None


def _version_2() -> Steps[str | None]:
    version_and_command, family, *length = yield from _exactly(4)
    body_bytes = int.from_bytes(bytes(length))
    if version_and_command not in (0x20, 0x21):
        raise ProtocolViolation("The PROXY protocol header has an unknown version or command.")
    if body_bytes > V2_BODY_BYTES_MAX:
        raise ProtocolViolation("The PROXY protocol header is too long.")
    body = yield from _exactly(body_bytes)
    if version_and_command == 0x20:  # LOCAL: the balancer's own connection
        return None
    size = {0x11: 4, 0x21: 16}.get(family)
    if size is None:  # a unix socket or a datagram: an address that says nothing here
        return None
    if body_bytes < 2 * size + 4:
        raise ProtocolViolation("The PROXY protocol header is too short for its addresses.")
    return str(ipaddress.ip_address(body[:size]))


def _exactly(count: int) -> Steps[bytes]:
    data = b""
    while len(data) < count:
        more: bytes = yield Receive(count - len(data))
        if not more:
            raise ClientLeft("The connection ended within its PROXY protocol header.")
        data += more
    return data
