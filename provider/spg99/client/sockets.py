"""Requests over blocking sockets, each in the thread that asks: for processes without an event loop. Not here: bytes (http1.py), a loop (in_loop.py), proxies (over_httpx.py).

A thread has at most one connection, and all threads of a process together no more than `SOCKETS_MAX`; who comes beyond waits for a place. `_socket` and `_ssl` are what `socket` and `ssl` are made
of: the modules with the nicer names cost a start ten milliseconds each (tfplugin/tls.py does the same).
"""

from __future__ import annotations

import errno
import select
import time
from _queue import Empty, SimpleQueue
from _socket import (
    AF_INET,
    AF_INET6,
    AI_NUMERICHOST,
    IPPROTO_TCP,
    SO_ERROR,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    gaierror,
    getaddrinfo,
    socket,
)
from _ssl import SSLEOFError, SSLError, SSLWantReadError, SSLZeroReturnError
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spg99.client import loopless
from spg99.client.exchanges import (
    PORTS,
    Address,
    BrokenOff,
    Late,
    NoAnswer,
    NoRoom,
    NotConnected,
    NotConnectedInTime,
    Request,
    Response,
)
from spg99.client.http1 import ENCODINGS, AnswerReader, request_bytes

if TYPE_CHECKING:
    import ssl

READ_BYTES = 1 << 16
SOCKETS_MAX = 64
"""Requests at once: Terraform makes as many calls as its user allows (`-parallelism`), and the server is not only his."""
IDLE_SECONDS_MAX = 5.0
"""A connection that nobody used for so long is not used again: as many a server closes it about then (httpx does the same)."""
HEAD_START_SECONDS = 0.25
"""Of an address over the next one of the same name (RFC 8305)."""


class Sockets:
    """Connections to one address. Safe for threads."""

    def __init__(self, address: Address, context: ssl.SSLContext | None) -> None:
        self._address, self._context = address, context
        self._lock = allocate_lock()
        self._idle: list[tuple[Any, float]] = []
        """Connections that were used last stand last."""
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(SOCKETS_MAX):
            self._places.put(None)

    async def send(self, request: Request) -> Response:
        """The whole answer. Raises NoAnswer. Only inside `loopless.run`."""
        turn = loopless.current()
        assert turn is not None, "this would hold up an event loop"
        headers = {"Host": self._address.authority, **request.headers, "Accept-Encoding": ENCODINGS}
        data = request_bytes(request.method, request.target, headers, request.content)
        self._take_place(request.answer_seconds, turn)
        try:
            return self._on_a_connection(request, data, turn)
        finally:
            self._places.put(None)

    def _on_a_connection(self, request: Request, data: bytes, turn: loopless.Turn) -> Response:
        connection = self._kept() or self._opened(request.connect_seconds, turn)
        keep = False
        try:
            reader = AnswerReader(request.method)
            response = _exchanged(connection, data, reader, request.answer_seconds, turn)
            keep = reader.is_reusable
            return response
        finally:
            if keep:
                with self._lock:
                    self._idle.append((connection, time.monotonic() + IDLE_SECONDS_MAX))
            else:
                connection.close()

    def _take_place(self, seconds: float, turn: loopless.Turn) -> None:
        pause, limit = turn.within(seconds)
        try:
            self._places.get(timeout=pause)
        except Empty:
            if limit is not None:
                raise loopless.TimeIsUp(limit) from None
            raise NoRoom("all connections are in use") from None

    def close(self) -> None:
        """Closes all connections that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _kept(self) -> Any | None:
        """A connection that is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection, ends = self._idle.pop()
            if time.monotonic() < ends and _is_quiet(connection):
                return connection
            connection.close()

    def _opened(self, seconds: float, turn: loopless.Turn) -> Any:
        pause, limit = turn.within(seconds)
        ends = time.monotonic() + pause
        try:
            plain = _connected(_addresses(self._address, ends), ends)
            plain.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            if self._context is None:
                return plain
            return _encrypted(plain, self._context, self._address.host, ends)
        except NotConnectedInTime:
            if limit is not None:
                raise loopless.TimeIsUp(limit) from None
            raise


def _exchanged(connection: Any, data: bytes, reader: AnswerReader, seconds: float, turn: loopless.Turn) -> Response:
    try:
        limit = _limit(connection, seconds, turn)
        try:
            connection.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            pass  # a server that refuses what is still being sent has said why: that is read
        while True:
            limit = _limit(connection, seconds, turn)
            if (response := reader.feed(connection.recv(READ_BYTES))) is not None:
                return response
    except TimeoutError:
        if limit is not None:
            raise loopless.TimeIsUp(limit) from None
        raise Late("no answer in time") from None
    except (SSLEOFError, SSLZeroReturnError) as ended:
        reason = str(ended)
    except OSError as broken:
        raise BrokenOff(str(broken)) from broken
    raise BrokenOff(reason)  # not from an error of TLS: that would mean that TLS is not spoken there


def _limit(connection: Any, seconds: float, turn: loopless.Turn) -> loopless.TimeLimit | None:
    pause, limit = turn.within(seconds)
    connection.settimeout(pause)
    return limit


def _is_quiet(connection: Any) -> bool:
    """Whether nothing has come since the last answer: neither the end nor what nobody asked for."""
    connection.settimeout(0)
    try:
        connection.recv(1)
    except (BlockingIOError, SSLWantReadError):
        return True
    except OSError:
        pass
    return False


def _addresses(address: Address, ends: float) -> list[tuple[Any, ...]]:
    """What the name stands for. Raises NotConnected."""
    port = address.port or PORTS[address.scheme]
    host = address.host.encode("ascii")  # a text would bring the tables of international names along
    try:
        return getaddrinfo(host, port, 0, SOCK_STREAM, 0, AI_NUMERICHOST)
    except gaierror:
        pass
    found: list[tuple[Any, ...]] = []
    failed: list[OSError] = []

    def resolve() -> None:
        try:
            found.extend(getaddrinfo(host, port, 0, SOCK_STREAM))
        except OSError as unknown:
            failed.append(unknown)

    # A resolver that nobody answers takes half a minute, and cannot be told to hurry.
    if not _done_within(resolve, ends - time.monotonic()):
        raise NotConnectedInTime("the name was not resolved in time")
    if not found:
        raise NotConnected("getaddrinfo failed") from (failed[0] if failed else None)
    return found


def _done_within(work: Callable[[], None], seconds: float) -> bool:
    gate = allocate_lock()
    gate.acquire()

    def run() -> None:
        try:
            work()
        finally:
            gate.release()

    start_new_thread(run, ())
    return gate.acquire(timeout=max(0.0, seconds))


def _connected(addresses: list[tuple[Any, ...]], ends: float) -> Any:
    """A connection to the first address that takes one: each has a small head start. Raises NotConnected."""
    waiting = [each for each in addresses if each[0] in (AF_INET, AF_INET6)]
    under_way: list[Any] = []
    failure: OSError | None = None
    try:
        while waiting or under_way:
            if waiting:
                family, kind, protocol, _, where = waiting.pop(0)
                try:
                    one = socket(family, kind, protocol)
                except OSError as unable:
                    failure = unable
                    continue
                under_way.append(one)
                one.setblocking(False)
                code = one.connect_ex(where)
                if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
                    failure = OSError(code, _words(code))
                    under_way.remove(one)
                    one.close()
                    continue
            left = ends - time.monotonic()
            for one in _writable(under_way, min(left, HEAD_START_SECONDS) if waiting else left):
                under_way.remove(one)
                code = one.getsockopt(SOL_SOCKET, SO_ERROR)
                if code == 0:
                    return one
                failure = OSError(code, _words(code))
                one.close()
            if time.monotonic() >= ends:
                raise NotConnectedInTime("no connection in time")
    finally:
        for one in under_way:
            one.close()
    raise NotConnected(str(failure)) from failure


def _words(code: int) -> str:
    import os

    return os.strerror(code)


def _writable(sockets: list[Any], seconds: float) -> list[Any]:
    """Those whose attempt has ended, well or not."""
    if hasattr(select, "poll"):
        poller = select.poll()
        by_number = {one.fileno(): one for one in sockets}
        for number in by_number:
            poller.register(number, select.POLLOUT)
        return [by_number[number] for number, _ in poller.poll(max(0.0, seconds) * 1000)]
    _, ready, failed = select.select([], sockets, sockets, max(0.0, seconds))
    return [*{*ready, *failed}]


def _encrypted(plain: Any, context: ssl.SSLContext, host: str, ends: float) -> Any:
    """The connection with TLS. Raises NotConnected, from the SSLError where it is one that stays."""
    import socket as sockets  # loaded by `ssl`, without which there is no context

    whole = sockets.socket(fileno=plain.detach())
    try:
        whole.settimeout(max(0.001, ends - time.monotonic()))
        return context.wrap_socket(whole, server_hostname=host)
    except BaseException as failed:
        whole.close()
        problem = handshake_failure(failed)
        if problem is None:
            raise
    raise problem


def handshake_failure(failed: BaseException) -> NoAnswer | None:
    """What a failed handshake of TLS is to who has asked; None for what is no failure of it."""
    if isinstance(failed, TimeoutError):
        return NotConnectedInTime("no handshake in time")
    if isinstance(failed, SSLEOFError | SSLZeroReturnError):
        return NotConnected("closed within the handshake")  # a server that ends: another one may come
    if isinstance(failed, SSLError | OSError | ValueError):
        problem = NotConnected(str(failed))
        problem.__cause__ = failed
        return problem
    return None
