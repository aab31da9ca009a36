"""The API's own description (OpenAPI 3.1). Here: what FastAPI cannot know: bodies derived from resources/, errors, headers.

A route says `**documented(...)`; the document is put together once, from the routes that exist.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from spg99 import __version__
from spg99.control_plane.serving.answers import Problem
from spg99.control_plane.serving.bodies import changeable
from spg99.control_plane.serving.preconditions import IF_MATCH_LENGTH_MAX
from spg99.declarer import HEADER, HEADER_LENGTH_MAX
from spg99.resources import Resource

_REF = "#/components/schemas/{model}"
_ERRORS = {
    400: "BadRequest: the request is not understood, or a field or parameter has a value that is not allowed",
    401: "Unauthorized: the API key is missing, unknown, revoked or expired",
    403: "Forbidden: the API key lacks the permission or the scope",
    404: "NotFound: it does not exist, or this API key may not see it",
    409: "Conflict, LimitExceeded or OperationDisabled",
    412: "PreconditionFailed: If-Match names another version",
    413: "PayloadTooLarge: the body is too large",
    429: "TooManyRequests: the API key is over its rate; see Retry-After",
    500: "Internal: something failed inside; it was logged under the request id",
    503: "Unavailable: retry in a moment; see Retry-After",
}
DECLARED_TEXT = (
    "The stack or state on whose behalf this is done, percent-encoded: `tool=...&state=...&resource=...` (`resource` may be "
    "left out). Who makes or changes an object declares it (`GET /v2/declarations`); who reads it is noted beside that."
)
_ALWAYS = (400, 401, 404, 429, 500, 503)

DESCRIPTION = """Serverless PostgreSQL: tenants own databases that sleep at no cost and wake on the first connection.

- **Authentication**: `Authorization: Bearer <API key>`.
- **Errors**: `{"error", "message", "details", "request_id"}`; `details.fields` maps a bad field to a sentence.
- **Retries**: send `Idempotency-Key` with a POST; the same key with the same body answers the first result for 24 hours
  (header `Idempotency-Replayed: true`), with another body 409. An error is not kept: after it, the same key tries again.
  To ask without making anything, add `Idempotency-Replay-Only: look`: the first result, or 404. `withdraw` asks the same, and
  a request under this key that is still on its way then makes nothing.
- **Lists**: ordered by name; follow `next_cursor`. A cursor belongs to its list and filters.
- **Changes**: a read answers an `ETag`; send it as `If-Match` with PATCH or DELETE to change only what you have read.
- **Waiting**: `wait_for` and `wait` hold an answer back until it is true; `GET /v2/events` streams what happens.
- **Declarations**: a tool says with `X-SPG99-Declared-By` which stack or state declares an object; `GET /v2/declarations` tells.
- **Accounts**: a key of scope `global` acts for the account in `X-SPG99-Account`, else for `org_default`.
- **Projects**: a project is made when a tenant names it for the first time.
"""

_request_schemas: dict[str, Callable[[], dict[str, Any]]] = {
    "Nothing": lambda: {"type": "object", "title": "Nothing", "additionalProperties": False}
}


def documented(
    name: str,
    status: int,
    answer: type[BaseModel] | Any | None,
    text: str,
    *,
    body: str | None = None,
    body_optional: bool = False,
    errors: tuple[int, ...] = (),
    idempotent: bool = False,
    conditional: bool = False,
    declared: bool = False,
    etag: bool = False,
) -> dict[str, Any]:
    """What a route's decorator is told: name (`tenant.create`, also the audited action), answers, body, headers."""
    extra: dict[str, Any] = {}
    parameters = []
    if idempotent:
        parameters.append(
            _header("Idempotency-Key", "Makes a retry safe: the same key answers the first result for 24 hours.", 255)
        )
        errors = (*errors, 409, 413)
    if declared:
        parameters.append(_header(HEADER, DECLARED_TEXT, HEADER_LENGTH_MAX))
    if conditional:
        parameters.append(
            _header("If-Match", "ETag of what was read; another version answers 412.", IF_MATCH_LENGTH_MAX)
        )
        errors = (*errors, 412)
    if parameters:
        extra["parameters"] = parameters
    if body is not None:
        errors = (*errors, 413)
        extra["requestBody"] = {
            "required": not body_optional,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model=body)}}},
        }
    success: dict[str, Any] = {"description": text}
    if answer is not None:
        success["model"] = answer
    if etag:
        success["headers"] = {"ETag": {"description": "Version of the object.", "schema": {"type": "string"}}}
    return {
        "name": name,
        "operation_id": name.replace(".", "_"),
        "summary": text,
        "status_code": status,
        "response_model": None,
        "responses": {status: success}
        | {code: {"model": Problem, "description": _ERRORS[code]} for code in sorted({*_ALWAYS, *errors})},
        "openapi_extra": extra,
    }


def creates(noun: type[Resource], *, extra: dict[str, Any] | None = None) -> str:
    """Name of the body that creates a noun: its Spec without the fields in the path."""
    return _registered(f"{noun.__name__}Create", partial(_create_schema, noun, extra or {}))


def changes(noun: type[Resource]) -> str:
    """Name of the body that changes a noun: the fields that may change, all optional."""
    return _registered(f"{noun.__name__}Changes", partial(_changes_schema, noun))


def takes(shape: type[BaseModel]) -> str:
    """Name of a body that is no noun."""
    return _registered(shape.__name__, partial(shape.model_json_schema, ref_template=_REF))


def install(app: FastAPI) -> None:
    """Makes the app describe itself in full."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def methods_of(app: FastAPI, path: str) -> list[str]:
    """The methods that this path of the public API knows; empty for a path that it does not."""
    found: set[str] = set()
    for template, operations in app.openapi()["paths"].items():
        if _pattern(template).fullmatch(path):
            found |= {method.upper() for method in operations}
    return sorted(found)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\{\w+\}", template))))


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title="SPG99 Control Plane API",
        version=__version__,
        openapi_version="3.1.0",
        summary="Serverless PostgreSQL you declare.",
        description=DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas = document["components"]["schemas"]
    for name, build in _request_schemas.items():
        schema = build()
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            # FastAPI's own validation answers in our envelope, as 400.
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                del operation["responses"]["422"]
            for code in ("429", "503"):
                if code in operation["responses"]:
                    operation["responses"][code]["headers"] = {
                        "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
                    }
    return document


def _create_schema(noun: type[Resource], extra: dict[str, Any]) -> dict[str, Any]:
    schema = noun.SPEC.model_json_schema(ref_template=_REF)
    schema["title"] = f"{noun.__name__}Create"
    schema["properties"] = {n: s for n, s in schema["properties"].items() if n not in noun.path_fields()} | extra
    schema["required"] = [n for n in schema.get("required", []) if n not in noun.path_fields()]
    if not schema["required"]:
        del schema["required"]
    return schema


def _changes_schema(noun: type[Resource]) -> dict[str, Any]:
    schema = noun.SPEC.model_json_schema(ref_template=_REF)
    kept = {n: copy.deepcopy(s) for n, s in schema["properties"].items() if n in changeable(noun)}
    for one in kept.values():
        one.pop("default", None)
    schema["title"], schema["properties"] = f"{noun.__name__}Changes", kept
    schema["description"] = f"Changes of a {noun.NOUN}; what is not named stays as it is."
    schema.pop("required", None)
    if not kept:
        schema.pop("$defs", None)
    return schema


def _header(name: str, description: str, length_max: int) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": length_max},
    }


def _registered(name: str, build: Callable[[], dict[str, Any]]) -> str:
    _request_schemas[name] = build
    return name
