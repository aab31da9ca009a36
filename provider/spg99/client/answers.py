"""Turns what came back from the network into a value or an error a user can act on.

Here: sentences. Not here: sending (transport.py), the classes of errors (spg99/errors.py). No sentence holds a header,
a body or the API key.
"""

from __future__ import annotations

import json
from _ssl import SSLCertVerificationError, SSLError
from typing import Any, TypeVar

from spg99.client.exchanges import (
    Late,
    NoAnswer,
    NoRoom,
    NotConnected,
    NotConnectedInTime,
    NotDecompressed,
    NotHttp,
    Response,
    parsed,
)
from spg99.client.retry import retry_after_seconds
from spg99.errors import BadRequest, Internal, Spg99Error, Unavailable, Unreachable, from_envelope

MAY_BE_DONE = "may_be_done"
"""Among an error's details: a try of this change was sent and not answered."""


def value_of(response: Response, address: str, *, request_id: str) -> Any:
    """The JSON value of a good answer (None when it has no body). Raises the error that a bad one stands for.

    `address` as in Address.text.
    """
    request_id = response.headers.get("x-request-id", request_id)
    if 300 <= response.status < 400:
        raise BadRequest(
            f"{address} redirects to {_target(response, address)} instead of answering. Set the URL of the Control Plane "
            "(SPG99_CP_URL) to where it really is: the API key is never sent to another address by itself.",
            request_id=request_id,
        )
    is_json = "json" in response.headers.get("content-type", "")
    if 200 <= response.status < 300:
        if not response.content:
            return None
        if not is_json:
            raise _foreign(response, address, request_id)
        try:
            return json.loads(response.content)
        except ValueError:
            raise Internal(
                f"The answer of {address} is not whole JSON. Something between here and the Control Plane cut it or "
                "changed it; retry, and check proxies on the way.",
                request_id=request_id,
            ) from None
    raise _error_of(response, address, request_id, is_json=is_json)


def _error_of(response: Response, address: str, request_id: str, *, is_json: bool) -> Spg99Error:
    after = retry_after_seconds(response.headers.get("retry-after", ""))
    seconds = None if after is None else int(after)
    try:
        body = json.loads(response.content) if is_json else None
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        theirs = response.headers.get("x-request-id") or body.get("request_id") or request_id
        return from_envelope(response.status, body, retry_after_seconds=seconds, request_id=str(theirs))
    # Not our envelope, so not our Control Plane. A 404 of somebody else must never read as "the object is gone":
    # a bridge would drop it from its state.
    if response.status in {429, 502, 503, 504}:
        return Unavailable(
            f"Something in front of the Control Plane at {address} answered HTTP {response.status}. "
            "Retry in a moment; if it stays, check whether the Control Plane runs.",
            retry_after_seconds=seconds,
            request_id=request_id,
        )
    return _foreign(response, address, request_id)


def _foreign(response: Response, address: str, request_id: str) -> Spg99Error:
    kind = response.headers.get("content-type", "").split(";")[0] or "no content type"
    return Unreachable(
        f"{address} answered HTTP {response.status} with {kind}: this is not a Control Plane of SPG99. "
        "Check the URL (SPG99_CP_URL, with /v2) and proxies on the way.",
        request_id=request_id,
    )


def _target(response: Response, address: str) -> str:
    from urllib.parse import urljoin

    try:
        return parsed(urljoin(address, response.headers.get("location", ""))).text
    except ValueError:
        return "another address"


def transport_error(
    error: NoAnswer, address: str, *, request_id: str, repeatable: bool, changes: bool = True
) -> Spg99Error:
    """The error for a request that got no whole answer. `changes`: it is no mere read, of which nobody asks whether something was changed; and what is waited for by reads may well have been."""
    nothing = " Nothing was changed." if changes else ""
    if isinstance(error, NotDecompressed):
        return BadRequest(
            f"The answer of {address} cannot be decompressed. Check proxies on the way.", request_id=request_id
        )
    certificate = _cause(error, SSLCertVerificationError)
    if certificate is not None:
        return Unreachable(
            f"The TLS certificate of {address} is not trusted: {certificate.verify_message}. Use the name that stands in "
            "the certificate, or let SPG99_CA_FILE (or the setting ca_file) name the CA that signed it.",
            request_id=request_id,
        )
    if _cause(error, SSLError) is not None:
        return Unreachable(
            f"{address} does not speak TLS as expected. If the Control Plane listens without TLS, use http:// in its URL.",
            request_id=request_id,
        )
    if isinstance(error, NotConnected):
        return Unreachable(
            f"The Control Plane at {address} cannot be reached: {_reason(error)}.{nothing} Check that it "
            "runs (`spg99 doctor`) and that the URL (SPG99_CP_URL) is right.",
            request_id=request_id,
        )
    if isinstance(error, NoRoom):
        return Unreachable(f"Too many requests to {address} wait for a connection.{nothing}", request_id=request_id)
    if isinstance(error, Late):
        what = "did not answer in time"
    elif isinstance(error, NotHttp):
        what = "broke off the connection or does not speak HTTP"
    else:
        what = "broke off the connection"
    hint = "Retry." if repeatable else "It may have been carried out: look before you retry."
    return Unreachable(
        f"The Control Plane at {address} {what} before the answer was whole. {hint}", request_id=request_id
    )


def unsure(error: Spg99Error) -> Spg99Error:
    """The error of the last try of a change, when an earlier one may have been carried out: it must not say that nothing was done."""
    if isinstance(error, Unavailable):
        error.message = error.message.replace("Nothing was changed.", "An earlier try may have been carried out.")
        error.args = (error.message,)
        error.details[MAY_BE_DONE] = True
    return error


def is_permanent(error: NoAnswer) -> bool:
    """True when trying again cannot help: a wrong certificate stays wrong."""
    return _cause(error, SSLError) is not None


def _reason(error: NotConnected) -> str:
    if isinstance(error, NotConnectedInTime):
        return "no connection within the time limit"
    refused = _cause(error, ConnectionRefusedError)
    text = str(error)
    if refused is not None or "refused" in text or "All connection attempts failed" in text:
        return "connection refused"
    return "its name cannot be resolved" if "Name or service" in text or "getaddrinfo" in text else "no connection"


E = TypeVar("E", bound=BaseException)


def _cause(error: BaseException | None, kind: type[E]) -> E | None:
    seen: list[BaseException] = []  # whoever raised it may have chained it to a ring
    while error is not None and not any(error is one for one in seen):
        if isinstance(error, kind):
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None
