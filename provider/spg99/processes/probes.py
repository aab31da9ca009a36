"""`/metrics`, `/healthz` and `/readyz` of a process that serves no other HTTP. Here: the small server. Not here: counting,
who is well (health.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from spg99.errors import BadRequest
from spg99.processes.health import Unhealthy

_REQUEST_SECONDS_MAX: Final = 5.0
_TEXT: Final = "text/plain; charset=utf-8"


async def serve_probes(
    host: str,
    port: int,
    registry: CollectorRegistry,
    *,
    collect: Callable[[], Awaitable[None]] | None = None,
    unhealthy: Callable[[], list[Unhealthy]] = list,
) -> asyncio.Server:
    """Serves until it is closed; port 0 takes a free one. `collect` brings the figures up to date before they are shown.

    Raises BadRequest when the port cannot be had.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS_MAX):
                request = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split()
                path = request[1].partition(b"?")[0] if len(request) == 3 else b""
                writer.write(await answer_to(path))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone or does not speak HTTP
        finally:
            writer.close()

    async def answer_to(path: bytes) -> bytes:
        if path == b"/metrics":
            if collect is not None:
                await collect()
            return _response("200 OK", CONTENT_TYPE_LATEST, generate_latest(registry))
        if path == b"/healthz":
            return _response("200 OK", _TEXT, b"ok\n")
        if path == b"/readyz":
            failing = unhealthy()
            if not failing:
                return _response("200 OK", _TEXT, b"ok\n")
            lines = "".join(f"{one.sentence()}\n" for one in failing)
            return _response("503 Service Unavailable", _TEXT, lines.encode())
        return _response("404 Not Found", _TEXT, b"There is /metrics, /healthz and /readyz.\n")

    try:
        return await asyncio.start_server(answer, host, port)
    except OSError as error:
        raise BadRequest(
            f"Metrics cannot be shown on {host} port {port}: {error.strerror or error}. "
            "Choose another --metrics-port (0 takes a free one)."
        ) from error


def _response(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
