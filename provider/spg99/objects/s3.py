"""The object store in S3, Google Cloud Storage or Azure, by URL, through obstore. Here: its calls and errors in the contract's words. Not
here: anything that is kept there.

    s3://bucket/path     gs://bucket/path     az://account/container/path

Credentials and region come from the environment as the vendor's own tools read them (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT, ...), or from
`options`. Every request is sent again within a budget of time and number. A conditional write whose answer was lost is read back first
(settling.py): sent again blindly, it would be refused because of itself, and its writer would think that another was first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
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

from spg99.errors import BadRequest, NotFound, PreconditionFailed, Spg99Error, StoreFull, StoreUnavailable
from spg99.objects import settling
from spg99.objects.contract import Entry, Stored, checked_key, checked_prefix
from spg99.objects.settling import Found, Outcome

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
_ONCE: Final[RetryConfig] = {"max_retries": 0, "retry_timeout": timedelta(0)}
_ENDPOINTS: Final = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
_MARK: Final = "spg99write"
"""Under which name an object's metadata have the mark of a conditional write. Azure takes no dash in it."""
_FULL: Final = ("507 ", "NoSpaceLeftOnDevice", "No space left on device", "QuotaExceeded", "StorageFull")
_T = TypeVar("_T")


class RemoteStore:
    """The contract of `ObjectStore` below a URL. Raises BadRequest when the URL or an option is not understood."""

    def __init__(
        self, url: str, options: Mapping[str, str] | None = None, *, budget_seconds: float | None = None
    ) -> None:
        self.url = url
        self._budget_seconds = budget_seconds if budget_seconds is not None else BUDGET_SECONDS
        if (scheme := urlsplit(url).scheme) not in SCHEMES:
            raise BadRequest(f"'{url}' is not the URL of an object store: {', '.join(SCHEMES)} are known.")
        self._tag_field = "version" if scheme == "gs" else "e_tag"
        client = {"timeout": f"{REQUEST_SECONDS}s", "connect_timeout": "5s"}
        given = [(options or {}).get("endpoint", ""), *(os.environ.get(name, "") for name in _ENDPOINTS)]
        if any(endpoint.startswith("http://") for endpoint in given):  # who names one means it
            client["allow_http"] = "true"
        try:
            self._store: Remote = _opened(url, options, client, _again(self._budget_seconds))
            self._once: Remote = _opened(url, options, client, _ONCE)
        except (BaseError, ValueError) as error:
            raise BadRequest(f"The object store {url} cannot be used: {_first_line(error)}") from error

    async def put(self, key: str, content: bytes) -> str:
        """As the contract says."""
        return self._tag(
            await self._tried(f"put {checked_key(key)}", lambda: obstore.put_async(self._store, key, content))
        )

    async def put_if_absent(self, key: str, content: bytes) -> str | None:
        """As the contract says. None also when ours was there and was replaced before its lost answer was settled."""
        try:
            return await self._put_settled(key, content, None)
        except PreconditionFailed:
            return None

    async def put_if_tag(self, key: str, content: bytes, tag: str | None) -> str:
        """As the contract says."""
        return await self._put_settled(key, content, tag)

    async def put_contents(self, objects: Mapping[str, bytes]) -> None:
        """As the contract says."""
        todo = iter([(checked_key(key), content) for key, content in objects.items()])

        async def put_next() -> None:
            for key, content in todo:
                # Whether it was there, or our own write was whose answer was lost: it is.
                with contextlib.suppress(PreconditionFailed):
                    await self._put_settled(key, content, None)

        for result in await asyncio.gather(*(put_next() for _ in range(PUTS_AT_ONCE)), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def get(self, key: str) -> Stored:
        """As the contract says."""
        with _errors(f"read {checked_key(key)}", key):
            return await self._in_time(self._get(key))

    async def _get(self, key: str) -> Stored:
        found = await obstore.get_async(self._store, key)
        # An answer that ends in the middle is gone on with from there by obstore, if it is still the same object.
        return Stored(bytes(await found.bytes_async()), self._tag(found.meta))

    async def get_range(self, key: str, first: int, length: int) -> bytes:
        """As the contract says."""
        try:
            with _errors(f"read {checked_key(key)}", key):
                read = obstore.get_range_async(self._store, key, start=first, length=length)
                return bytes(await self._in_time(read))
        except StoreUnavailable:
            entry = await self.head(key)
            if entry is not None and first >= entry.size_bytes:
                return b""
            raise

    async def head(self, key: str) -> Entry | None:
        """As the contract says."""
        try:
            with _errors(f"read {checked_key(key)}", key):
                return _entry(await self._in_time(obstore.head_async(self._store, key)))
        except NotFound:
            return None

    async def entries(self, prefix: str, *, after: str = "") -> AsyncIterator[Entry]:
        """As the contract says. The client does not go on with a page that ends in the middle; this does, from behind the last whole one."""
        tries = _Tries(self._budget_seconds)
        while True:
            try:
                async for entry in self._list(checked_prefix(prefix), after):
                    yield entry
                    after, tries = entry.key, _Tries(self._budget_seconds)
                return
            except StoreUnavailable as error:
                await tries.pause(error)

    async def _list(self, prefix: str, after: str) -> AsyncIterator[Entry]:
        """obstore knows folders as prefixes only, so of the last one some are left out here."""
        folder = prefix.rpartition("/")[0]
        with _errors("list"):
            pages = obstore.list(self._store, folder or None, offset=after or None, chunk_size=_PAGE)
            async for page in pages:
                for found in page:
                    entry = _entry(found)
                    if entry.key.startswith(prefix) and entry.key > after:
                        yield entry

    async def delete(self, key: str) -> None:
        """As the contract says."""
        with contextlib.suppress(FileNotFoundError):
            await self._tried(
                f"delete {checked_key(key)}", lambda: obstore.delete_async(self._store, key), FileNotFoundError
            )

    async def close(self) -> None:
        """As the contract says: connections end with the object."""

    async def _put_settled(self, key: str, content: bytes, tag: str | None) -> str:
        """Puts an object in the place of the one with this tag (None: of nothing); answers its tag. Raises PreconditionFailed when it was not put, and
        StoreUnavailable when nobody knows."""
        mark, tries = secrets.token_hex(12), _Tries(self._budget_seconds)
        mode: PutMode = "create" if tag is None else {self._tag_field: tag}  # type: ignore[assignment]
        while True:
            try:
                return await self._put_once(key, content, mode, mark)
            except PreconditionFailed as error:
                if tries.number == 0:
                    raise
                # Perhaps because of an earlier one of ours.
                problem = StoreUnavailable(f"The object store refuses to put {key}, and nothing there has changed.")
                problem.__cause__ = error
            except StoreUnavailable as error:
                if isinstance(error, _Refused):
                    raise
                problem = error
            found = await self._found(key)
            match settling.outcome(found, mark=mark, tag_before=tag):
                case Outcome.WRITTEN:
                    assert found is not None
                    return found.tag
                case Outcome.OVERTAKEN if tag is None:
                    raise PreconditionFailed(f"The object {key} is there already.")
                case Outcome.OVERTAKEN:
                    raise StoreUnavailable(
                        f"Whether the object {key} was put is not known: the answer was lost, and another is there by now."
                    ) from problem
                case Outcome.NOT_YET:
                    await tries.pause(problem)

    async def _put_once(self, key: str, content: bytes, mode: PutMode, mark: str) -> str:
        with _errors(f"put {checked_key(key)}"):
            try:
                put = obstore.put_async(self._once, key, content, mode=mode, attributes={_MARK: mark})
                return self._tag(await self._in_time(put))
            except (AlreadyExistsError, PreconditionError) as error:
                raise PreconditionFailed(f"The object {key} has changed since it was read.") from error

    async def _found(self, key: str) -> Found | None:
        try:
            with _errors(f"read {key}", key):
                found = await self._in_time(obstore.get_async(self._store, key, options={"head": True}))
        except NotFound:
            return None
        mark = found.attributes.get(_MARK)
        return Found(self._tag(found.meta), str(mark) if mark is not None else None)

    async def _tried(self, what: str, call: Callable[[], Awaitable[_T]], *answers: type[Exception]) -> _T:
        """What may be done twice. The client itself sends again what is one request and was answered with an error, and not more. `answers`: errors
        that are none."""
        tries = _Tries(self._budget_seconds)
        while True:
            try:
                with _errors(what, answers=answers):
                    return await self._in_time(call())
            except StoreUnavailable as error:
                await tries.pause(error)

    async def _in_time(self, call: Awaitable[_T]) -> _T:
        """The client's own budget has no bound for a server that answers a byte now and then."""
        try:
            async with asyncio.timeout(self._budget_seconds + REQUEST_SECONDS):
                return await call
        except TimeoutError as error:
            raise StoreUnavailable(f"The object store {self.url} is too slow.") from error

    def _tag(self, found: Mapping[str, Any]) -> str:
        if not (tag := found[self._tag_field]):
            raise StoreUnavailable(
                f"The object store {self.url} answers no {self._tag_field}, without which no write is safe."
            )
        return str(tag)


class _Refused(StoreUnavailable):
    """The server has understood, and does not do it: another try does not help."""


class _Tries:
    """How often one thing was tried, and until when it is."""

    def __init__(self, budget_seconds: float) -> None:
        self.number = 0
        self._ends_at = time.monotonic() + budget_seconds

    async def pause(self, error: StoreUnavailable) -> None:
        """Before the next one. Raises the error when there is none."""
        self.number += 1
        if isinstance(error, _Refused) or self.number >= settling.TRIES_MAX or time.monotonic() > self._ends_at:
            raise error
        await asyncio.sleep(settling.pause_seconds(self.number))


def _again(budget_seconds: float) -> RetryConfig:
    return {
        "max_retries": settling.TRIES_MAX,
        "retry_timeout": timedelta(seconds=budget_seconds),
        "backoff": {
            "init_backoff": timedelta(seconds=settling.FIRST_PAUSE_SECONDS),
            "max_backoff": timedelta(seconds=settling.PAUSE_BEFORE_TRY_SECONDS_MAX),
            "base": 2,
        },
    }


def _opened(url: str, options: Mapping[str, str] | None, client: Any, retry: RetryConfig) -> Remote:
    config: Any = dict(options or {})
    return from_url(url, config=config, client_options=client, retry_config=retry)


def _entry(found: Mapping[str, Any]) -> Entry:
    return Entry(str(found["path"]), int(found["size"]), found["last_modified"])


@contextlib.contextmanager
def _errors(what: str, key: str | None = None, *, answers: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Says obstore's errors in the contract's words. `key`: of a read, for which what is not there is an answer."""
    passed_on: tuple[type[BaseException], ...] = (Spg99Error, AlreadyExistsError, PreconditionError, *answers)
    try:
        yield
    except passed_on:
        raise
    except FileNotFoundError as error:
        if key is not None:
            raise NotFound(f"The object store has no {key}.") from error
        raise _Refused(f"The object store cannot {what}: its bucket is not there.") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise _Refused(f"The object store refuses to {what}: its credentials may not.") from error
    except (BaseError, OSError, ValueError) as error:
        if any(sign in str(error) for sign in _FULL):
            raise StoreFull(f"The object store cannot {what}: it has no room.") from error
        raise StoreUnavailable(f"The object store cannot {what}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """Without what follows, which may be a page of HTML or hold a request's headers."""
    return str(error).strip().partition("\n")[0][:200]
