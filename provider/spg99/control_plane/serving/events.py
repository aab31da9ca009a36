"""`GET /events`: what happens, as Server-Sent Events, without gap or repeat. Here: one stream. Not here: the feed (feed.py).

A stream reads the catalogue from the position its reader knows up to where the feed was when it subscribed, and goes on
with the feed. A slow reader that fell behind does the same again.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import StreamingResponse

from spg99 import log
from spg99.control_plane.records import outbox
from spg99.control_plane.records.outbox import Event
from spg99.control_plane.serving.call import Call, Caller
from spg99.control_plane.serving.openapi import documented
from spg99.errors import BadRequest, Conflict, Spg99Error, Unavailable

router = APIRouter(prefix="/v2", tags=["events"])
KEEP_ALIVE_SECONDS = 15.0
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
    stream = _while_there(_stream(call, Filter(call.org_id, tenant_id, names), position))
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


async def _start(tx: Any, last_event_id: str | None) -> int:
    newest = await outbox.last_position(tx)
    if last_event_id is None:
        return newest
    if not (last_event_id.isascii() and last_event_id.isdigit()) or int(last_event_id) > newest:
        raise BadRequest("Last-Event-ID is not the id of an event.", fields={"Last-Event-ID": "is no id of an event"})
    position = int(last_event_id)
    if position and position < await outbox.first_position(tx) - 1:
        raise Conflict(
            "Events after this Last-Event-ID are no longer kept. Read what you follow anew, then open the stream without it.",
            details={"first_position": await outbox.first_position(tx)},
        )
    return position


async def _while_there(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for line in stream:
            yield line
    except Unavailable:
        log.get("api").warning("an event stream ends: the catalogue is away")  # its reader comes back and resumes


async def _stream(call: Call, wanted: Filter, position: int) -> AsyncIterator[bytes]:
    feed = call.plane.feed
    yield f": connected\nid: {position}\n\n".encode()
    await feed.ready.wait()
    while not feed.closing:
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
                for event in missed:
                    position = event.position
                    if wanted.shows(event):
                        yield _line(event)
                if len(missed) < _PAGE:
                    position = subscriber.begins_after
            said_at = time.monotonic()
            while not subscriber.fell_behind and not feed.closing:
                events = await subscriber.take(KEEP_ALIVE_SECONDS)
                for event in events:
                    if event.position > position:
                        position = event.position
                        if wanted.shows(event):
                            yield _line(event)
                # By the clock, not by silence: others' events may keep the feed busy for ever.
                if time.monotonic() - said_at >= KEEP_ALIVE_SECONDS:
                    said_at = time.monotonic()
                    if not await _still_welcome(call):
                        return
                    # The position moves on for readers whose events are rare, so that they can always resume.
                    yield f": keep-alive\nid: {position}\n\n".encode()


async def _still_welcome(call: Call) -> bool:
    """Whether the key still opens the door; a stream may outlive it otherwise."""
    token = call.request.headers["authorization"].split(" ", 1)[1]
    try:
        await call.plane.keys.check(token)
    except Spg99Error as error:
        return error.http_status != 401
    return True


def _line(event: Event) -> bytes:
    data = event.envelope | {"subject": event.subject, "tenant_id": event.tenant_id}
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return f"id: {event.position}\nevent: {event.event_type}\ndata: {text}\n\n".encode()
