"""Accepts connections for HTTPS, each with the certificate of that moment. Who speaks plain HTTP is told so, in plain HTTP.

Here: from a listening socket to a protocol inside TLS. Not here: certificates (context.py), what is spoken inside.
asyncio's own servers keep one context for ever and answer plain HTTP with a closed connection, which nobody understands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Callable
from typing import Final

from spg99 import log

HANDSHAKE_SECONDS: Final = 15.0
"""From the connection to the end of the handshake."""
SHUTDOWN_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.5
"""After an accept that the system refused (no file descriptor left)."""
ACCEPTS_MAX: Final = 64
"""In one turn of the event loop: a flood of connections must not starve those that are served."""
HALF_OPEN_MAX: Final = 2000
"""Connections before the end of their handshake; beyond, new ones wait in the kernel's queue."""
_TLS_HANDSHAKE_BYTE: Final = b"\x16"
_READ_BYTES: Final = 65_536

ONLY_HTTPS: Final = "This address speaks HTTPS. Write https:// instead of http:// in the URL (SPG99_CP_URL)."

_log = log.get("tls")


class HttpsListener:
    """One listening socket. It has the methods of `asyncio.Server` that a server's end needs."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext],
        *,
        only: str = ONLY_HTTPS,
    ) -> None:
        """`only`: what one reads who speaks plain HTTP."""
        self._listener = listener
        self._protocol = protocol
        self._context = context
        self._only = only
        self._loop = asyncio.get_running_loop()
        self._half_open: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._is_watched = False
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._watch()

    def close(self) -> None:
        """Takes no more connections and drops those before the end of their handshake."""
        self._is_closed = True
        self._unwatch()
        if self._pause is not None:
            self._pause.cancel()
        for task in list(self._half_open):
            task.cancel()

    async def wait_closed(self) -> None:
        """Returns when nothing of it runs any more."""
        await asyncio.gather(*self._half_open, return_exceptions=True)

    def _watch(self) -> None:
        self._pause = None
        if not self._is_closed and not self._is_watched and len(self._half_open) < HALF_OPEN_MAX:
            self._is_watched = True
            self._loop.add_reader(self._listener, self._accept)

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_MAX):
            if len(self._half_open) >= HALF_OPEN_MAX:
                self._unwatch()
                return
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.error("a connection could not be accepted", error=str(error))
                self._unwatch()
                self._pause = self._loop.call_later(PAUSE_SECONDS, self._watch)
                return
            sock.setblocking(False)
            task = self._loop.create_task(self._begin(sock))
            self._half_open.add(task)
            task.add_done_callback(self._begun)

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._half_open.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection could not be begun", exc_info=error)
        self._watch()

    async def _begin(self, sock: socket.socket) -> None:
        handed_over = False
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                first = await self._first_byte(sock)
                if first == _TLS_HANDSHAKE_BYTE:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    handed_over = True  # from here on the transport closes it
                    await self._loop.connect_accepted_socket(
                        self._protocol,
                        sock,
                        ssl=self._context(),
                        ssl_handshake_timeout=HANDSHAKE_SECONDS,
                        ssl_shutdown_timeout=SHUTDOWN_SECONDS,
                    )
                elif first:
                    await self._refuse(sock)
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            _log.debug("a TLS handshake failed", error=str(error))
        finally:
            if not handed_over:
                sock.close()

    async def _first_byte(self, sock: socket.socket) -> bytes:
        """The first byte, which stays to be read; nothing when the connection ended."""
        readable = self._loop.create_future()
        self._loop.add_reader(sock, _settle, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(sock)
        return sock.recv(1, socket.MSG_PEEK)

    async def _refuse(self, sock: socket.socket) -> None:
        body = json.dumps({"error": "BadRequest", "message": self._only, "details": {}}).encode()
        head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
        # Unread bytes would turn our goodbye into a reset, and the client would never read it.
        with contextlib.suppress(BlockingIOError):
            sock.recv(_READ_BYTES)
        await self._loop.sock_sendall(sock, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        sock.shutdown(socket.SHUT_WR)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
