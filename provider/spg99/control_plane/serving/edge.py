"""The outermost layer of every request: its id, its time, the size and pace of its body, and the last net for failures.

Here: what is the same for every request. Not here: who asks (call.py) and what is answered.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spg99 import faults, log
from spg99.control_plane.serving import problems
from spg99.control_plane.serving.metrics import Metrics
from spg99.errors import BadRequest, PayloadTooLarge
from spg99.ids import new_id

BODY_SECONDS = 15.0
"""Longest time for a body to arrive."""
_CHANGING = frozenset({"POST", "PATCH", "DELETE"})
DISCARD_SECONDS, DISCARD_BYTES_MAX = 2.0, 16_777_216
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")


class Edge:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, body_bytes_max: int) -> None:
        self._app = app
        self._metrics = metrics
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(process="control-plane")
        log.bind_request(request_id)
        began = time.perf_counter()
        body = _Body(receive, self._body_bytes_max, BODY_SECONDS)
        started: list[int] = []

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                if scope["method"] in _CHANGING and scope["path"].startswith("/v2/"):
                    faults.point("api.before_answer")
                started.append(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                if _has_body(scope) and not await body.discarded():
                    # Without this the client could go on sending for ever.
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, body.receive, send_with_id)
        except ClientDisconnect:
            pass  # nobody is left to answer
        except Exception as error:  # noqa: BLE001 - the edge: nothing may pass unanswered
            response = problems.unexpected(error, scope)
            if not started:
                await response(scope, receive, send_with_id)
        finally:
            self._metrics.in_flight.dec()
            self._count(scope, started[0] if started else 499, time.perf_counter() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route: Any = scope.get("route")
        # The route's pattern, never the path: names of tenants are no labels.
        name = getattr(route, "path", "none")
        self._metrics.requests.labels(scope["method"] if route else "none", name, str(status)).inc()
        if not scope["state"].get("waits"):
            self._metrics.seconds.labels(scope["method"] if route else "none", name).observe(seconds)


class _Body:
    """A body that is counted and timed while it arrives, whatever its header promised."""

    def __init__(self, receive: Receive, bytes_max: int, seconds: float) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self._deadline = time.monotonic() + seconds
        self._bytes = 0
        self.complete = False

    async def receive(self) -> Message:
        if self.complete:
            return await self._receive()  # only the disconnect is left; streams wait long for it
        try:
            async with asyncio.timeout(max(self._deadline - time.monotonic(), 0.001)):
                message = await self._receive()
        except TimeoutError:
            raise BadRequest("The request's body did not arrive in time.") from None
        self._note(message)
        if self._bytes > self._bytes_max:
            raise PayloadTooLarge(f"The request's body may have {self._bytes_max} bytes at most.")
        return message

    async def discarded(self) -> bool:
        """Reads what is left of an unwanted body, within bounds, and answers whether that was all of it.

        A client that is still sending when the connection closes would see a broken connection, not the answer.
        """
        seconds = min(DISCARD_SECONDS, self._deadline - time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.001)):
                while not self.complete and self._bytes < DISCARD_BYTES_MAX:
                    self._note(await self._receive())
        return self.complete

    def _note(self, message: Message) -> None:
        self._bytes += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"])


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(text):
                return str(text)
    return new_id("req")
