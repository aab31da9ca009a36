"""The gateway's figures for Prometheus. Here: names, and the small HTTP server that shows them. Not here: counting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_REQUEST_SECONDS_MAX: Final = 5.0
_WAKE_BUCKETS: Final = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """All figures of one gateway, over all its workers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.connects = Counter(
            "spg99_gateway_connects", "Sessions that were joined to a compute.", registry=self.registry
        )
        self.connections = Counter(
            "spg99_gateway_connections",
            "Connections that came, by themselves or handed on by a balancer (PROXY protocol).",
            ["via"],
            registry=self.registry,
        )
        self.active_connections = Gauge("spg99_gateway_active_connections", "Sessions now.", registry=self.registry)
        self.half_open_connections = Gauge(
            "spg99_gateway_half_open_connections", "Connections that have not logged in yet.", registry=self.registry
        )
        self.wakes = Counter("spg99_gateway_wakes", "Connects that woke a sleeping database.", registry=self.registry)
        self.wake_seconds = Histogram(
            "spg99_gateway_wake_seconds",
            "Time from the question to the Control Plane until the database was up.",
            buckets=_WAKE_BUCKETS,
            registry=self.registry,
        )
        self.relayed_bytes = Counter("spg99_gateway_bytes", "Bytes relayed.", ["direction"], registry=self.registry)
        self.errors = Counter("spg99_gateway_errors", "Errors sent to clients.", ["sqlstate"], registry=self.registry)
        self.cancels = Counter("spg99_gateway_cancels", "Cancel requests with a known key.", registry=self.registry)
        self.worker_restarts = Counter(
            "spg99_gateway_worker_restarts", "Worker processes that ended and were replaced.", registry=self.registry
        )

    def woke(self, seconds: float) -> None:
        """A database was woken."""
        self.wakes.inc()
        self.wake_seconds.observe(seconds)


async def serve(metrics: Metrics, port: int, *, collect: Callable[[], Awaitable[None]]) -> asyncio.Server:
    """Serves /metrics and /healthz on the loopback address; `collect` brings the figures up to date first."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS_MAX):
                request = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split()
                path = request[1] if len(request) == 3 else b""
                writer.write(await _answer(path, metrics, collect))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone or does not speak HTTP
        finally:
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", port)


async def _answer(path: bytes, metrics: Metrics, collect: Callable[[], Awaitable[None]]) -> bytes:
    if path == b"/metrics":
        await collect()
        return _response(b"200 OK", CONTENT_TYPE_LATEST.encode(), generate_latest(metrics.registry))
    if path == b"/healthz":
        return _response(b"200 OK", b"text/plain", b"ok\n")
    return _response(b"404 Not Found", b"text/plain", b"There is /metrics and /healthz.\n")


def _response(status: bytes, content_type: bytes, body: bytes) -> bytes:
    length = str(len(body)).encode()
    return (
        b"HTTP/1.1 " + status + b"\r\nContent-Type: " + content_type + b"\r\nContent-Length: " + length
        + b"\r\nConnection: close\r\n\r\n" + body
    )  # fmt: skip
