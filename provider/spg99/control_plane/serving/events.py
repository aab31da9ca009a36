"""`GET /events`: what happens, as Server-Sent Events, without gap or repeat. Here: one stream. Not here: the feed
(feed.py), how a stream is written and ends (sse.py).

A stream reads the catalogue from the position its reader knows up to where the feed was when it subscribed, and goes on
with the feed. A slow reader that fell behind does the same again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import StreamingResponse

from spg99.control_plane.records import outbox
from spg99.control_plane.records.outbox import Event
from spg99.control_plane.serving import sse
from spg99.control_plane.serving.call import Call, Caller
from spg99.control_plane.serving.openapi import documented
from spg99.control_plane.serving.sse import Batch, Message
from spg99.control_plane.store import Transaction
from spg99.errors import BadRequest, Conflict, Spg99Error

router = APIRouter(prefix="/v2", tags=["events"])
_PAGE = 500

_document = documented("events.read", 200, None, "A stream that does not end", errors=(409,))
_document["responses"][200]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}


@dataclass(frozen=True)
class Filter:
    """Which events a stream shows."""

    org_id: str
    tenant_id: str | None
    types: frozenset[str]
    """`database.ready`, or `database.*` for all that begin so; empty = all."""

    def shows(self, event: Event) -> bool:
        """Whether this event belongs into the stream."""
        if event.org_id != self.org_id or (self.tenant_id is not None and event.tenant_id != self.tenant_id):
            return False
        family = event.event_type.split(".")[0] + ".*"
        return not self.types or event.event_type in self.types or family in self.types


@router.get("/events", **_document, response_class=StreamingResponse)
async def read(
    call: Caller,
    tenant: Annotated[str | None, Query(description="Only events of this tenant (its name).", max_length=63)] = None,
    type: Annotated[
        list[str] | None,
        Query(description="Only events of these types: `database.ready`, `database.*`; repeat it or use commas."),
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="Go on after this event. Default: from now on.", max_length=20),
    ] = None,
) -> StreamingResponse:
    """Streams events: `id` is the position to resume after, `event` the type, `data` the envelope as JSON.

    The first line with an `id` and no data tells where the stream begins. 409 when the position is older than what is
    kept (7 days): read what you follow anew, then open the stream without Last-Event-ID.
    """
    call.request.scope["state"]["waits"] = True
    async with call.plane.store.transaction() as tx:
        tenant_id = call.only_tenant_id
        if tenant is not None:
            tenant_id = (await call.plane.tenant_of(tx, call, tenant)).tenant_id
        position = await _start(tx, last_event_id)
    names = frozenset(name.strip() for given in type or [] for name in given.split(",") if name.strip())
    batches = _batches(call, Filter(call.org_id, tenant_id, names), position)
    return sse.answer(
        sse.stream(
            batches, position, is_closing=lambda: call.plane.feed.closing, is_allowed=partial(_is_key_valid, call)
        )
    )


async def _start(tx: Transaction, last_event_id: str | None) -> int:
    kept = await outbox.kept(tx)
    if last_event_id is None:
        return kept.last
    if not (last_event_id.isascii() and last_event_id.isdigit()) or int(last_event_id) > kept.last:
        raise BadRequest("Last-Event-ID is not the id of an event.", fields={"Last-Event-ID": "is no id of an event"})
    position = int(last_event_id)
    if position and kept.has_gap_after(position):  # 0 asks for all that is kept, whatever that is
        raise Conflict(
            "Events after this Last-Event-ID are no longer kept. Read what you follow anew, then open the stream without it.",
            details={"first_position": kept.first},
        )
    return position


async def _batches(call: Call, wanted: Filter, position: int) -> AsyncGenerator[Batch, None]:
    feed = call.plane.feed

    def shown(events: list[Event]) -> list[Message]:
        return [_message(event) for event in events if wanted.shows(event)]

    await feed.ready.wait()
    while True:
        with feed.subscribe() as subscriber:
            while position < subscriber.begins_after:
                async with call.plane.store.transaction() as tx:
                    missed = await outbox.since_for(
                        tx,
                        position,
                        upto=subscriber.begins_after,
                        limit=_PAGE,
                        org_id=wanted.org_id,
                        tenant_id=wanted.tenant_id,
                    )
                position = missed[-1].position if len(missed) == _PAGE else subscriber.begins_after
                yield Batch(position, shown(missed))
            while not subscriber.fell_behind:
                events = [e for e in await subscriber.take(sse.KEEP_ALIVE_SECONDS) if e.position > position]
                position = events[-1].position if events else position
                yield Batch(position, shown(events))


async def _is_key_valid(call: Call) -> bool:
    """Whether the key that opened the stream still holds."""
    token = call.request.headers["authorization"].split(" ", 1)[1]
    try:
        await call.plane.keys.check(token)
    except Spg99Error as error:
        return error.http_status != 401
    return True


def _message(event: Event) -> Message:
    data = event.envelope | {"subject": event.subject, "tenant_id": event.tenant_id}
    return Message(json.dumps(data, separators=(",", ":"), ensure_ascii=False), event.position, event.event_type)
