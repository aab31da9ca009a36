"""The object store in S3, Google Cloud Storage or Azure, by URL, through obstore. Here: its calls and errors in the contract's words. Not
here: anything that is kept there.

    s3://bucket/path     gs://bucket/path     az://account/container/path

Credentials and region come from the environment as the vendor's own tools read them (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT, ...), or from
`options`. Requests that may be sent twice are, within a budget. Conditional writes are sent once: after a lost answer a second one would
be refused because of the first. Their caller gets StoreUnavailable, and reads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

from spg99.errors import BadRequest, NotFound, PreconditionFailed, Spg99Error, StoreUnavailable
from spg99.objects.contract import Entry, Stored, checked_key, checked_prefix

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ObjectStore as Remote
    from obstore.store import RetryConfig

SCHEMES: Final = ("s3", "gs", "az")
PUTS_AT_ONCE: Final = 16
BUDGET_SECONDS: Final = 30
"""In which a request is sent again after an error of the server or the network; the last one may take REQUEST_SECONDS more."""
REQUEST_SECONDS: Final = 20
_PAGE: Final = 1000
_AGAIN: Final[RetryConfig] = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=BUDGET_SECONDS),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
_ONCE: Final[RetryConfig] = {"max_retries": 0, "retry_timeout": timedelta(0)}


class RemoteStore:
    """The contract of `ObjectStore` below a URL. Raises BadRequest when the URL or an option is not understood."""

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self.url = url
        if (scheme := urlsplit(url).scheme) not in SCHEMES:
            raise BadRequest(f"'{url}' is not the URL of an object store: {', '.join(SCHEMES)} are known.")
        self._tag_field = "version" if scheme == "gs" else "e_tag"
        client = {"timeout": f"{REQUEST_SECONDS}s", "connect_timeout": "5s"}
        if (options or {}).get("endpoint", "").startswith("http://"):
            client["allow_http"] = "true"
        try:
            self._store: Remote = _opened(url, options, client, _AGAIN)
            self._once: Remote = _opened(url, options, client, _ONCE)
        except (BaseError, ValueError) as error:
            raise BadRequest(f"The object store {url} cannot be used: {_first_line(error)}") from error

    async def put(self, key: str, content: bytes) -> str:
        """As the contract says."""
        with _errors(f"put {checked_key(key)}"):
            return self._tag(await obstore.put_async(self._store, key, content))

    async def put_if_absent(self, key: str, content: bytes) -> str | None:
        """As the contract says."""
        try:
            return await self._put_once(key, content, "create")
        except PreconditionFailed:
            return None

    async def put_if_tag(self, key: str, content: bytes, tag: str | None) -> str:
        """As the contract says."""
        mode: Any = "create" if tag is None else {self._tag_field: tag}
        return await self._put_once(key, content, mode)

    async def put_contents(self, objects: Mapping[str, bytes]) -> None:
        """As the contract says."""
        todo = iter([(checked_key(key), content) for key, content in objects.items()])

        async def put_next() -> None:
            for key, content in todo:
                with _errors(f"put {key}"), contextlib.suppress(AlreadyExistsError):
                    await obstore.put_async(self._store, key, content, mode="create")

        for result in await asyncio.gather(*(put_next() for _ in range(PUTS_AT_ONCE)), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def get(self, key: str) -> Stored:
        """As the contract says."""
        with _errors(f"read {checked_key(key)}", key):
            found = await obstore.get_async(self._store, key)
            # An answer that ends in the middle is gone on with from there by obstore, if it is still the same object.
            return Stored(bytes(await found.bytes_async()), self._tag(found.meta))

    async def get_range(self, key: str, first: int, length: int) -> bytes:
        """As the contract says."""
        try:
            with _errors(f"read {checked_key(key)}", key):
                return bytes(await obstore.get_range_async(self._store, key, start=first, length=length))
        except StoreUnavailable:
            entry = await self.head(key)
            if entry is not None and first >= entry.size_bytes:
                return b""
            raise

    async def head(self, key: str) -> Entry | None:
        """As the contract says."""
        try:
            with _errors(f"read {checked_key(key)}", key):
                return _entry(await obstore.head_async(self._store, key))
        except NotFound:
            return None

    async def entries(self, prefix: str, *, after: str = "") -> AsyncIterator[Entry]:
        """As the contract says. obstore knows folders as prefixes only, so of the last one some are left out here."""
        folder = checked_prefix(prefix).rpartition("/")[0]
        with _errors("list"):
            pages = obstore.list(self._store, folder or None, offset=after or None, chunk_size=_PAGE)
            async for page in pages:
                for found in page:
                    entry = _entry(found)
                    if entry.key.startswith(prefix) and entry.key > after:
                        yield entry

    async def delete(self, key: str) -> None:
        """As the contract says."""
        with _errors(f"delete {checked_key(key)}"), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, key)

    async def close(self) -> None:
        """As the contract says: connections end with the object."""

    async def _put_once(self, key: str, content: bytes, mode: PutMode) -> str:
        with _errors(f"put {checked_key(key)}"):
            try:
                return self._tag(await obstore.put_async(self._once, key, content, mode=mode))
            except (AlreadyExistsError, PreconditionError) as error:
                raise PreconditionFailed(f"The object {key} has changed since it was read.") from error

    def _tag(self, found: Mapping[str, Any]) -> str:
        if not (tag := found[self._tag_field]):
            raise StoreUnavailable(
                f"The object store {self.url} answers no {self._tag_field}, without which no write is safe."
            )
        return str(tag)


def _opened(url: str, options: Mapping[str, str] | None, client: Any, retry: RetryConfig) -> Remote:
    config: Any = dict(options or {})
    return from_url(url, config=config, client_options=client, retry_config=retry)


def _entry(found: Mapping[str, Any]) -> Entry:
    return Entry(str(found["path"]), int(found["size"]), found["last_modified"])


@contextlib.contextmanager
def _errors(what: str, key: str | None = None) -> Iterator[None]:
    """Says obstore's errors in the contract's words. `key`: of a read, for which what is not there is an answer."""
    try:
        yield
    except (Spg99Error, AlreadyExistsError, PreconditionError):
        raise
    except FileNotFoundError as error:
        if key is not None:
            raise NotFound(f"The object store has no {key}.") from error
        raise StoreUnavailable(f"The object store cannot {what}: its bucket is not there.") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StoreUnavailable(f"The object store refuses to {what}: its credentials may not.") from error
    except (BaseError, OSError, ValueError) as error:
        raise StoreUnavailable(f"The object store cannot {what}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """Without what follows, which may be a page of HTML or hold a request's headers."""
    return str(error).strip().partition("\n")[0][:200]
