"""A client's connection before the relay: first a bare socket, then TLS. Here: receiving, sending, closing each of them.

Not here: what is received and sent (wire/login.py), who drives it (accept.py, session.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

_READ_BYTES: Final = 16 * 1024
_EARLY_BYTES_MAX: Final = 64 * 1024
"""A client that says more than this before it may is not read further until it may."""


class PlainStream:
    """The bare socket. It never takes more than it was asked for: what follows belongs to the TLS handshake."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    async def receive(self, bytes_max: int, *, peek: bool = False, wait: bool = True) -> bytes:
        """1 to `bytes_max` bytes; b"" at the end, or (without `wait`) when none is there. Raises OSError."""
        flags = socket.MSG_PEEK if peek else 0
        while True:
            try:
                return self.socket.recv(bytes_max, flags)
            except (BlockingIOError, InterruptedError):
                if not wait:
                    return b""
            await self._until_readable()

    async def _until_readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self.socket, _resolve, readable)
        try:
            await readable
        finally:
            loop.remove_reader(self.socket)

    def send(self, data: bytes) -> None:
        """A few bytes, which a fresh connection always takes. Raises OSError."""
        self.socket.send(data)

    def close(self) -> None:
        """Ends the connection so that what was sent last is read."""
        # Unread bytes would turn our goodbye into a reset, and the client would never read it.
        with contextlib.suppress(OSError):
            self.socket.recv(_READ_BYTES)
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self.socket.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        self.socket.close()


class TlsStream(asyncio.Protocol):
    """The connection inside TLS, until the relay takes the transport over. `on_lost` is called when the client is gone."""

    def __init__(self) -> None:
        self.on_lost: Callable[[], object] | None = None
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._arrival: asyncio.Future[None] | None = None
        self._is_lost = False

    @property
    def transport(self) -> asyncio.Transport:
        """What the relay takes over."""
        assert self._transport is not None, "TLS does not stand yet"
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Kept until somebody asks for it."""
        self._received += data
        if len(self._received) > _EARLY_BYTES_MAX:
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._is_lost = True
        self._wake()
        if self.on_lost is not None:
            self.on_lost()

    def _wake(self) -> None:
        if self._arrival is not None:
            _resolve(self._arrival)

    async def receive(self) -> bytes:
        """What has come; b"" when the client is gone."""
        while not self._received and not self._is_lost:
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        if not self.transport.is_closing():
            self.transport.resume_reading()
        return self.take()

    def take(self) -> bytes:
        """What has come and was not asked for yet."""
        received, self._received = self._received, b""
        return received

    def send(self, data: bytes) -> None:
        """Sends, unless the connection is closed."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Ends the connection once what was sent is on its way."""
        self.transport.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
