"""A file behind a URL, also one whose download breaks off: it goes on where it was. Here: requests for parts of it (RFC 9110, 14), and how often they are tried.
Not here: calls of the API (api.py): a link needs no key, and may lead elsewhere."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Final
from urllib.parse import urljoin, urlsplit

from spg99.errors import BadRequest, Unavailable, from_envelope
from spg99.reach import bad_url

CONNECT_SECONDS: Final = 30.0
TRIES_MAX: Final = 6
"""One after the other without a byte in between."""
REDIRECTS_MAX: Final = 5
_READ_BYTES: Final = 1 << 18
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass
class _Progress:
    """What is here by now, and of what."""

    bytes_here: int = 0
    etag: str | None = None


def download(
    url: str,
    into: IO[bytes],
    *,
    context: ssl.SSLContext | None = None,
    report: Callable[[int], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Writes what is behind the URL into an empty file; answers how many bytes. A connection that breaks off is made anew, for what is missing.
    `context`: how an https server is checked; default: as the machine does. `report` is told how many bytes are here.

    Raises BadRequest for a URL that is none or is refused, Unavailable when it cannot be had after some tries; never with the URL, which may be a secret.
    """
    here, failures = _Progress(), 0
    while True:
        before = here.bytes_here
        try:
            _fetch(url, into, here, context or ssl.create_default_context(), report)
            return here.bytes_here
        except (OSError, http.client.HTTPException) as error:
            failures = failures + 1 if here.bytes_here == before else 1
            if failures >= TRIES_MAX:
                why = str(error) or type(error).__name__
                raise Unavailable(f"The download broke off after {here.bytes_here:,} bytes: {why}") from error
            sleep(min(2.0 ** (failures - 1), 15.0))


def _fetch(url: str, into: IO[bytes], here: _Progress, context: ssl.SSLContext, report: Callable[[int], None]) -> None:
    for _ in range(REDIRECTS_MAX + 1):
        if (reason := bad_url(url)) is not None:
            raise BadRequest(f"The link cannot be used. {reason}")
        parts = urlsplit(url)
        connection = (
            http.client.HTTPSConnection(parts.netloc, timeout=CONNECT_SECONDS, context=context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.netloc, timeout=CONNECT_SECONDS)
        )
        try:
            headers = {"Accept-Encoding": "identity"}
            if here.bytes_here:
                headers["Range"] = f"bytes={here.bytes_here}-"
                headers |= {"If-Range": here.etag} if here.etag else {}
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            if answer.status in _REDIRECTS and (place := answer.headers.get("Location")):
                url = urljoin(url, place)
                continue
            _take(answer, into, here, report)
            return
        finally:
            connection.close()
    raise BadRequest(f"The link leads on more than {REDIRECTS_MAX} times.")


def _take(answer: http.client.HTTPResponse, into: IO[bytes], here: _Progress, report: Callable[[int], None]) -> None:
    if answer.status == 206 and _begin_of(answer) == here.bytes_here:
        pass
    elif answer.status == 200:
        here.bytes_here = 0  # it cannot be had in parts, or is another one by now
        into.seek(0)
        into.truncate()
    else:
        _refuse(answer)
    here.etag = answer.headers.get("ETag")
    missing = answer.length
    while data := answer.read(_READ_BYTES):
        into.write(data)
        here.bytes_here += len(data)
        missing = None if missing is None else missing - len(data)
        report(here.bytes_here)
    if missing:
        raise http.client.IncompleteRead(b"", missing)


def _begin_of(answer: http.client.HTTPResponse) -> int | None:
    """Where the part begins that is answered."""
    begin = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(begin) if begin.isdecimal() else None


def _refuse(answer: http.client.HTTPResponse) -> None:
    body = answer.read(1 << 16)
    if answer.status >= 500 or answer.status == 429:
        raise http.client.HTTPException(f"the server answers {answer.status}")
    try:
        envelope = json.loads(body)
    except ValueError:
        envelope = None
    if isinstance(envelope, dict) and "error" in envelope:
        raise from_envelope(answer.status, envelope)
    raise BadRequest(f"The link is refused: the server answers {answer.status} {answer.reason}.")
