"""Sends one request until it is answered or given up. Not here: what is asked (api.py), when to retry (retry.py)."""

from __future__ import annotations

import math
import os
import sys
import time
from _thread import allocate_lock
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spg99 import __version__
from spg99.client import answers, exchanges, loopless, patience, retry
from spg99.client.exchanges import LOOPBACK, Address, Late, NoAnswer, NoRoom, NotConnected, Request
from spg99.errors import BadRequest, Spg99Error, Unauthorized
from spg99.ids import new_id

if TYPE_CHECKING:
    import ssl

    import httpx

    from spg99.client.in_loop import InLoop
    from spg99.client.over_httpx import OverHttpx
    from spg99.client.sockets import Sockets

ATTEMPTS_TO_FIND_MAX = 5
"""A server that never answered is more likely a wrong URL than one that restarts: say so after two seconds."""
CONNECT_SECONDS_MAX = 10.0


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
        self._address = _checked(base_url)
        self.address = self._address.text
        self.attempts_max = attempts_max
        self.timeout_seconds = timeout_seconds
        self._reached = False
        self._missed_at: float | None = None
        """When the first request of this process got no answer, on `time.monotonic()`'s clock."""
        self._request_id_of = request_id_of
        self._headers = {"Accept": "application/json", "User-Agent": user_agent or f"spg99/{__version__}"}
        self._context = _trusting(self._address, ca_file)
        self._given = transport
        self._lock = allocate_lock()
        self._sockets: Sockets | None = None
        self._in_loop: InLoop | OverHttpx | None = None
        self.authenticate(bearer_token)

    @property
    def needs_httpx(self) -> bool:
        """Whether only httpx knows the way, through a proxy above all; it runs in an event loop."""
        return self._given is not None or not self._address.host.isascii() or _may_have_proxy(self._address)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What must be so that the server is trusted; None without TLS."""
        return self._context

    def authenticate(self, bearer_token: str | None) -> None:
        """Sends this token from now on."""
        if bearer_token is None:
            self._headers.pop("Authorization", None)
            return
        # A complaint further down might hold the whole header.
        if not bearer_token.isascii() or not bearer_token.isprintable() or " " in bearer_token:
            raise Unauthorized("The API key holds characters that no key has. Was it copied with blanks or quotes?")
        self._headers["Authorization"] = f"Bearer {bearer_token}"

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._sockets is not None:
            self._sockets.close()
        if self._in_loop is not None:
            await self._in_loop.aclose()

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
        if loopless.current() is not None and self.needs_httpx:
            await loopless.into_loop()
        request_id = (self._request_id_of and self._request_id_of()) or new_id("req")
        request = self._request(
            method,
            path,
            params,
            {"X-Request-Id": request_id} | (headers or {}),
            self.timeout_seconds + wait_seconds,
            json,
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
                await loopless.sleep(pause)
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
            chance=_chance(),
            seconds_left=left,
        )

    async def _attempt(
        self, request: Request, request_id: str, again: bool, seconds_max: float
    ) -> tuple[retry.Outcome | None, Any]:
        """One try: what happened (None = trying again cannot help), and the Answer or the error.

        A request's own limits are for one read each: an answer that drips byte by byte would never end. `seconds_max` is for all.
        """
        try:
            async with loopless.TimeLimit(seconds_max):
                response = await self._carrier().send(request)
        except TimeoutError:
            return retry.Lost(), answers.transport_error(
                Late(), self.address, request_id=request_id, repeatable=again, changes=request.method != "GET"
            )
        except NoAnswer as error:
            failure = answers.transport_error(
                error, self.address, request_id=request_id, repeatable=again, changes=request.method != "GET"
            )
            return outcome_of(error), failure
        self._reached = True
        try:
            value = answers.value_of(response, self.address, request_id=request_id)
            is_kept = response.headers.get("idempotency-replayed") == "true"
            return None, Answer(value, is_kept, is_kept)
        except Spg99Error as error:
            return retry.Answered(response.status, response.headers.get("retry-after")), error

    def stream(
        self, path: str, *, params: dict[str, Any], headers: dict[str, str], silence_seconds: float
    ) -> AbstractAsyncContextManager[tuple[exchanges.Response, AsyncIterator[bytes] | None]]:
        """An open request for a stream of events; as InLoop.stream."""
        return self._of_the_loop().stream(self._request("GET", path, params, headers, silence_seconds))

    def _request(
        self,
        method: str,
        path: str,
        params: dict[str, Any] | None,
        headers: dict[str, str],
        answer_seconds: float,
        json: Any = None,
    ) -> Request:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        query = ""
        if given:
            from urllib.parse import quote, urlencode

            query = "?" + urlencode(given, doseq=True, quote_via=quote)
        content = None
        if json is not None:
            content = dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            headers = {"Content-Type": "application/json", **headers}
        return Request(
            method,
            f"{self._address.path}/{path.lstrip('/')}{query}",
            self._headers | headers,
            content,
            answer_seconds,
            min(self.timeout_seconds, CONNECT_SECONDS_MAX),
        )

    def _carrier(self) -> Sockets | InLoop | OverHttpx:
        if loopless.current() is None:
            return self._of_the_loop()
        with self._lock:
            if self._sockets is None:
                from spg99.client.sockets import Sockets

                self._sockets = Sockets(self._address, self._context)
            return self._sockets

    def _of_the_loop(self) -> InLoop | OverHttpx:
        if self._in_loop is None:
            if self.needs_httpx:
                from spg99.client.over_httpx import OverHttpx

                self._in_loop = OverHttpx(self._address, self._context, self._given)
            else:
                from spg99.client.in_loop import InLoop

                self._in_loop = InLoop(self._address, self._context)
        return self._in_loop


def outcome_of(error: NoAnswer) -> retry.Outcome | None:
    """What a failed exchange means for a retry; None when trying again cannot help."""
    if answers.is_permanent(error):
        return None
    return retry.NotSent() if isinstance(error, NotConnected | NoRoom) else retry.Lost()


def _chance() -> float:
    """A number from 0 to 1 that spreads retries; `random` would be one more import of every start."""
    return int.from_bytes(os.urandom(4)) / 2**32


def _may_have_proxy(address: Address) -> bool:
    if address.host in LOOPBACK:
        return False
    if sys.platform in ("darwin", "win32"):  # the system's own settings count there
        from urllib.request import getproxies

        return bool(getproxies())
    return any(
        value and name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name, value in os.environ.items()
    )


def _trusting(address: Address, ca_file: str | Path | None) -> ssl.SSLContext | None:
    """What must have signed the server's certificate: a CA of `ca_file`, else one that SSL_CERT_FILE or SSL_CERT_DIR names, else
    one of certifi's. None without TLS.

    Raises BadRequest when the file holds no CA.
    """
    if address.scheme == "http":
        return None
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file) if ca_file is not None else _machines()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        if ca_file is None:
            raise
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no certificate in PEM"
        raise BadRequest(
            f"The CA file '{ca_file}' (SPG99_CA_FILE, or the setting ca_file) cannot be used: {reason}. It holds the certificate of "
            "the CA that signed the Control Plane's; leave it out where the machine trusts that CA."
        ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _machines() -> ssl.SSLContext:
    """As httpx.create_ssl_context, without httpx."""
    import ssl

    if file := os.environ.get("SSL_CERT_FILE"):
        return ssl.create_default_context(cafile=file)
    if folder := os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=folder)
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def _checked(text: str) -> Address:
    try:
        address = exchanges.parsed(text)
    except ValueError as error:
        raise BadRequest(f"The URL of the Control Plane is not valid: {error}.") from None
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise BadRequest(
            "The URL of the Control Plane must not hold a user or a password; the API key goes separately."
        )
    if address.scheme not in exchanges.PORTS or not address.host:
        raise BadRequest("The URL of the Control Plane must look like http://host:port/v2.")
    return address
