"""Requests in an event loop, many at once, and answers that go on (streams of events). Here: connections and what waits on them.

Not here: bytes (http1.py), making a connection (connecting.py), proxies and names that are not ASCII (over_httpx.py). The loop's own
transports and one protocol of ours: httpx takes a millisecond of CPU for a request, most of it in a pool, a lock and tasks that
one of our processes and one server have no use for.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, cast

from spg99.client.connecting import connected
from spg99.client.exchanges import (
    Address,
    BrokenOff,
    Late,
    NoAnswer,
    NoRoom,
    NotDecompressed,
    NotHttp,
    Request,
    Response,
)
from spg99.client.http1 import ENCODINGS, AnswerReader, request_bytes
from spg99.client.sockets import IDLE_SECONDS_MAX

if TYPE_CHECKING:
    import ssl

PLACES_MAX = 288
"""Requests at once; what comes beyond waits for a place."""
STREAM_BYTES_MAX = 1 << 20
"""Bytes of a stream that nobody has read yet; then the server waits."""


class InLoop:
    """Connections to one address, for one event loop."""

    def __init__(self, address: Address, context: ssl.SSLContext | None) -> None:
        self._address, self._context = address, context
        self._places = asyncio.Semaphore(PLACES_MAX)
        self._idle: list[tuple[Connection, float]] = []
        """Connections that were used last stand last."""
        self._all: set[Connection] = set()

    async def aclose(self) -> None:
        """Closes all connections."""
        for connection in [*self._all]:
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # the loop lets go of their sockets in its next turn

    async def send(self, request: Request) -> Response:
        """The whole answer. Raises NoAnswer."""
        data = self._bytes(request, ENCODINGS)
        await self._place(request.answer_seconds)
        try:
            connection = self._kept() or await self._opened(request.connect_seconds)
            whole = Whole(connection, AnswerReader(request.method))
            try:
                return await whole.answer(data, request.answer_seconds)
            finally:
                self._leave(connection, is_reusable=whole.reader.is_reusable)
        finally:
            self._places.release()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Response, AsyncIterator[bytes] | None]]:
        """An answer that goes on: its head, and its parts as they come; one that is refused is whole. Raises NoAnswer."""
        data = self._bytes(request, "identity")
        connection = await self._opened(request.connect_seconds)
        try:
            stream = Stream(connection, AnswerReader(request.method))
            status, headers = await stream.head(data, request.answer_seconds)
            if "identity" not in headers.get("content-encoding", "identity"):
                raise NotDecompressed("an encoding that was not asked for")
            parts = stream.parts(request.answer_seconds)
            if status == 200 and "text/event-stream" in headers.get("content-type", ""):
                yield Response(status, headers, b""), parts
            else:
                yield Response(status, headers, b"".join([part async for part in parts])), None
        finally:
            connection.close()

    def _bytes(self, request: Request, encodings: str) -> bytes:
        headers = {"Host": self._address.authority, **request.headers, "Accept-Encoding": encodings}
        return request_bytes(request.method, request.target, headers, request.content)

    async def _place(self, seconds: float) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise NoRoom("all connections are in use") from None

    def _kept(self) -> Connection | None:
        """A connection that is still good."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, ends = self._idle.pop()
            if now < ends and connection.is_quiet():
                return connection
            connection.close()
        return None

    async def _opened(self, seconds: float) -> Connection:
        connection = await connected(self._address, self._context, Connection, seconds)
        self._all.add(connection)
        connection.on_end = lambda: self._all.discard(connection)
        return connection

    def _leave(self, connection: Connection, *, is_reusable: bool) -> None:
        connection.taker = None
        if is_reusable and not connection.has_ended:
            self._idle.append((connection, asyncio.get_running_loop().time() + IDLE_SECONDS_MAX))
        else:
            connection.close()


class Taker(Protocol):
    """Who waits for what comes."""

    def feed(self, data: bytes) -> None:
        """Takes bytes; none: the other side has closed."""

    def fail(self, error: NoAnswer) -> None:
        """Nothing will come any more."""


class Connection(asyncio.Protocol):
    """A connection, and who takes what comes on it."""

    def __init__(self) -> None:
        self.taker: Taker | None = None
        self.has_ended = False
        self.on_end: Callable[[], object] = lambda: None
        self._transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The loop's."""
        assert self._transport is not None
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.taker is not None:
            self.taker.feed(data)
        else:
            self.close()  # nobody has asked for anything

    def eof_received(self) -> None:
        if self.taker is not None:
            self.taker.feed(b"")

    def connection_lost(self, error: Exception | None) -> None:
        self.has_ended = True
        self.on_end()
        if self.taker is None:
            return
        if error is None:
            self.taker.feed(b"")
        broken = BrokenOff(str(error or "closed"))
        broken.__cause__ = error if isinstance(error, OSError) and not _is_of_tls(error) else None
        self.taker.fail(broken)

    def write(self, data: bytes) -> None:
        """Sends. Raises BrokenOff when it has ended already."""
        if self.has_ended:
            raise BrokenOff("closed before the request")
        self.transport.write(data)

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer: neither the end nor what nobody asked for."""
        if self.has_ended or self.transport.is_closing():
            return False
        number = self.transport.get_extra_info("socket").fileno()
        if not hasattr(select, "poll"):  # Windows
            return not select.select([number], [], [], 0)[0]
        poller = select.poll()
        poller.register(number, select.POLLIN)
        return not poller.poll(0)

    def close(self) -> None:
        """Ends it. There is never anything left to be sent that somebody waits for."""
        self.has_ended = True
        self.transport.abort()


class Whole:
    """An answer that is wanted whole."""

    def __init__(self, connection: Connection, reader: AnswerReader) -> None:
        self.reader = reader
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Response] = self._loop.create_future()
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        connection.taker = self

    async def answer(self, data: bytes, seconds: float) -> Response:
        """Sends the request and waits; no part of the answer may stay away for longer. Raises NoAnswer."""
        self._connection.write(data)
        self._timer = self._loop.call_later(seconds, self._check, seconds)
        try:
            return await self._answer
        finally:
            self._timer.cancel()

    def feed(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        if self._answer.done():
            return
        try:
            response = self.reader.feed(data)
        except NoAnswer as error:
            self.fail(error)
            return
        if response is not None:
            self._answer.set_result(response)

    def fail(self, error: NoAnswer) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)

    def _check(self, seconds: float) -> None:
        left = self._heard_at + seconds - self._loop.time()
        if left <= 0:
            self.fail(Late("no answer in time"))
        else:
            self._timer = self._loop.call_later(left, self._check, seconds)


class Stream:
    """An answer that goes on."""

    def __init__(self, connection: Connection, reader: AnswerReader) -> None:
        self._connection, self._reader = connection, reader
        self._came = asyncio.Event()
        self._parts = bytearray()
        self._is_whole = False
        self._error: NoAnswer | None = None
        connection.taker = self

    async def head(self, data: bytes, seconds: float) -> tuple[int, dict[str, str]]:
        """Sends the request; status and headers of its answer. Raises NoAnswer."""
        self._connection.write(data)
        while (head := self._reader.head) is None:
            await self._news(seconds)
        return head[0], dict(head[1])

    async def parts(self, seconds: float) -> AsyncIterator[bytes]:
        """The body as it comes, to its end. Raises NoAnswer, also when nothing has come for so long."""
        while True:
            if self._parts:
                part = bytes(self._parts)
                self._parts.clear()
                if not self._connection.has_ended:
                    self._connection.transport.resume_reading()
                yield part
            elif self._is_whole:
                return
            else:
                await self._news(seconds)

    def feed(self, data: bytes) -> None:
        if self._is_whole or self._error is not None:
            return
        try:
            self._is_whole = self._reader.feed(data) is not None
        except NotHttp as error:
            self._error = error
        self._parts += self._reader.taken()
        if len(self._parts) > STREAM_BYTES_MAX and not self._connection.has_ended:
            self._connection.transport.pause_reading()
        self._came.set()

    def fail(self, error: NoAnswer) -> None:
        self._error = self._error or error
        self._came.set()

    async def _news(self, seconds: float) -> None:
        if self._error is not None:
            raise self._error
        self._came.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._came.wait()
        except TimeoutError:
            raise Late("nothing came in time") from None


def _is_of_tls(error: OSError) -> bool:
    # Such a cause would mean that TLS is not spoken there.
    import ssl

    return isinstance(error, ssl.SSLError)
