"""What one exchange over HTTP is, whoever carries it: where to, a request, an answer, and each way in which there is none.

Here: values. Not here: carrying them (sockets.py without an event loop, over_httpx.py in one), sentences (answers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PORTS = {"http": 80, "https": 443}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Address(NamedTuple):
    """Where a Control Plane is."""

    scheme: str
    """`http` or `https`."""
    host: str
    """Lower case; an IPv6 address without its brackets."""
    port: int | None
    """None: the scheme's own."""
    path: str
    """In front of every request's path, without a slash at the end."""

    @property
    def authority(self) -> str:
        """Host and port as a URL and the header Host write them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None or self.port == PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """Scheme, host and port: what a user can check, without user information or query."""
        return f"{self.scheme}://{self.authority}"


class Request(NamedTuple):
    """What is sent."""

    method: str
    target: str
    """Path and query, quoted."""
    headers: dict[str, str]
    content: bytes | None
    answer_seconds: float
    """So long may each part of the answer stay away."""
    connect_seconds: float


class Response(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    content: bytes
    """Decompressed."""


class NoAnswer(Exception):
    """No whole answer came. Its text is for the log of a developer, its class for the user's sentence."""


class NotConnected(NoAnswer):
    """There is no connection, so nothing was sent."""


class NotConnectedInTime(NotConnected):
    """The same, after the time limit."""


class NoRoom(NoAnswer):
    """All connections are in use; nothing was sent."""


class Late(NoAnswer):
    """The answer stayed away for longer than the time limit."""


class BrokenOff(NoAnswer):
    """The connection ended within the exchange."""


class NotHttp(BrokenOff):
    """It ended within an answer, or what came is no HTTP."""


class NotDecompressed(NoAnswer):
    """The answer's body is not what its encoding says."""


def parsed(url: str) -> Address:
    """A URL without user information and query. Raises ValueError, with a reason that holds nothing of the URL, for what is none."""
    from urllib.parse import quote, urlsplit

    if not url.isprintable() or " " in url:
        raise ValueError("it holds a blank or a character that cannot be printed")
    parts = urlsplit(url)  # ValueError: brackets that are no IPv6 address
    try:
        port = parts.port
    except ValueError:
        raise ValueError("its port is no number from 0 to 65535") from None
    return Address(parts.scheme, parts.hostname or "", port, quote(parts.path, safe="/%:@!$&'()*+,;=~").rstrip("/"))
