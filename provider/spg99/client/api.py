"""Client: the public API, any noun. Here: which request stands for which call. Not here: sending it (transport.py).

A noun is named by its class (`Database`: answers are of that class) or by its shape (`shapes.Noun`: answers are plain
JSON values under our names). Bridges do the latter and never load the classes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, overload
from urllib.parse import quote, urlsplit

from spg99.client import patience
from spg99.client.shaped import checked
from spg99.client.transport import Answer, Transport
from spg99.declarer import HEADER, Declarer
from spg99.errors import BadRequest, Internal
from spg99.ids import new_id
from spg99.reach import PAGE_ITEMS_MAX, ClientSettings
from spg99.shapes import Noun

if TYPE_CHECKING:
    import httpx

    from spg99.client.events import Event
    from spg99.resources import Resource, Spec

R = TypeVar("R", bound="Resource")


class Made(NamedTuple):
    """An object that a create answered."""

    values: dict[str, Any]
    was_there: bool
    """An earlier call with the same key made it; its answer was told again. False where it may have been an attempt of this call."""
    is_kept: bool = False
    """The answer is an earlier one, told again, be it to an attempt of this very call: the object may have changed or gone since.
    Not `was_there`: that says who made the object, this says how old the answer is (transport.Answer)."""


class Client:
    """A user's client of one Control Plane. Use it as `async with Client(url, api_key) as client:`.

    `url` is the base URL with `/v2`; `ca_file` names the CAs (PEM) that may have signed its certificate, else those the
    machine trusts. Every method raises a class of spg99.errors; what may be retried was retried.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_seconds: float = 30,
        max_attempts: int = 6,
        user_agent: str | None = None,
        ca_file: str | Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not urlsplit(url).path.rstrip("/").endswith("/v2"):
            raise BadRequest(f"The URL of the Control Plane must end in /v2: '{url.rstrip('/')}/v2'?")
        self._transport = Transport(
            url,
            api_key,
            timeout_seconds=timeout_seconds,
            attempts_max=max_attempts,
            user_agent=user_agent,
            ca_file=ca_file,
            transport=transport,
        )

    @classmethod
    def of(
        cls,
        settings: ClientSettings,
        *,
        timeout_seconds: float = 30,
        max_attempts: int = 6,
        user_agent: str | None = None,
    ) -> Self:
        """A client of the Control Plane that was found (`reach.client_settings`)."""
        return cls(
            settings.cp_url,
            settings.api_key,
            ca_file=settings.ca_file,
            timeout_seconds=timeout_seconds,
            max_attempts=max_attempts,
            user_agent=user_agent,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()

    def patient(
        self, until: float, report: Callable[[str], None], interrupted: Callable[[], bool]
    ) -> AbstractContextManager[None]:
        """Requests of this task inside are tried until `until` (`time.monotonic()`), not a few times (patience.py)."""
        return patience.patient(until, report, interrupted)

    @overload
    async def create(
        self, noun: type[R], spec: Spec | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> R: ...
    @overload
    async def create(
        self, noun: Noun, spec: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> dict[str, Any]: ...
    async def create(self, noun: Any, spec: Any, *, idempotency_key: str | None = None) -> Any:
        """Creates an object. The same key with the same spec answers the first result again (24 h)."""
        values = dict(spec) if isinstance(spec, Mapping) else spec.model_dump(mode="json", exclude_unset=True)
        return _parsed(noun, (await self._create(noun, values, idempotency_key or new_id("idem"))).value)

    async def make(
        self, noun: Noun, spec: Mapping[str, Any], *, idempotency_key: str, declarer: Declarer | None = None
    ) -> Made:
        """Creates an object that `declarer` declares, and says whether an earlier call with this key had made it."""
        answer = await self._create(noun, dict(spec), idempotency_key, declarer)
        return Made(checked(noun, answer.value), answer.was_repeated, answer.is_kept)

    async def acknowledge(self, idempotency_keys: Sequence[str]) -> None:
        """Tells that the answers under these keys arrived: they are not told again as new objects (Conflict, with their ids)."""
        body = {"keys": list(idempotency_keys)}
        await self._transport.send("PUT", "/idempotency-keys/acknowledged", json=body)

    async def _create(
        self, noun: Any, values: Mapping[str, Any], idempotency_key: str, declarer: Declarer | None = None
    ) -> Answer:
        path = _collection(noun).format(**_quoted(values))
        body = {name: value for name, value in values.items() if name not in noun.path_fields()}
        return await self._transport.exchange(
            "POST", path, json=body, headers={"Idempotency-Key": idempotency_key} | _declared_by(declarer)
        )

    @overload
    async def read(
        self,
        noun: type[R],
        values: Mapping[str, Any],
        *,
        wait_for: str | None = None,
        wait_seconds: int = 0,
        declarer: Declarer | None = None,
    ) -> R: ...
    @overload
    async def read(
        self,
        noun: Noun,
        values: Mapping[str, Any],
        *,
        wait_for: str | None = None,
        wait_seconds: int = 0,
        declarer: Declarer | None = None,
    ) -> dict[str, Any]: ...
    async def read(
        self,
        noun: Any,
        values: Mapping[str, Any],
        *,
        wait_for: str | None = None,
        wait_seconds: int = 0,
        declarer: Declarer | None = None,
    ) -> Any:
        """Reads the object with these id values; with `wait_for` the answer may take `wait_seconds` (at most 60).

        `declarer` reads it as one of its own: an import, a refresh.
        """
        params = {"wait_for": wait_for, "wait": wait_seconds} if wait_for else None
        path, headers = _item(noun).format(**_quoted(values)), _declared_by(declarer)
        return _parsed(
            noun, await self._transport.send("GET", path, params=params, headers=headers, wait_seconds=wait_seconds)
        )

    @overload
    async def read_by_uid(self, noun: type[R], uid: str) -> R: ...
    @overload
    async def read_by_uid(self, noun: Noun, uid: str) -> dict[str, Any]: ...
    async def read_by_uid(self, noun: Any, uid: str) -> Any:
        """Reads an object by the system's own id (`db_...`)."""
        collection = _collection(noun).rsplit("/", 1)[-1]
        return _parsed(noun, await self._transport.send("GET", f"/{collection}/{quote(uid, safe='')}"))

    @overload
    async def update(
        self,
        noun: type[R],
        values: Mapping[str, Any],
        changes: Mapping[str, Any],
        *,
        if_match: str | None = None,
        declarer: Declarer | None = None,
    ) -> R: ...
    @overload
    async def update(
        self,
        noun: Noun,
        values: Mapping[str, Any],
        changes: Mapping[str, Any],
        *,
        if_match: str | None = None,
        declarer: Declarer | None = None,
    ) -> dict[str, Any]: ...
    async def update(
        self,
        noun: Any,
        values: Mapping[str, Any],
        changes: Mapping[str, Any],
        *,
        if_match: str | None = None,
        declarer: Declarer | None = None,
    ) -> Any:
        """Merges `changes` into the object with these id values, which `declarer` declares from then on."""
        headers = ({"If-Match": if_match} if if_match else {}) | _declared_by(declarer)
        path = _item(noun).format(**_quoted(values))
        return _parsed(noun, await self._transport.send("PATCH", path, json=dict(changes), headers=headers))

    async def delete(
        self,
        noun: type[Resource] | Noun,
        values: Mapping[str, Any],
        *,
        query: dict[str, Any] | None = None,
        if_match: str | None = None,
    ) -> dict[str, Any] | None:
        """Begins to delete the object; answers the operation when that takes time."""
        headers = {"If-Match": if_match} if if_match else None
        path = _item(noun).format(**_quoted(values))
        answer = await self._transport.send("DELETE", path, params=_query(query), headers=headers)
        return answer if isinstance(answer, dict) else None

    @overload
    def list(
        self, noun: type[R], values: Mapping[str, Any] | None = None, *, limit: int = PAGE_ITEMS_MAX, **filters: Any
    ) -> AsyncIterator[R]: ...
    @overload
    def list(
        self, noun: Noun, values: Mapping[str, Any] | None = None, *, limit: int = PAGE_ITEMS_MAX, **filters: Any
    ) -> AsyncIterator[dict[str, Any]]: ...
    async def list(
        self, noun: Any, values: Mapping[str, Any] | None = None, *, limit: int = PAGE_ITEMS_MAX, **filters: Any
    ) -> AsyncIterator[Any]:
        """All objects of a collection, page by page (`limit` a page), ordered by name."""
        cursor: str | None = None
        while True:
            params = _query(filters | {"limit": limit, "cursor": cursor})
            path = _collection(noun).format(**_quoted(values or {}))
            page = await self._transport.send("GET", path, params=params)
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise Internal("The Control Plane answered a list without items.")
            for item in page["items"]:
                yield _parsed(noun, item)
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    async def events(
        self, *, last_event_id: str | None = None, tenant: str | None = None, types: Sequence[str] | None = None
    ) -> AsyncIterator[Event]:
        """Events as they happen, without end, gap or repeat; starts after `last_event_id`, else now."""
        async for event in self.follow_events(last_event_id=last_event_id, tenant=tenant, types=types):
            if event is not None:
                yield event

    def follow_events(
        self, *, last_event_id: str | None = None, tenant: str | None = None, types: Sequence[str] | None = None
    ) -> AsyncIterator[Event | None]:
        """Like `events`, with a None each time a connection stands: what happens from then on will be told."""
        from spg99.client.events import follow  # start time: a plan that only reads follows no events

        params = {"tenant": tenant, "type": types}
        return follow(self._transport, "/events", params=params, last_event_id=last_event_id)

    async def call(
        self,
        method: str,
        path: str,
        values: Mapping[str, Any] | None = None,
        *,
        json: Any = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Any other call (`/account`, `/keys/{key_id}/rotate`, ...): the JSON value of the answer.

        `path` is written as the API's documentation writes it; `values` go into its braces, quoted.

        A POST without a key is given one, so that a lost answer can be asked for again.
        """
        sent = dict(headers or {})
        if method == "POST":
            sent["Idempotency-Key"] = idempotency_key or new_id("idem")
        wait = (params or {}).get("wait", 0)
        return await self._transport.send(
            method,
            path.format(**_quoted(values or {})),
            json=json,
            params=_query(params),
            headers=sent,
            wait_seconds=float(wait),
        )


def _declared_by(declarer: Declarer | None) -> dict[str, str]:
    return {} if declarer is None else {HEADER: declarer.header()}


def _collection(noun: type[Resource] | Noun) -> str:
    return noun.collection_path if isinstance(noun, Noun) else noun.COLLECTION_PATH


def _item(noun: type[Resource] | Noun) -> str:
    return noun.item_path if isinstance(noun, Noun) else noun.ITEM_PATH


def _quoted(values: Mapping[str, Any]) -> dict[str, str]:
    """Values fit for a path: a name with a slash must not become another path."""
    return {name: quote(str(value), safe="") for name, value in values.items()}


def _query(params: dict[str, Any] | None) -> dict[str, Any]:
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in (params or {}).items()
        if value is not None
    }


def _parsed(noun: Any, value: Any) -> Any:
    return checked(noun, value) if isinstance(noun, Noun) else _typed(noun, value)


def _typed(noun: type[R], value: Any) -> R:
    from spg99.client.typed import understood  # start time: brings pydantic along, which bridges never need

    return understood(noun, noun.NOUN, value)
