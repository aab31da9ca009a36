"""Requests through httpx, in an event loop: through proxies, to names that are not ASCII, and in tests. Not here: all others (in_loop.py, sockets.py).

Loaded where it is needed only: with anyio it costs a start more than all of a bridge.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from spg99.client.exchanges import (
    LOOPBACK,
    Address,
    BrokenOff,
    Late,
    NoAnswer,
    NoRoom,
    NotConnected,
    NotConnectedInTime,
    NotDecompressed,
    NotHttp,
    Request,
    Response,
)
from spg99.left_out import left_out

# httpx brings a command line of its own along (click, rich, pygments: half of its import time) wherever these happen to be installed.
with left_out("httpx._main"):
    import httpx

    from spg99.client.lanes import CONNECTIONS_MAX, Lanes

_modules: dict[str, Any] = sys.modules
# httpcore imports this for every lock that it makes, and looks for it on the whole path each time where it is not there.
if importlib.util.find_spec("sniffio") is None:
    _modules.setdefault("sniffio", None)

if TYPE_CHECKING:
    import ssl


class OverHttpx:
    """Connections to one address, for one event loop."""

    def __init__(
        self, address: Address, context: ssl.SSLContext | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._root = address.text
        # Reading the machine's CA certificates takes 20 ms, and plain HTTP has no use for them.
        verify = context or _no_tls()
        self._lanes = Lanes(
            lambda: httpx.AsyncClient(
                limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
                follow_redirects=False,  # the API key goes where the user said, nowhere else
                verify=verify,
                trust_env=address.host not in LOOPBACK,  # a proxy for the outside world cannot know our localhost
                transport=transport,
            )
        )

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._lanes.aclose()

    async def send(self, request: Request) -> Response:
        """The whole answer. Raises NoAnswer."""
        try:
            async with self._lanes.one() as http:
                answer = await http.send(self._built(request))
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _failure(error) from error
        return Response(answer.status_code, answer.headers, answer.content)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Response, AsyncIterator[bytes] | None]]:
        """An answer that goes on: its head, and its parts as they come; one that is refused is whole. Raises NoAnswer."""
        http = self._lanes.first
        try:
            answer = await http.send(self._built(request), stream=True)
            try:
                is_open = answer.status_code == 200 and "text/event-stream" in answer.headers.get("content-type", "")
                content = b"" if is_open else await answer.aread()
                yield Response(answer.status_code, answer.headers, content), answer.aiter_bytes() if is_open else None
            finally:
                await answer.aclose()
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _failure(error) from error

    def _built(self, request: Request) -> httpx.Request:
        return self._lanes.first.build_request(
            request.method,
            self._root + request.target,
            headers=request.headers,
            content=request.content,
            timeout=httpx.Timeout(request.answer_seconds, connect=request.connect_seconds),
        )


def _failure(error: httpx.TransportError | httpx.DecodingError) -> NoAnswer:
    for kind, ours in _KINDS:
        if isinstance(error, kind):
            return ours(str(error))
    return BrokenOff(str(error))


_KINDS: tuple[tuple[type[Exception], type[NoAnswer]], ...] = (
    (httpx.ConnectTimeout, NotConnectedInTime),
    (httpx.ConnectError, NotConnected),
    (httpx.PoolTimeout, NoRoom),
    (httpx.TimeoutException, Late),
    (httpx.RemoteProtocolError, NotHttp),
    (httpx.DecodingError, NotDecompressed),
)


def _no_tls() -> ssl.SSLContext:
    import ssl

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
