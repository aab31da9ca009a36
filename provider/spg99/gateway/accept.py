"""A connection before TLS: which kind of client is it, and the way in.

Here: the plain-text packets, on the bare socket, byte by byte as far as they belong to us, so that nothing a stranger
sent before the handshake can slip in behind it. Not here: what happens inside TLS (session.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

from spg99 import log
from spg99.errors import ProtocolViolation, Spg99Error, Unauthorized
from spg99.gateway.session import Session
from spg99.gateway.worker_context import WorkerContext
from spg99.wire import messages
from spg99.wire.startup import (
    TLS_HANDSHAKE_BYTE,
    CancelRequest,
    GssEncRequest,
    Packet,
    SslRequest,
    StartupReader,
)

TLS_SHUTDOWN_SECONDS: Final = 2.0
_HEAD_BYTES: Final = 8
_READ_BYTES: Final = 16 * 1024
ONLY_TLS: Final = (
    "This server accepts only TLS connections: add sslmode=require (or verify-full) to the connection string."
)
INJECTED: Final = "Unencrypted data arrived after the request for TLS: somebody may have tampered with the connection."

_log = log.get("gateway")


class HalfOpenConnection:
    """One accepted socket until its client has logged in. `on_done` is called once, when it is no longer half-open."""

    def __init__(
        self,
        context: WorkerContext,
        sock: socket.socket,
        address: str,
        *,
        on_done: Callable[[HalfOpenConnection], None],
    ) -> None:
        self._context = context
        self._sock = sock
        self._address = address
        self._on_done: Callable[[HalfOpenConnection], None] | None = on_done
        self._loop = asyncio.get_running_loop()
        self._reader = StartupReader()
        self._task: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._deadline = self._loop.time() + context.settings.startup_seconds
        self._timer = self._loop.call_at(self._deadline, self._too_late)
        self._watching = True
        self._loop.add_reader(sock, self._readable)

    def abort(self) -> None:
        """Closes at once: there are too many like it, or the gateway ends."""
        if self._session is not None:
            self._session.abort()
        elif self._task is not None:
            self._task.cancel()
        else:
            self._close()
        self._done()

    def terminate(self, sqlstate: str, sentence: str) -> None:
        """Closes with a reason, where the client is far enough to read it."""
        if self._session is not None:
            self._session.terminate(sqlstate, sentence)
            self._done()
        else:
            self.abort()

    def _too_late(self) -> None:
        # Inside TLS the session has the same deadline and answers the client.
        if self._session is None:
            self.abort()

    def _readable(self) -> None:
        try:
            if self._reader.buffered_bytes == 0 and self._sock.recv(1, socket.MSG_PEEK) == bytes([TLS_HANDSHAKE_BYTE]):
                self._begin_tls(direct=True)
                return
            # The first eight bytes say which packet it is. What follows a request for TLS is not ours to read.
            missing = _HEAD_BYTES - self._reader.buffered_bytes
            data = self._sock.recv(missing if missing > 0 else _READ_BYTES)
            if not data:
                self.abort()
                return
            packet = self._reader.feed(data)
            if packet is not None:
                self._take(packet)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
        except Spg99Error as error:
            self._refuse(error)

    def _take(self, packet: Packet) -> None:
        if isinstance(packet, SslRequest):
            if self._has_unread_bytes():
                raise ProtocolViolation(INJECTED)
            self._sock.send(b"S")
            self._begin_tls(direct=False)
        elif isinstance(packet, GssEncRequest):
            if self._has_unread_bytes():
                raise ProtocolViolation(INJECTED)
            self._sock.send(b"N")
        elif isinstance(packet, CancelRequest):
            self._unwatch()
            self._task = self._loop.create_task(self._cancel(packet))
        else:
            raise Unauthorized(ONLY_TLS)

    def _has_unread_bytes(self) -> bool:
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except (BlockingIOError, InterruptedError):
            return False

    async def _cancel(self, request: CancelRequest) -> None:
        # Today's libpq asks in plain text on a connection that may not be the one it was told to encrypt; the key is all
        # it shows. The answer is the same for every key: the connection closes.
        assert self._context.cancel is not None
        try:
            await self._context.cancel(request)
        finally:
            self._close()
            self._done()

    def _begin_tls(self, *, direct: bool) -> None:
        self._unwatch()
        self._task = self._loop.create_task(self._tls(direct))

    async def _tls(self, direct: bool) -> None:
        session = Session(
            self._context, self._address, direct=direct, deadline=self._deadline, on_authenticated=self._done
        )
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._loop.connect_accepted_socket(
                    lambda: session,
                    self._sock,
                    ssl=self._context.tls.context,
                    ssl_handshake_timeout=self._context.settings.startup_seconds,
                    ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
                )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            _log.debug("a TLS handshake failed", address=self._address, error=str(error))
            self._close()
            self._done()
        except asyncio.CancelledError:
            self._close()
            self._done()
            raise
        else:
            self._session = session
            session.ended.add_done_callback(lambda _: self._done())

    def _refuse(self, error: Spg99Error) -> None:
        """In plain text: there is nothing secret in it."""
        self._context.counters.error(error.sqlstate)
        with contextlib.suppress(OSError):
            # Unread bytes would turn our goodbye into a reset, and the client would never read it.
            self._sock.recv(_READ_BYTES)
        with contextlib.suppress(OSError):
            self._sock.send(messages.error_response(error.sqlstate, error.message))
            self._sock.shutdown(socket.SHUT_WR)
        self._close()
        self._done()

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._sock)

    def _close(self) -> None:
        self._unwatch()
        self._sock.close()

    def _done(self) -> None:
        self._timer.cancel()
        if self._on_done is not None:
            on_done, self._on_done = self._on_done, None
            on_done(self)
