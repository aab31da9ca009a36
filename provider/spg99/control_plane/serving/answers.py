"""What a call answers, before it is HTTP; and the answers that are no resource. Here: values. Not here: when to answer what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json
from starlette.responses import Response

from spg99.control_plane.records import operations
from spg99.control_plane.records.operations import OperationRow
from spg99.control_plane.store import Transaction


@dataclass(frozen=True)
class Answer:
    """Status, body and headers of one answer."""

    status: int
    body: Mapping[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body_bytes(self) -> bytes:
        """The body as sent; empty for none."""
        return b"" if self.body is None else to_json(self.body)

    def response(self) -> Response:
        """The answer as HTTP."""
        return http(self.status, self.body_bytes(), self.headers)


def http(status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    """An HTTP response with a JSON body, or with none."""
    response = Response(body or None, status, media_type="application/json" if body else None)
    response.headers.update(headers)
    return response


def of_object(status: int, body: Mapping[str, Any], *, etag: str) -> Answer:
    """An answer that shows one object as `etag` names it."""
    return Answer(status, body, {"ETag": etag})


def of_model(status: int, model: BaseModel) -> Answer:
    """An answer whose body is this model."""
    return Answer(status, model.model_dump(mode="json"))


class Shape(BaseModel):
    """Base of answers that are no resource."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class OperationStatus(StrEnum):
    """Where an operation stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Operation(Shape):
    """An asynchronous call: under way or over."""

    op_id: str
    """Id of the operation: `op_...`."""
    kind: str
    """What it does: `database.delete`, `tenant.delete`, `database.start` ..."""
    status: OperationStatus
    """Where it stands."""
    tenant_id: str | None
    """Tenant it concerns."""
    db_id: str | None
    """Database it concerns."""
    error: dict[str, Any] | None
    """Why it failed: `{"error", "message", "details"}`."""
    created_at: datetime
    """When it began (UTC)."""
    finished_at: datetime | None
    """When it ended (UTC)."""


class Problem(Shape):
    """Every error of this API."""

    error: str
    """Code: `BadRequest`, `Unauthorized`, `Forbidden`, `NotFound`, `Conflict`, `LimitExceeded` ..."""
    message: str
    """One or two sentences for a person."""
    details: dict[str, Any]
    """Further facts; `fields` maps the path of a bad field to a sentence."""
    request_id: str
    """Id of the request, also in the header `X-Request-Id` and in the logs."""


def operation(row: OperationRow) -> Operation:
    """An operation as the API answers it."""
    return Operation(
        op_id=row.op_id,
        kind=row.kind,
        status=OperationStatus(row.status),
        tenant_id=row.tenant_id,
        db_id=row.db_id,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


async def accepted(tx: Transaction, op_id: str) -> Answer:
    """202 with the operation that has begun."""
    row = await operations.find(tx, op_id)
    assert row is not None, "written by this transaction, or still running"
    body = operation(row).model_dump(mode="json")
    return Answer(202, body, {"Location": f"/v2/operations/{op_id}"})
