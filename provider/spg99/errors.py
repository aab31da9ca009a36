"""Every error a user may meet, one class each.

Here: whose fault, whether to retry, what the user reads, and how it looks as HTTP status and as SQLSTATE.
Not here: answering (control_plane/serving/problems.py, gateway/session.py, bridges). An error is raised deep, handled once,
and logged where it is handled. A message never holds a secret.

    Spg99Error
      BadRequest 400 · Unauthorized 401 · Forbidden 403 · NotFound 404 · MethodNotAllowed 405 · PreconditionFailed 412 · PayloadTooLarge 413
      Conflict 409 (LimitExceeded, OperationDisabled, WrongState, ForeignStore, NoSuchMoment)
      TooManyRequests 429
      Internal 500 (Damaged)
      Unavailable 503 (CannotWake, Unreachable, StoreUnavailable, StoreFull)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar


class Fault(StrEnum):
    """Whose fault an error is; decides how loudly it is logged."""

    USER = "user"
    SYSTEM = "system"


class Spg99Error(Exception):
    """Something went wrong and the person who reads this can do something about it.

    `message` is one or two sentences for a user. `fields` maps the path of a bad field (`size`, `tags.0`) to a sentence.
    `details` are further facts (ids, limits), JSON-able and free of secrets. `request_id` is set on the client's side.
    """

    code: ClassVar[str] = "Internal"
    fault: ClassVar[Fault] = Fault.SYSTEM
    http_status: ClassVar[int] = 500
    sqlstate: ClassVar[str] = "XX000"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        fields: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after_seconds: int | None = None,
        request_id: str | None = None,
    ) -> None:
        self.message = message or (self.__doc__ or self.code).strip().splitlines()[0]
        self.fields: dict[str, str] = dict(fields or {})
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id
        super().__init__(self.message)

    def envelope(self) -> dict[str, Any]:
        """The error as the API's JSON body: `{"error", "message", "details"}` (contract, section 3)."""
        details = dict(self.details)
        if self.fields:
            details["fields"] = self.fields
        return {"error": self.code, "message": self.message, "details": details}

    def __str__(self) -> str:
        parts = [self.message]
        parts += [f"{path}: {reason}" for path, reason in self.fields.items()]
        if self.request_id:
            parts.append(f"(request id {self.request_id})")
        return " ".join(parts)


class BadRequest(Spg99Error):
    """The request is not understood or a field has a value that is not allowed."""

    code, fault, http_status, sqlstate = "BadRequest", Fault.USER, 400, "22023"


class Unauthorized(Spg99Error):
    """The API key is missing, unknown, revoked or expired. Set SPG99_API_KEY to a valid key."""

    code, fault, http_status, sqlstate = "Unauthorized", Fault.USER, 401, "28000"


class WrongPassword(Unauthorized):
    """Password authentication failed."""

    code, sqlstate = "WrongPassword", "28P01"


class Forbidden(Spg99Error):
    """The API key is valid but lacks the permission for this call."""

    code, fault, http_status, sqlstate = "Forbidden", Fault.USER, 403, "42501"


class NotFound(Spg99Error):
    """It does not exist, or this API key may not see it."""

    code, fault, http_status, sqlstate = "NotFound", Fault.USER, 404, "3D000"


class MethodNotAllowed(Spg99Error):
    """This path exists, but not with this method."""

    code, fault, http_status, sqlstate = "MethodNotAllowed", Fault.USER, 405, "0A000"


class Conflict(Spg99Error):
    """The request contradicts what exists."""

    code, fault, http_status, sqlstate = "Conflict", Fault.USER, 409, "55000"


class LimitExceeded(Conflict):
    """A limit of the plan is reached."""

    code, sqlstate = "LimitExceeded", "53400"


class OperationDisabled(Conflict):
    """The operator of this Control Plane has disabled this operation."""

    code, sqlstate = "OperationDisabled", "0A000"


class WrongState(Conflict):
    """The object is in a state in which this cannot be done."""

    code = "Conflict"


class ForeignStore(Conflict):
    """The object store belongs to another installation. Nothing in it was changed."""

    code = "ForeignStore"


class NoSuchMoment(Conflict):
    """The database cannot be read at this moment."""

    code, sqlstate = "NoSuchMoment", "3D000"


class PreconditionFailed(Spg99Error):
    """The object has changed since it was read (If-Match does not match). Read it again and retry."""

    code, fault, http_status, sqlstate = "PreconditionFailed", Fault.USER, 412, "40001"


class PayloadTooLarge(Spg99Error):
    """The request body is larger than this API accepts."""

    code, fault, http_status, sqlstate = "PayloadTooLarge", Fault.USER, 413, "54000"


class TooManyRequests(Spg99Error):
    """Too many requests with this API key. Wait and retry."""

    code, fault, http_status, sqlstate, retryable = "TooManyRequests", Fault.USER, 429, "53400", True


class TooManyConnections(Spg99Error):
    """Too many connections."""

    code, fault, http_status, sqlstate, retryable = "TooManyConnections", Fault.USER, 429, "53300", True


class ProtocolViolation(Spg99Error):
    """The peer does not speak the protocol it should."""

    code, fault, http_status, sqlstate = "ProtocolViolation", Fault.USER, 400, "08P01"


class Internal(Spg99Error):
    """Something failed inside; it was logged under the request id."""


class Damaged(Internal):
    """Stored data is missing or is not what was stored. Nothing was made of it."""

    code = "Damaged"


class Unavailable(Spg99Error):
    """The service cannot answer right now. Retry in a moment."""

    code, http_status, sqlstate, retryable = "Unavailable", 503, "57P03", True


class CannotWake(Unavailable):
    """The database cannot be started right now. Retry in a moment."""

    code = "CannotWake"


class Unreachable(Unavailable):
    """The Control Plane could not be reached."""

    code = "Unreachable"


class StoreUnavailable(Unavailable):
    """The object store does not answer, or answers with errors. Retry in a moment."""

    code = "StoreUnavailable"


class StoreFull(StoreUnavailable):
    """The object store has no room. Make some, then retry."""

    code = "StoreFull"


def _family(root: type[Spg99Error]) -> dict[str, type[Spg99Error]]:
    found: dict[str, type[Spg99Error]] = {}
    for kind in root.__subclasses__():
        found.setdefault(kind.code, kind)
        for code, member in _family(kind).items():
            found.setdefault(code, member)
    return found


def kind_and_place(error: BaseException) -> str:
    """Of an error that nobody has foreseen, what may be shown and logged anywhere: `ValueError in wire.py:12`.

    Never its text or repr, which may hold a value that is secret (that of a UnicodeEncodeError holds the whole string).
    """
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None:
        return type(error).__name__
    file = step.tb_frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{type(error).__name__} in {file}:{step.tb_lineno}"


def from_envelope(
    status: int, body: Mapping[str, Any], *, retry_after_seconds: int | None = None, request_id: str | None = None
) -> Spg99Error:
    """The error that the API's answer stands for: the class of its code, else the class of its HTTP status."""
    family = _family(Spg99Error)
    kind = family.get(str(body.get("error")))
    if kind is None:
        kind = next(
            (k for k in family.values() if k.http_status == status), Unavailable if status >= 500 else BadRequest
        )
    raw = body.get("details")
    details = dict(raw) if isinstance(raw, Mapping) else {}
    fields = details.pop("fields", None)
    return kind(
        str(body.get("message") or f"The Control Plane answered HTTP {status}."),
        fields=fields if isinstance(fields, Mapping) else None,
        details=details,
        retry_after_seconds=retry_after_seconds,
        request_id=request_id or (str(body["request_id"]) if body.get("request_id") else None),
    )
