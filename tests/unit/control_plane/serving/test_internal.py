"""The internal API's routes over plain ASGI. Here: which route, who, which message, which answer. Not here: what the routes do."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from spg99.control_plane.serving import internal, problems
from spg99.errors import NotFound, Unauthorized
from spg99.protocol import Enrolment, Identity


async def _known(request: Request) -> str:
    if request.headers.get("authorization") != "Bearer right":
        raise Unauthorized("This path is for enrolled nodes, gateways and safekeepers.")
    return "node_1"


def _app() -> FastAPI:
    here = internal.Routes()

    @here.post("/nodes/enroll", takes=Enrolment)
    async def enroll(_: Request, enrolment: Enrolment) -> Identity:
        return Identity(identity_id=enrolment.name, bearer_token="t")

    @here.post("/tasks/{task_id}/result", who=_known, takes=Enrolment)
    async def result(request: Request, node: str, enrolment: Enrolment) -> None:
        assert (node, enrolment.name) == ("node_1", "n") and request.state.__dict__ is not None
        if internal.number(request.path_params["task_id"]) is None:
            raise NotFound()

    @here.get("/changes", who=_known)
    async def changes(request: Request, _: str) -> Response:
        return Response(str(internal.number(request.query_params.get("after", ""))))

    app = FastAPI()
    problems.install(app)
    app.add_middleware(internal.Internal, routes=here.routes)
    return app


def _ask(method: str, path: str, **rest: Any) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://plane/internal/v1") as client:
            return await client.request(method, path, **rest)

    return asyncio.run(asked())


RIGHT = {"Authorization": "Bearer right"}
BODY = {"enrolment_token": "x", "name": "n"}


def test_a_message_comes_in_and_a_message_goes_out() -> None:
    answer = _ask("POST", "/nodes/enroll", json=BODY)
    assert (answer.status_code, answer.json()) == (200, {"identity_id": "n", "bearer_token": "t"})
    assert answer.headers["content-type"] == "application/json"


def test_nothing_to_say_is_204_and_values_of_the_path_are_there() -> None:
    answer = _ask("POST", "/tasks/7/result", json=BODY, headers=RIGHT)
    assert (answer.status_code, answer.content) == (204, b"")
    assert _ask("POST", "/tasks/x/result", json=BODY, headers=RIGHT).status_code == 404
    assert _ask("POST", f"/tasks/{'9' * 19}/result", json=BODY, headers=RIGHT).status_code == 404


def test_who_is_not_known_hears_nothing_about_his_message() -> None:
    answer = _ask("POST", "/tasks/7/result", content=b"{")
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")
    assert answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("body", "field"), [(b"{", "body"), (b"", "body"), (b"[]", "body"), (b'{"name": "n"}', "enrolment_token")]
)
def test_a_message_that_is_none_is_the_speakers_fault(body: bytes, field: str) -> None:
    answer = _ask("POST", "/nodes/enroll", content=body)
    assert answer.status_code == 400
    assert list(answer.json()["details"]["fields"]) == [field]


@pytest.mark.parametrize(("method", "path"), [("POST", "/nodes"), ("GET", "/nodes/enroll"), ("POST", "/tasks//result")])
def test_what_has_no_route_goes_on_to_the_framework(method: str, path: str) -> None:
    assert _ask(method, path, headers=RIGHT, json=BODY).status_code == 404


@pytest.mark.parametrize(("text", "expected"), [("7", "7"), ("0", "0"), ("-1", "None"), ("1.5", "None"), ("٣", "None")])
def test_numbers_of_a_query(text: str, expected: str) -> None:
    assert _ask("GET", "/changes", params={"after": text}, headers=RIGHT).text == expected
