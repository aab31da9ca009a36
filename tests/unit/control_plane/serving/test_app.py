"""The way to the edge. Here: that nothing of the framework stands in front of it. Not here: what the edge does (integration)."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI

from spg99.control_plane.serving.app import App, edge_of
from spg99.control_plane.serving.edge import Edge
from spg99.control_plane.serving.metrics import Metrics


def _layers(app: FastAPI) -> list[str]:
    stack: Any = app.build_middleware_stack()
    found = []
    while stack is not None:
        found.append(type(stack).__name__)
        stack = getattr(stack, "app", None)
    return found


async def test_a_request_comes_to_the_edge_first_and_the_app_is_known() -> None:
    app = App()
    app.add_middleware(Edge, metrics=Metrics(), body_bytes_max=1000)

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError

    @app.get("/well")
    async def well() -> bool:
        return True

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://plane") as client:
        failed = await client.get("/fails")
        assert failed.status_code == 500 and failed.json()["error"] == "Internal" and failed.headers["x-request-id"]
        assert (await client.get("/well")).json() is True
    assert app._edge is edge_of(app.middleware_stack) and isinstance(app._edge, Edge)


async def test_an_app_whose_layers_are_not_shown_answers_all_the_same() -> None:
    app = App()

    @app.get("/well")
    async def well() -> bool:
        return True

    assert edge_of(app.build_middleware_stack()) is None
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://plane") as client:
        assert (await client.get("/well")).json() is True


def test_the_framework_has_layers_in_front_that_are_passed_over() -> None:
    app = App()
    app.add_middleware(Edge, metrics=Metrics(), body_bytes_max=1000)
    assert _layers(app).index("Edge") >= 1
