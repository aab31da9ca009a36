"""From a request straight to its route: the framework's walk through routers, exit stacks and dependencies cost more than most answers.

Here: requests that are as they should be. What is not (no such path, another method, a parameter that is missing, repeated or not
valid, no key) goes on to the framework as if this were not here, so each refusal stays the framework's and is written once. What a
route takes is read from the framework's own description of it; a route that takes more than a path, a query and a `Call` is not
looked at. Not here: what a call may do (call.py), errors as HTTP (problems.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from spg99.control_plane.serving import call, pages, problems
from spg99.errors import Spg99Error

_NOT_VALID: Final = object()


class Dispatch:
    """ASGI middleware inside the edge: answers what it knows the way to, hands everything else to `app`."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[APIRoute]) -> None:
        self._app = app
        self._ways: dict[tuple[str, int], list[Way]] = {}
        for route in routes:
            for way in ways_of(route):
                self._ways.setdefault((way.method, len(way.segments)), []).append(way)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        way = self.way_to(scope) if scope["type"] == "http" else None
        if way is not None:
            request = Request(scope, receive, send)
            values, identity = way.values(request), _identity(request)
            if values is not None and identity is not None:
                scope["route"], scope["endpoint"] = way.route, way.route.endpoint
                response = await _answered(way, request, values, *identity)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def way_to(self, scope: Scope) -> Way | None:
        """The way to the route of this request; None when it is not known here."""
        if scope.get("root_path"):
            return None
        segments = scope["path"].split("/")
        for way in self._ways.get((scope["method"], len(segments)), ()):
            if way.leads(segments):
                return way
        return None


@dataclass(frozen=True)
class Way:
    """What a route of ours takes."""

    route: APIRoute
    method: str
    segments: tuple[str | None, ...]
    """Its path, None where a value stands."""
    names: tuple[str, ...]
    """The names of those values."""
    query: Mapping[str, Any]
    """The framework's fields of the query, by the name in the request; those of a page too."""
    page: str | None
    """The parameter that takes the page, of a list."""
    caller: str
    """The parameter that takes the call."""

    def leads(self, segments: Sequence[str]) -> bool:
        """Whether this is the way for such a path."""
        return all(
            bool(found) if wanted is None else found == wanted
            for found, wanted in zip(segments, self.segments, strict=True)
        )

    def values(self, request: Request) -> dict[str, Any] | None:
        """What the route is called with, but for the call itself; None where the framework has something to say."""
        path = request.scope["path"].split("/")
        values: dict[str, Any] = dict(
            zip(
                self.names,
                (found for found, wanted in zip(path, self.segments, strict=True) if wanted is None),
                strict=True,
            )
        )
        request.scope["path_params"] = dict(values)
        given: dict[str, str] = {}
        if request.scope["query_string"]:
            items = request.query_params.multi_items()
            given = dict(items)
            if len(given) != len(items) or not given.keys() <= self.query.keys() or "\x00" in "".join(given.values()):
                return None
        for name, field in self.query.items():
            value = _value_of(field, given, name)
            if value is _NOT_VALID:
                return None
            values[field.name] = value
        return values


async def _answered(way: Way, request: Request, values: dict[str, Any], token: str, account: str | None) -> Response:
    """What the route answers; errors as the framework's handlers would answer them."""
    try:
        caller = await call.of_request(request, token, account)
        if way.page is not None:
            values[way.page] = pages.asked(*(values.pop(name) for name in _PAGE_FIELDS))
        response: Response = await way.route.endpoint(**{way.caller: caller}, **values)
    except (Spg99Error, HTTPException) as error:
        return await problems.answer(request, error)
    return response


def ways_of(route: APIRoute) -> list[Way]:
    """The ways to a route, one for each of its methods; none for a route that takes what is not known here."""
    taken = route.dependant
    others = [
        *taken.header_params, *taken.cookie_params, *taken.body_params,
        taken.request_param_name, taken.response_param_name, taken.http_connection_param_name, taken.background_tasks_param_name,
    ]  # fmt: skip
    subjects = {dependency.call: dependency for dependency in taken.dependencies}
    if any(others) or call.called not in subjects or not subjects.keys() <= {call.called, pages.asked}:
        return []
    page = subjects.get(pages.asked)
    query = [*taken.query_params, *(page.query_params if page is not None else ())]
    if any(_is_list(field.field_info.annotation) for field in query):
        return []
    if any(field.field_info.annotation is not str or field.field_info.metadata for field in taken.path_params):
        return []
    parts = route.path_format.split("/")
    return [
        Way(
            route,
            method,
            tuple(None if part.startswith("{") else part for part in parts),
            tuple(part[1:-1] for part in parts if part.startswith("{")),
            {field.alias: field for field in query},
            page.name if page is not None else None,
            str(subjects[call.called].name),
        )
        for method in sorted(route.methods or ())
    ]


_PAGE_FIELDS: Final = ("limit", "offset", "cursor")


def _value_of(field: Any, given: Mapping[str, str], name: str) -> Any:
    if name not in given:
        return _NOT_VALID if field.field_info.is_required() else field.get_default()
    value, errors = field.validate(given[name], {}, loc=("query", name))
    return _NOT_VALID if errors else value


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) in (list, set, tuple) or any(_is_list(inner) for inner in get_args(annotation))


def _identity(request: Request) -> tuple[str, str | None] | None:
    """The token and the account that a request names; None where the framework has something to say."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    account = request.headers.get(call.ACCOUNT_HEADER)
    if scheme.lower() != "bearer" or not token.strip() or len(account or "") > call.ACCOUNT_LENGTH_MAX:
        return None
    return token.strip(), account
