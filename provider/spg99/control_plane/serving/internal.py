"""The internal API's way from a request to its answer: who speaks, what the body says, the route, its answer as HTTP.

A route of ours is a path, a kind of speaker and a message; that is all that is needed of a framework here. FastAPI's own routes would take 6 MB
of memory in each Control Plane and a walk through all public routes for each heartbeat and each wake. Not here: the routes (each domain's
`internal_routes.py`), who speaks (fleet/identities.py). What has no route here goes on to the framework, which has its words for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from spg99.control_plane.serving import answers, bodies, problems
from spg99.errors import BadRequest, Spg99Error
from spg99.protocol import INTERNAL_PREFIX

_DIGITS_MAX: Final = 18
"""Fits into the catalogue's bigint."""
Handler = Callable[..., Awaitable[BaseModel | Response | None]]
Speaker = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """One route: `handler(request, speaker, message)`, without those that it does not take."""

    method: str
    path: str
    """With the prefix; a segment in braces stands for a value (`request.path_params`)."""
    handler: Handler
    who: Speaker | None
    """Finds out who speaks, or raises Unauthorized; None: nobody is known yet (enrolment)."""
    takes: type[BaseModel] | None
    """The body."""


class Routes:
    """The internal routes of one domain."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def post(
        self, path: str, *, who: Speaker | None = None, takes: type[BaseModel] | None = None
    ) -> Callable[[Handler], Handler]:
        """Makes a function the answer to `POST <path>`. It answers a message, a Response of its own, or None for 204."""
        return self._at("POST", path, who, takes)

    def get(self, path: str, *, who: Speaker | None = None) -> Callable[[Handler], Handler]:
        """Makes a function the answer to `GET <path>`."""
        return self._at("GET", path, who, None)

    def _at(
        self, method: str, path: str, who: Speaker | None, takes: type[BaseModel] | None
    ) -> Callable[[Handler], Handler]:
        def decorate(handler: Handler) -> Handler:
            self.routes.append(Route(method, INTERNAL_PREFIX + path, handler, who, takes))
            return handler

        return decorate


class Internal:
    """ASGI middleware: answers the internal routes, hands everything else to `app`."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[Route]) -> None:
        self._app = app
        self._routes = tuple((route, tuple(route.path.split("/"))) for route in routes)
        self._plain: Final[Mapping[tuple[str, str], Route]] = {
            (route.method, route.path): route for route, _ in self._routes if "{" not in route.path
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._found(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        route, values = found
        scope["route"], scope["endpoint"], scope["path_params"] = route, route.handler, values
        request = Request(scope, receive, send)
        try:
            response = await _answered(route, request)
        except (Spg99Error, HTTPException) as error:
            response = await problems.answer(request, error)
        await response(scope, receive, send)

    def _found(self, scope: Scope) -> tuple[Route, dict[str, str]] | None:
        path: str = scope["path"]
        if not path.startswith(INTERNAL_PREFIX) or scope.get("root_path"):
            return None
        if (plain := self._plain.get((scope["method"], path))) is not None:
            return plain, {}
        given = path.split("/")
        for route, parts in self._routes:
            if route.method == scope["method"] and len(parts) == len(given):
                pairs = list(zip(parts, given, strict=True))
                if all(said if part.startswith("{") else said == part for part, said in pairs):
                    return route, {part[1:-1]: said for part, said in pairs if part.startswith("{")}
        return None


async def _answered(route: Route, request: Request) -> Response:
    given: list[Any] = [request]
    if route.who is not None:
        given.append(await route.who(request))
    if route.takes is not None:
        given.append(message(route.takes, await request.body()))
    answer = await route.handler(*given)
    if isinstance(answer, Response):
        return answer
    return answers.http(204, b"", {}) if answer is None else answers.http(200, answer.model_dump_json().encode(), {})


def message(kind: type[BaseModel], body: bytes) -> Any:
    """A body as the message that it is. Raises BadRequest with what is wrong in it."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fields = {".".join(map(str, each["loc"])) or "body": bodies.said(each) for each in error.errors()}
        raise BadRequest("A parameter is not valid.", fields=fields) from error


def number(text: str) -> int | None:
    """A whole number that is not below 0, as it stands in a path or a query; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else None
