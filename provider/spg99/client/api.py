"""Client: the public API, any noun. Here: which request stands for which wish. Not here: sending it (transport.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from spg99.client.events import Event, follow
from spg99.client.transport import Transport
from spg99.errors import BadRequest, Internal
from spg99.ids import new_id
from spg99.resources import Resource, Spec

R = TypeVar("R", bound=Resource)


class Client:
    """A user's door to one Control Plane. Use it as `async with Client(url, api_key) as client:`.

    `url` is the base URL with `/v2`. Every method raises a class of spg99.errors; what may be retried was retried.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_seconds: float = 30,
        max_attempts: int = 6,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not urlsplit(url).path.rstrip("/").endswith("/v2"):
            raise BadRequest(f"The URL of the Control Plane must end in /v2: '{url.rstrip('/')}/v2'?")
        self._transport = Transport(
            url, api_key, timeout_seconds=timeout_seconds, attempts_max=max_attempts, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()

    async def create(self, noun: type[R], spec: Spec | dict[str, Any], *, idempotency_key: str | None = None) -> R:
        """Creates an object. The same key with the same spec answers the first result again (24 h)."""
        values = spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, Spec) else dict(spec)
        path = noun.collection_path(_quoted(values))
        body = {name: value for name, value in values.items() if name not in noun.path_fields()}
        return _parsed(noun, await self.call("POST", path, json=body, idempotency_key=idempotency_key))

    async def read(
        self, noun: type[R], values: dict[str, Any], *, wait_for: str | None = None, wait_seconds: int = 0
    ) -> R:
        """Reads the object with these id values; with `wait_for` the answer may take `wait_seconds` (at most 60)."""
        params = {"wait_for": wait_for, "wait": wait_seconds} if wait_for else None
        path = noun.item_path(_quoted(values))
        return _parsed(noun, await self._transport.send("GET", path, params=params, wait_seconds=wait_seconds))

    async def read_by_uid(self, noun: type[R], uid: str) -> R:
        """Reads an object by the system's own id (`db_...`)."""
        collection = noun.COLLECTION_PATH.rsplit("/", 1)[-1]
        return _parsed(noun, await self._transport.send("GET", f"/{collection}/{quote(uid, safe='')}"))

    async def update(
        self, noun: type[R], values: dict[str, Any], changes: dict[str, Any], *, if_match: str | None = None
    ) -> R:
        """Merges `changes` into the object with these id values."""
        headers = {"If-Match": if_match} if if_match else None
        path = noun.item_path(_quoted(values))
        return _parsed(noun, await self._transport.send("PATCH", path, json=changes, headers=headers))

    async def delete(
        self,
        noun: type[R],
        values: dict[str, Any],
        *,
        query: dict[str, Any] | None = None,
        if_match: str | None = None,
    ) -> dict[str, Any] | None:
        """Begins to delete the object; answers the operation when that takes time."""
        headers = {"If-Match": if_match} if if_match else None
        answer = await self._transport.send(
            "DELETE", noun.item_path(_quoted(values)), params=_query(query), headers=headers
        )
        return answer if isinstance(answer, dict) else None

    async def list(
        self, noun: type[R], values: dict[str, Any] | None = None, *, limit: int = 500, **filters: Any
    ) -> AsyncIterator[R]:
        """All objects of a collection, page by page (`limit` a page), ordered by name."""
        cursor: str | None = None
        while True:
            params = _query(filters | {"limit": limit, "cursor": cursor})
            page = await self._transport.send("GET", noun.collection_path(_quoted(values or {})), params=params)
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
        params = {"tenant": tenant, "type": types}
        return follow(self._transport, "/events", params=params, last_event_id=last_event_id)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Any other call (`/account`, `/keys/{id}/rotate`, ...): the JSON value of the answer.

        A POST without a key is given one, so that a lost answer can be asked for again.
        """
        sent = dict(headers or {})
        if method == "POST":
            sent["Idempotency-Key"] = idempotency_key or new_id("idem")
        wait = (params or {}).get("wait", 0)
        return await self._transport.send(
            method, path, json=json, params=_query(params), headers=sent, wait_seconds=float(wait)
        )


def _quoted(values: dict[str, Any]) -> dict[str, str]:
    """Values fit for a path: a name with a slash must not become another path."""
    return {name: quote(str(value), safe="") for name, value in values.items()}


def _query(params: dict[str, Any] | None) -> dict[str, Any]:
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in (params or {}).items()
        if value is not None
    }


def _parsed(noun: type[R], value: Any) -> R:
    from pydantic import ValidationError

    try:
        return noun.model_validate(value)
    except ValidationError as error:
        # Names of fields only: pydantic would quote the values, and some are secrets.
        fields = ", ".join(sorted({".".join(map(str, e["loc"])) or "(all)" for e in error.errors(include_input=False)}))
        raise Internal(
            f"The Control Plane answered a {noun.NOUN} that this version does not understand (fields: {fields}). "
            "Client and Control Plane should have the same version."
        ) from None
