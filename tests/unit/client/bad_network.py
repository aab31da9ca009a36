"""A server that plays a bad network: answers each connection with the next of a list of raw bytes, then behaves as told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Drip:
    """An answer that comes byte by byte."""

    answer: bytes
    pause_seconds: float


REFUSE = b"refuse"
"""The connection is reset before the request was read."""


@dataclass
class Script:
    """What to send for the n-th request (the last entry repeats); None cuts the connection without a byte."""

    answers: list[bytes | Drip | None]
    seen: list[bytes] = field(default_factory=list)
    """Whole requests, as they came."""
    connections: int = 0
    url: str = ""


@contextlib.asynccontextmanager
async def serve(
    *answers: bytes | Drip | None, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Script]:
    script = Script(list(answers))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if script.answers[min(script.connections, len(script.answers)) - 1] is REFUSE:
                script.seen.append(b"")
                writer.transport.abort()
                return
            first = await reader.readexactly(1)
            if first == b"\x16":  # a TLS handshake on a port for plain HTTP
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                writer.close()
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            script.seen.append(head + await reader.readexactly(length))
            answer = script.answers[min(len(script.seen), len(script.answers)) - 1]
            if answer is None:
                writer.transport.abort()
                return
            if isinstance(answer, Drip):
                for byte in answer.answer:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(answer.pause_seconds)
            else:
                writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls else "http"
    script.url = f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}/v2"
    try:
        yield script
    finally:
        server.close()
        await server.wait_closed()


def answer(status: str, body: bytes = b"", content_type: str = "application/json", extra: bytes = b"") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n".encode()
        + extra
        + b"\r\n"
        + body
    )
