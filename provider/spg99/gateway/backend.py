"""Opens a session on a compute. Here: connecting, the compute's greeting, which failures are worth another try.

Not here: which compute (checkouts.py), what follows (relay.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spg99.wire import messages
from spg99.wire.messages import FrameScanner
from spg99.wire.startup import startup_message

_GREETING_BYTES_MAX: Final = 1024 * 1024
_PASSING: Final = frozenset({"57P01", "57P02", "57P03"})
"""The compute is starting, stopping or crashed a moment ago: another try will find it or its successor."""


class BackendGone(Exception):
    """No session could be had from this compute now; a fresh checkout may lead to one that answers."""


class BackendRefused(Exception):
    """PostgreSQL itself refused; its own words go to the client."""

    def __init__(self, message: bytes, sqlstate: str) -> None:
        self.message = message
        self.sqlstate = sqlstate
        super().__init__(sqlstate)


@dataclass(slots=True)
class Backend:
    """An open session on a compute, quiet until it is relayed."""

    transport: asyncio.Transport
    before_key: bytes
    """What the compute said before its cancel key: AuthenticationOk, ParameterStatus."""
    after_key: bytes
    pid: int
    secret: bytes = field(repr=False)
    late: bytes
    """Bytes after the first ReadyForQuery."""


async def connect(
    address: str, port: int, protocol: type[asyncio.Protocol]
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    """A connection to a compute: a folder of a unix socket, or a host name. Raises BackendGone."""
    loop = asyncio.get_running_loop()
    try:
        if address.startswith("/"):
            return await loop.create_unix_connection(protocol, f"{address}/.s.PGSQL.{port}")
        return await loop.create_connection(protocol, address, port)
    except OSError as error:
        raise BackendGone(f"the compute does not accept connections ({error.strerror or error})") from error


async def open_session(address: str, port: int, parameters: Mapping[bytes, bytes]) -> Backend:
    """Logs in at a compute. Raises BackendGone or BackendRefused."""
    transport, protocol = await connect(address, port, _Greeting)
    assert isinstance(protocol, _Greeting)
    transport.write(startup_message(parameters))
    try:
        return await protocol.ready
    except BaseException:
        transport.abort()
        raise


class _Greeting(asyncio.Protocol):
    """Reads until the compute is ready for the first query."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[Backend] = asyncio.get_running_loop().create_future()
        self._scanner = FrameScanner(bytes_max=_GREETING_BYTES_MAX)
        self._said = bytearray()
        self._before_key = b""
        self._key: tuple[int, bytes] = (0, b"")
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._scanner.feed(data)
        while not self.ready.done() and (message := self._scanner.take()) is not None:
            self._handle(*message)

    def _handle(self, kind: bytes, body: bytes) -> None:
        assert self._transport is not None
        if kind == messages.BACKEND_KEY_DATA:
            self._key = (int.from_bytes(body[:4]), body[4:])
            self._before_key, self._said = bytes(self._said), bytearray()
            return
        if kind == messages.ERROR_RESPONSE:
            fields = messages.error_fields(body)
            sqlstate, sentence = fields.get("C", "XX000"), fields.get("M", "")
            if sqlstate in _PASSING:
                self._fail(BackendGone(sentence))
            else:
                self._fail(BackendRefused(messages.frame(kind, body), sqlstate))
            return
        if kind == messages.AUTHENTICATION and messages.frame(kind, body) != messages.AUTHENTICATION_OK:
            self._fail(BackendGone("the compute asks the gateway for a password"))
            return
        self._said += messages.frame(kind, body)
        if kind == messages.READY_FOR_QUERY:
            # Nothing is read until the relay takes over, so nothing is lost in between.
            self._transport.pause_reading()
            pid, secret = self._key
            self.ready.set_result(
                Backend(self._transport, self._before_key, bytes(self._said), pid, secret, self._scanner.rest)
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(BackendGone("the compute closed the connection"))

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
