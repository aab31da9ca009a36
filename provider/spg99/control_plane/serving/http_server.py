"""HTTP and HTTPS on sockets: when it is ready, how it ends, and patience with slow clients. Here: uvicorn. Not here: the app (server.py)."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from spg99 import log
from spg99.dsn import PORT_MAX
from spg99.errors import BadRequest, Conflict
from spg99.processes import say_ready, stop_ordered
from spg99.processes.listening import listen
from spg99.processes.signals import hear_no_more
from spg99.tls.context import ServedCertificate
from spg99.tls.listener import HttpsListener

HEADER_SECONDS = 15.0
"""Longest time for the headers of a request to arrive; also for the first byte on a new connection."""
HEADER_BYTES_MAX = 65_536
SHUTDOWN_SECONDS = 5
KEEP_ALIVE_SECONDS = 75
OPERATORS_PATHS: Final = ("/metrics", "/healthz", "/readyz")
HttpsCertificate = ServedCertificate[ssl.SSLContext]
ON_METRICS_ADDRESS: Final = "spg99.on_metrics_address"
"""In the scope of a request that came to the metrics' own address."""


class _Forward(logging.Handler):
    """Brings what uvicorn has to say into our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.get("http").warning(record.getMessage(), exc_info=record.exc_info or False)


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets that listen, one for each address of the host. Raises Conflict with what to do when it cannot."""
    try:
        listeners = listen(host, port)
    except OSError as error:
        raise Conflict(
            f"The API cannot listen on {host} port {port}: {error.strerror}. "
            "Choose another with --port (SPG99_PORT); 0 takes a free one."
        ) from error
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def metrics_listeners(address: str) -> list[socket.socket]:
    """Sockets for `/metrics` alone, on `host:port`. Raises BadRequest for what is no address, Conflict for one that is taken."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise BadRequest(f"metrics_address must look like 127.0.0.1:9099, not '{address}'.")
    try:
        return listen(host.strip("[]"), int(port))
    except OSError as error:
        raise Conflict(
            f"Metrics cannot be shown on {address}: {error.strerror}. Choose another --metrics-address; port 0 takes a free one."
        ) from error


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


async def serve(
    app: ASGIApp,
    listeners: list[socket.socket],
    *,
    ending: Callable[[], None],
    certificate: HttpsCertificate | None = None,
    metrics: list[socket.socket] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT: HTTPS with `certificate`, else HTTP; on the sockets `metrics` only what operators look
    at, in plain HTTP. `ending` lets go whoever waits."""
    await _Server(config_for(app), ending, listeners, certificate, metrics or []).serve()


class OperatorsView:
    """The app as it is on the metrics' own address: `/metrics` and health, nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPERATORS_PATHS:
            await PlainTextResponse(f"There is {', '.join(OPERATORS_PATHS)}.\n", 404)(scope, receive, send)
            return
        scope[ON_METRICS_ADDRESS] = True
        await self._app(scope, receive, send)


class _Server(uvicorn.Server):
    """Says when it is ready, and lets long polls and streams go before it waits for requests to end."""

    def __init__(
        self,
        config: uvicorn.Config,
        ending: Callable[[], None],
        listeners: list[socket.socket],
        certificate: HttpsCertificate | None,
        metrics: list[socket.socket],
    ) -> None:
        super().__init__(config)
        self._ending = ending
        self._listeners = listeners
        self._certificate = certificate
        self._metrics = metrics

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([] if self._certificate else self._listeners)
        if not self.started:
            return
        if self._certificate is not None:
            for listener in self._listeners:
                https = HttpsListener(listener, lambda: self._protocol(self.config), self._certificate.current)
                self.servers.append(cast(asyncio.Server, https))  # it has what uvicorn's end needs of one
        if self._metrics:
            operators = config_for(OperatorsView(cast(ASGIApp, self.config.app)))
            operators.load()
            loop = asyncio.get_running_loop()
            for listener in self._metrics:
                self.servers.append(await loop.create_server(lambda: self._protocol(operators), sock=listener))
        host, port = self._listeners[0].getsockname()[:2]
        scheme = "https" if self._certificate else "http"
        say_ready(
            "control-plane",
            host=host,
            port=port,
            metrics_port=self._metrics[0].getsockname()[1] if self._metrics else None,
            url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/v2",
        )

    def _protocol(self, config: uvicorn.Config) -> asyncio.Protocol:
        """One connection, as uvicorn makes it."""
        made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own would raise the signal again at the end, before the catalogue is stopped in order.
        stop_ordered(first=self._end)  # said twice changes nothing: the end has a deadline of its own
        try:
            yield
        finally:
            hear_no_more()

    def _end(self) -> None:
        self.should_exit = True


def _protocol() -> Any:
    """uvicorn's fast protocol, with an end to slow and endless headers; its slow one where httptools is missing."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # not on every machine
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
