"""The framework's app with our edge as its outermost layer. Here: the way to it. Not here: the edge (edge.py), what is behind it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from spg99.control_plane.serving.edge import Edge


class App(FastAPI):
    """As FastAPI, but a request comes to our edge first. Around it the framework puts layers for telemetry, bounds of bodies and failures:
    the edge has each of these itself, so they never have anything to do, and are a twentieth of a create."""

    _edge: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        if self._edge is None:
            self.middleware_stack = self.middleware_stack or self.build_middleware_stack()
            self._edge = edge_of(self.middleware_stack) or super().__call__
        scope["app"] = self
        await self._edge(scope, receive, send)


def edge_of(stack: Any) -> Edge | None:
    """Our edge among the layers of an app; None where the framework does not show them."""
    while stack is not None and not isinstance(stack, Edge):
        stack = getattr(stack, "app", None)
    return stack
