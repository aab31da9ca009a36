"""A unix socket of our own behind which a PostgreSQL server with TLS answers: the programs in our wheel (pg_dump, pg_restore, psql) have no TLS.

Here: bytes between such a program and one server. Not here: which programs are run (dump.py), who checks a password (they and the server).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spg99.client.connecting import first_connection
from spg99.wire import messages
from spg99.wire.scram_exchange import PLUS

SOCKET_PORT: Final = 5432
"""Part of the socket's name only."""
CONNECT_SECONDS_MAX: Final = 30.0
_PUMP_BYTES: Final = 256 * 1024
_PACKET_BYTES_MAX: Final = 10_000
_SSL_REQUEST: Final = (8).to_bytes(4) + (80877103).to_bytes(4)
_IN_CLEAR_REQUESTS: Final = frozenset({80877103, 80877104})
"""TLS, GSS: asked for before the start-up packet, and not to be had on this side."""
_SASL: Final = 10


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server, and how it is spoken to."""

    host: str
    port: int
    context: ssl.SSLContext | None
    """None: without TLS."""
    is_tls_optional: bool = False
    """Without TLS when the server has none."""


@contextlib.contextmanager
def tunnel(server: Server) -> Iterator[Path]:
    """The folder of the socket (libpq's PGHOST), which only this user may enter, for as long as the block runs. A server that cannot be reached is
    said to the program that connects, as PostgreSQL would say it."""
    with tempfile.TemporaryDirectory(prefix="spg99-") as folder:
        path = Path(folder) / f".s.PGSQL.{SOCKET_PORT}"
        loop = asyncio.new_event_loop()
        listening: asyncio.Server = loop.run_until_complete(
            asyncio.start_unix_server(lambda r, w: _serve(server, r, w), path)
        )
        thread = threading.Thread(target=loop.run_forever, name="tunnel", daemon=True)
        thread.start()
        try:
            yield path.parent
        finally:
            asyncio.run_coroutine_threadsafe(_close(listening), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _close(listening: asyncio.Server) -> None:
    listening.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _serve(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a program, to its end."""
    try:
        first = await _first_packet(reader, writer)
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                server_reader, server_writer = await _connect(server)
        except (OSError, TimeoutError, EOFError) as error:
            writer.write(messages.error_response("08006", _sentence(server, error)))
            await writer.drain()
            return
        try:
            server_writer.write(first)
            await asyncio.gather(_pump(reader, server_writer), _answers(server_reader, writer))
        finally:
            server_writer.close()
    except (OSError, EOFError, asyncio.CancelledError):
        return  # one of the two has gone, and the other one sees that; or all is over (where asyncio 3.11 would print the cancellation)
    finally:
        writer.close()


async def _first_packet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The start-up packet or a cancel request."""
    while True:
        length = await reader.readexactly(4)
        if not 8 <= int.from_bytes(length) <= _PACKET_BYTES_MAX:
            raise EOFError("that is no PostgreSQL client")
        body = await reader.readexactly(int.from_bytes(length) - 4)
        if int.from_bytes(body[:4]) not in _IN_CLEAR_REQUESTS:
            return length + body
        writer.write(b"N")


async def _connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    plain = await first_connection(await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM))
    try:
        if server.context is None:
            return await asyncio.open_connection(sock=plain)
        await loop.sock_sendall(plain, _SSL_REQUEST)
        # One byte and no more: what stands in the clear behind a yes is not the server's (CVE-2021-23222 in libpq), and ends the handshake.
        answer = await loop.sock_recv(plain, 1)
        if answer == b"S":
            return await asyncio.open_connection(sock=plain, ssl=server.context, server_hostname=server.host)
        if not answer:
            raise ConnectionError("it has hung up")
        if not server.is_tls_optional:
            raise ConnectionError("it has no TLS, and that is asked for")
        return await asyncio.open_connection(sock=plain)
    except BaseException:
        plain.close()
        raise


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PUMP_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What the server answers. Until somebody is in, the offer to bind the password to TLS is left out: a program without TLS takes it for a sign that
    somebody has taken the TLS away, and goes."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            kind, length = await reader.readexactly(1), await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(length) - 4)
            code = int.from_bytes(body[:4]) if kind == messages.AUTHENTICATION else None
            if code == _SASL:
                offered = [name for name in body[4:].split(b"\0") if name and name != PLUS.encode()]
                body = body[:4] + b"".join(name + b"\0" for name in offered) + b"\0"
            writer.write(messages.frame(kind, body))
            await writer.drain()
            if code == 0 or kind == messages.ERROR_RESPONSE:
                break
    await _pump(reader, writer)


def _sentence(server: Server, error: Exception) -> str:
    reason = "it does not answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return f"{server.host}:{server.port} cannot be reached: {reason}"
