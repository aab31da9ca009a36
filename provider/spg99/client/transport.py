"""Sends one request until it is answered or given up. Not here: what is asked (api.py), when to retry (retry.py)."""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from spg99 import __version__
from spg99.client import answers, patience, retry
from spg99.client.lanes import CONNECTIONS_MAX, Lanes
from spg99.errors import BadRequest, Spg99Error, Unauthorized
from spg99.ids import new_id

ATTEMPTS_TO_FIND_MAX = 5
"""A server that never answered is more likely a wrong URL than one that restarts: say so after two seconds."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Answer(NamedTuple):
    """A good answer."""

    value: Any
    """Its JSON value; None when it has no body."""
    was_repeated: bool
    """The server told again what it had answered to an earlier call with the same Idempotency-Key. `exchange` makes it False where
    an attempt of this very call may have been that one: then the object is this call's own."""
    is_kept: bool = False
    """The answer is of then, not of now: from the same header, and kept as it came whoever was answered first. Both are needed: one
    says whose the object is, the other whether it may be gone. With one alone, a create that was retried would either
    disown what it has made, or answer with an object that was deleted meanwhile."""


class Transport:
    """Connections to one Control Plane, kept alive and shared by all calls of a client."""

    def __init__(
        self,
        base_url: str,
        bearer_token: str | None,
        *,
        timeout_seconds: float,
        attempts_max: int,
        user_agent: str | None = None,
        ca_file: str | Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        request_id_of: Callable[[], str | None] | None = None,
    ) -> None:
        url = _checked_url(base_url)
        self.address = answers.address_of(url)
        self.attempts_max = attempts_max
        self.timeout_seconds = timeout_seconds
        self._reached = False
        self._missed_at: float | None = None
        """When the first request of this process got no answer, on `time.monotonic()`'s clock."""
        self._request_id_of = request_id_of
        headers = {"Accept": "application/json", "User-Agent": user_agent or f"spg99/{__version__}"}
        verify = _trusting(url, ca_file)
        self._lanes = Lanes(
            lambda: httpx.AsyncClient(
                base_url=url,
                headers=headers,
                timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 10.0)),
                limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
                follow_redirects=False,  # the API key goes where the user said, nowhere else
                verify=verify,
                trust_env=url.host not in LOOPBACK,  # a proxy for the outside world cannot know our localhost
                transport=transport,
            )
        )
        self._http = self._lanes.first
        self.authenticate(bearer_token)

    def authenticate(self, bearer_token: str | None) -> None:
        """Sends this token from now on."""
        if bearer_token is None:
            self._http.headers.pop("authorization", None)
            return
        # httpx would put the whole header into its complaint.
        if not bearer_token.isascii() or not bearer_token.isprintable() or " " in bearer_token:
            raise Unauthorized("The API key holds characters that no key has. Was it copied with blanks or quotes?")
        self._http.headers["authorization"] = f"Bearer {bearer_token}"

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._lanes.aclose()

    async def send(self, method: str, path: str, **request: Any) -> Any:
        """The JSON value of the answer; everything else as in `exchange`."""
        return (await self.exchange(method, path, **request)).value

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        is_repeatable: bool | None = None,
        wait_seconds: float = 0.0,
    ) -> Answer:
        """The answer. Raises a Spg99Error when there is none after all attempts.

        `wait_seconds`: how long the server was asked to hold the answer back (long poll).
        """
        request_id = (self._request_id_of and self._request_id_of()) or new_id("req")
        request = self._http.build_request(
            method,
            path.lstrip("/"),
            json=json,
            params={name: value for name, value in (params or {}).items() if value is not None},
            headers={"X-Request-Id": request_id} | (headers or {}),
            timeout=httpx.Timeout(self.timeout_seconds + wait_seconds, connect=min(self.timeout_seconds, 10.0)),
        )
        again = retry.repeatable(method, request.headers) if is_repeatable is None else is_repeatable
        attempt, may_be_ours, is_lost = 0, False, False
        while True:
            attempt += 1
            outcome, result = await self._attempt(request, request_id, again, 2 * self.timeout_seconds + wait_seconds)
            if isinstance(result, Answer):
                if (waited := patience.current()) is not None:
                    waited.answered()
                # Not `is_kept`: also our own attempt's answer may be of an object that is gone by now.
                return result._replace(was_repeated=False) if may_be_ours else result
            # The server may have carried it out; then its next answer tells of this very call.
            may_be_ours = may_be_ours or not isinstance(outcome, retry.NotSent)
            is_lost = is_lost or (isinstance(outcome, retry.Lost) and method != "GET")
            waiting = patience.current()
            left = None if waiting is None else min(waiting.seconds_left(), self._seconds_to_find())
            pause = None if outcome is None else self.pause(outcome, is_repeatable=again, attempt=attempt, left=left)
            if pause is None or outcome is None:
                raise answers.unsure(result) if is_lost else result
            if waiting is None:
                await asyncio.sleep(pause)
            elif not await waiting.sleep(pause, f"{retry.in_words(outcome)} the Control Plane at {self.address}"):
                raise answers.unsure(result) if is_lost else result

    def _seconds_to_find(self) -> float:
        """What is left for the first contact of this process, however many wait for it; without end once it was made."""
        if self._reached:
            return math.inf
        now = time.monotonic()
        self._missed_at = self._missed_at or now
        return max(0.0, self._missed_at + patience.FIRST_CONTACT_SECONDS - now)

    def pause(
        self, outcome: retry.Outcome, *, is_repeatable: bool, attempt: int, left: float | None = None
    ) -> float | None:
        """Seconds before the next attempt, or None to give up. `left`: of the caller's own time."""
        lost_from_the_start = isinstance(outcome, retry.NotSent) and not self._reached
        return retry.decide(
            outcome,
            is_repeatable=is_repeatable,
            attempt=attempt,
            attempts_max=min(self.attempts_max, ATTEMPTS_TO_FIND_MAX) if lost_from_the_start else self.attempts_max,
            now=datetime.now(UTC),
            chance=random.random(),  # noqa: S311 - spreads retries, guards nothing
            seconds_left=left,
        )

    async def _attempt(
        self, request: httpx.Request, request_id: str, again: bool, seconds_max: float
    ) -> tuple[retry.Outcome | None, Any]:
        """One try: what happened (None = trying again cannot help), and the Answer or the error.

        httpx's own limits are for one read each: an answer that drips byte by byte would never end. `seconds_max` is for all.
        """
        try:
            async with asyncio.timeout(seconds_max), self._lanes.one() as http:
                response = await http.send(request)
        except TimeoutError:
            late = httpx.ReadTimeout("", request=request)
            return retry.Lost(), answers.transport_error(late, request.url, request_id=request_id, repeatable=again)
        except httpx.TransportError as error:
            failure = answers.transport_error(error, request.url, request_id=request_id, repeatable=again)
            return outcome_of(error), failure
        except httpx.DecodingError:
            return retry.Lost(), BadRequest(
                f"The answer of {answers.address_of(request.url)} cannot be decompressed. Check proxies on the way.",
                request_id=request_id,
            )
        self._reached = True
        try:
            value = answers.value_of(response, request_id=request_id)
            is_kept = response.headers.get("idempotency-replayed") == "true"
            return None, Answer(value, is_kept, is_kept)
        except Spg99Error as error:
            return retry.Answered(response.status_code, response.headers.get("retry-after")), error

    def stream(self, path: str, *, params: dict[str, Any], headers: dict[str, str], silence_seconds: float) -> Any:
        """An open request for a stream of events; an async context manager that gives the httpx response."""
        timeout = httpx.Timeout(silence_seconds, connect=min(self.timeout_seconds, 10.0))
        wanted = {name: value for name, value in params.items() if value is not None}
        return self._http.stream("GET", path.lstrip("/"), params=wanted, headers=headers, timeout=timeout)


def outcome_of(error: httpx.TransportError) -> retry.Outcome | None:
    """What a failed exchange means for a retry; None when trying again cannot help."""
    if answers.is_permanent(error):
        return None
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return retry.NotSent()
    return retry.Lost()


def _trusting(url: httpx.URL, ca_file: str | Path | None) -> ssl.SSLContext:
    """What must have signed the server's certificate: a CA of `ca_file`, else one that this machine trusts.

    Raises BadRequest when the file holds no CA.
    """
    if url.scheme == "http":
        # Reading the machine's CA certificates takes 20 ms, and plain HTTP has no use for them.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no certificate in PEM"
        raise BadRequest(
            f"The CA file '{ca_file}' (SPG99_CA_FILE, or the setting ca_file) cannot be used: {reason}. It holds the certificate of "
            "the CA that signed the Control Plane's; leave it out where the machine trusts that CA."
        ) from None


def _checked_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise BadRequest(f"The URL of the Control Plane is not valid: {error}.") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise BadRequest("The URL of the Control Plane must look like http://host:port/v2.")
    if url.userinfo:
        raise BadRequest(
            "The URL of the Control Plane must not hold a user or a password; the API key goes separately."
        )
    return url
