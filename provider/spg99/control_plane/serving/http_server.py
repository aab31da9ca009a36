"""HTTP on a socket: when it is ready, how it ends, and patience with slow clients. Here: uvicorn. Not here: the app (server.py)."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from spg99 import log
from spg99.errors import Conflict

HEADER_SECONDS = 15.0
"""Longest time for the headers of a request to arrive; also for the first byte on a new connection."""
HEADER_BYTES_MAX = 65_536
SHUTDOWN_SECONDS = 5
KEEP_ALIVE_SECONDS = 75


class _Forward(logging.Handler):
    """Brings what uvicorn has to say into our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.get("http").warning(record.getMessage(), exc_info=record.exc_info or False)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises Conflict with what to do when it cannot."""
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise Conflict(
            f"The API cannot listen on {host} port {port}: {error.strerror}. "
            "Choose another with --port (SPG99_PORT); 0 takes a free one."
        ) from error
    with listener:
        yield listener


def config_for(app: ASGIApp) -> uvicorn.Config:
    """How an app of ours is served."""
    said = logging.getLogger("uvicorn.error")
    said.handlers, said.propagate = [_Forward(logging.WARNING)], False
    return uvicorn.Config(
        app,
        http=_protocol(),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


async def serve(app: ASGIApp, listener: socket.socket, *, ending: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT. `ending` lets go whoever waits."""
    await _Server(config_for(app), ending).serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Says when it is ready, and lets long polls and streams go before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v2"
            told = {
                "ready": True,
                "process": "control-plane",
                "host": host,
                "port": port,
                "metrics_port": None,
                "url": url,
            }
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own would raise the signal again at the end, before the catalogue is stopped in order.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _protocol() -> Any:
    """uvicorn's fast protocol, with an end to slow and endless headers; its slow one where httptools is missing."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:  # h11 bounds headers by itself
        return "h11"

    class Impatient(HttpToolsProtocol):
        _header_timer: asyncio.TimerHandle | None = None
        _header_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._begin_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_headers()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._header_timer is not None:
                self._header_bytes += len(data)
            super().data_received(data)
            # What is left over after a parse still belongs to headers: a whole request would have stopped the timer.
            if self._header_timer is not None and self._header_bytes > HEADER_BYTES_MAX:
                self._end_headers()
                self.send_400_response("The headers of the request are too large.")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._begin_headers()

        def on_headers_complete(self) -> None:
            self._end_headers()
            super().on_headers_complete()

        def _begin_headers(self) -> None:
            if self._header_timer is None:
                self._header_bytes = 0
                self._header_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

        def _end_headers(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _give_up(self) -> None:
            self._header_timer = None
            if not self.transport.is_closing():
                self.transport.close()

    return Impatient
