"""Errors as HTTP: one envelope for ours, the framework's and the unexpected. Here: answering. Not here: the errors (spg99/errors.py)."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from spg99 import log
from spg99.control_plane.records import audit
from spg99.control_plane.serving import answers, bodies, openapi
from spg99.control_plane.serving.plane import plane_of
from spg99.errors import (
    BadRequest,
    Fault,
    Forbidden,
    Internal,
    LimitExceeded,
    MethodNotAllowed,
    NotFound,
    OperationDisabled,
    Spg99Error,
)

_AUDITED = (Forbidden, LimitExceeded, OperationDisabled)


def install(app: FastAPI) -> None:
    """Makes every error of the app an envelope."""
    app.add_exception_handler(Spg99Error, _ours)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _framework)


async def answer(request: Request, error: Spg99Error | HTTPException) -> Response:
    """An error of a request as HTTP, for who calls a route without the app's handlers around it."""
    return await (_ours if isinstance(error, Spg99Error) else _framework)(request, error)


def request_id_of(scope: Scope) -> str:
    """The id of the request; given by the edge before anything else."""
    return str(scope.get("state", {}).get("request_id", ""))


def response_to(error: Spg99Error, request_id: str) -> Response:
    """An error as the client sees it."""
    return _envelope(error.http_status, error.envelope(), request_id, headers=_headers_of(error))


def unexpected(error: BaseException, scope: Scope) -> Response:
    """The answer to a failure nobody foresaw: logged with everything, told as nothing."""
    log.get("api").error(
        "a request failed",
        method=scope.get("method"),
        path=scope.get("path"),
        exc_info=(type(error), error, error.__traceback__),
    )
    return response_to(Internal(), request_id_of(scope))


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, Spg99Error)
    if error.fault is Fault.SYSTEM:
        log.get("api").warning(
            "a request could not be answered", code=error.code, reason=error.message, path=request.url.path
        )
    if isinstance(error, _AUDITED):
        await _audit_refusal(request, error)
    return response_to(error, request_id_of(request.scope))


async def _audit_refusal(request: Request, error: Spg99Error) -> None:
    call = getattr(request.state, "call", None)
    if call is None:
        return
    route: Any = request.scope.get("route")
    try:
        async with plane_of(request).store.transaction() as tx:
            await audit.record(
                tx,
                call.actor,
                getattr(route, "name", request.method),
                None,
                org_id=call.org_id,
                outcome="refused",
                code=error.code,
                reason=error.message[:500],
                path=request.url.path[:500],
            )
    except Spg99Error as failure:
        # The refusal stands; that it cannot be written down must not turn it into another answer.
        log.get("api").error("a refusal could not be audited", reason=failure.message)


async def _parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = {".".join(map(str, e["loc"][1:])) or str(e["loc"][0]): bodies.said(e) for e in error.errors()}
    if any(e["loc"][0] == "path" for e in error.errors()):
        return response_to(NotFound(), request_id_of(request.scope))
    return response_to(BadRequest("A parameter is not valid.", fields=fields), request_id_of(request.scope))


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    request_id = request_id_of(request.scope)
    if error.status_code == 404:
        return response_to(NotFound(f"There is no {request.url.path} in this API."), request_id)
    if error.status_code == 405:
        # The framework knows only one of several routes of a path.
        methods = ", ".join(openapi.methods_of(request.app, request.url.path))
        allow = methods or (error.headers or {}).get("Allow", "")
        advice = f" Possible here: {allow}." if allow else ""
        refusal = MethodNotAllowed(f"{request.method} is not possible on {request.url.path}.{advice}")
        headers = dict(error.headers or {}) | ({"Allow": allow} if allow else {})
        return _envelope(405, refusal.envelope(), request_id, headers=headers)
    kind = BadRequest if error.status_code < 500 else Internal
    return _envelope(
        error.status_code, kind(str(error.detail)).envelope(), request_id, headers=dict(error.headers or {})
    )


def _headers_of(error: Spg99Error) -> dict[str, str]:
    headers = {}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="spg99"'
    if error.http_status in (429, 503):
        headers["Retry-After"] = str(error.retry_after_seconds or 1)
    return headers


def _envelope(status: int, body: dict[str, Any], request_id: str, *, headers: dict[str, str]) -> Response:
    raw = json.dumps(body | {"request_id": request_id}, separators=(",", ":"), ensure_ascii=False).encode()
    return answers.http(status, raw, headers)
