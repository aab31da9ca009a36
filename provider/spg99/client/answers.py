"""Turns what came back from the network into a value or an error a user can act on.

Here: sentences. Not here: sending (transport.py), the classes of errors (spg99/errors.py). No sentence holds a header,
a body or the API key.
"""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx

from spg99.client.retry import retry_after_seconds
from spg99.errors import BadRequest, Internal, Spg99Error, Unavailable, Unreachable, from_envelope

MAY_BE_DONE = "may_be_done"
"""Among an error's details: a try of this change was sent and not answered."""


def address_of(url: httpx.URL) -> str:
    """Scheme, host and port of a URL: what a user can check, without user information or query."""
    port = f":{url.port}" if url.port else ""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{port}"


def value_of(response: httpx.Response, *, request_id: str) -> Any:
    """The JSON value of a good answer (None when it has no body). Raises the error that a bad one stands for."""
    request_id = response.headers.get("x-request-id", request_id)
    address = address_of(response.url)
    if response.is_redirect:
        raise BadRequest(
            f"{address} redirects to {_target(response)} instead of answering. Set the URL of the Control Plane "
            "(SPG99_CP_URL) to where it really is: the API key is never sent to another address by itself.",
            request_id=request_id,
        )
    is_json = "json" in response.headers.get("content-type", "")
    if response.is_success:
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


def _error_of(response: httpx.Response, address: str, request_id: str, *, is_json: bool) -> Spg99Error:
    after = retry_after_seconds(response.headers.get("retry-after", ""), datetime.now(UTC))
    seconds = None if after is None else int(after)
    try:
        body = json.loads(response.content) if is_json else None
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        theirs = response.headers.get("x-request-id") or body.get("request_id") or request_id
        return from_envelope(response.status_code, body, retry_after_seconds=seconds, request_id=str(theirs))
    # Not our envelope, so not our Control Plane. A 404 of somebody else must never read as "the object is gone":
    # a bridge would drop it from its state.
    if response.status_code in {429, 502, 503, 504}:
        return Unavailable(
            f"Something in front of the Control Plane at {address} answered HTTP {response.status_code}. "
            "Retry in a moment; if it stays, check whether the Control Plane runs.",
            retry_after_seconds=seconds,
            request_id=request_id,
        )
    return _foreign(response, address, request_id)


def _foreign(response: httpx.Response, address: str, request_id: str) -> Spg99Error:
    kind = response.headers.get("content-type", "").split(";")[0] or "no content type"
    return Unreachable(
        f"{address} answered HTTP {response.status_code} with {kind}: this is not a Control Plane of SPG99. "
        "Check the URL (SPG99_CP_URL, with /v2) and proxies on the way.",
        request_id=request_id,
    )


def _target(response: httpx.Response) -> str:
    try:
        return address_of(response.url.join(response.headers.get("location", "")))
    except httpx.InvalidURL:
        return "another address"


def transport_error(error: httpx.TransportError, url: httpx.URL, *, request_id: str, repeatable: bool) -> Spg99Error:
    """The error for a request that got no whole answer."""
    address = address_of(url)
    certificate = _cause(error, ssl.SSLCertVerificationError)
    if certificate is not None:
        return Unreachable(
            f"The TLS certificate of {address} is not trusted: {certificate.verify_message}. Use the name that stands in "
            "the certificate, or let SPG99_CA_FILE (or the setting ca_file) name the CA that signed it.",
            request_id=request_id,
        )
    if _cause(error, ssl.SSLError) is not None:
        return Unreachable(
            f"{address} does not speak TLS as expected. If the Control Plane listens without TLS, use http:// in its URL.",
            request_id=request_id,
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Unreachable(
            f"The Control Plane at {address} cannot be reached: {_reason(error)}. Nothing was changed. Check that it "
            "runs (`spg99 doctor`) and that the URL (SPG99_CP_URL) is right.",
            request_id=request_id,
        )
    if isinstance(error, httpx.PoolTimeout):
        return Unreachable(
            f"Too many requests to {address} wait for a connection. Nothing was changed.", request_id=request_id
        )
    if isinstance(error, httpx.TimeoutException):
        what = "did not answer in time"
    elif isinstance(error, httpx.RemoteProtocolError):
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


def is_permanent(error: httpx.TransportError) -> bool:
    """True when trying again cannot help: a wrong certificate stays wrong."""
    return _cause(error, ssl.SSLError) is not None or isinstance(error, httpx.UnsupportedProtocol)


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
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
