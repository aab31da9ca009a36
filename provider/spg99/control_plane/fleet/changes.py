"""The stream that tells Gateways what they may no longer believe. Here: events -> Changes, resuming. Not here: who may read it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from spg99 import log
from spg99.control_plane.records import outbox
from spg99.control_plane.records.outbox import Event
from spg99.control_plane.store import Store, Transaction, Wakeups
from spg99.errors import Conflict, Unavailable
from spg99.protocol.gateway import Change

REASONS = {
    "tenant.credentials_rotated": "credentials.rotated",
    "tenant.deleting": "tenant.deleting",
    "database.deleting": "database.deleting",
    "database.compute_changed": "compute.changed",
}
"""Types of events that void something a Gateway may have cached, and the reason it reads."""
KEEPALIVE_SECONDS = 15.0
PAGE = 500
_CANCEL = "cancel:"
"""Tells a forwarded cancel from the other payloads that ring the same bell."""


async def begin(store: Store, after: int | None) -> int:
    """The position after which a stream begins. Raises Conflict when events after `after` may be gone already."""
    async with store.transaction() as tx:
        last = await outbox.last_position(tx)
        first = await outbox.first_position(tx)
    if after is None:
        return last
    if after > last or (first > 0 and after < first - 1):
        raise Conflict("This position is too old (or from another catalogue). Forget what is cached and begin anew.")
    return after


async def forward_cancel(tx: Transaction, key_hash: str) -> None:
    """Has every stream that stands now say that this key is wanted. Nothing is kept: who is not here cannot cancel."""
    await tx.notify("spg99_cancel", _CANCEL + key_hash)


async def stream(store: Store, wakeups: Wakeups, position: int) -> AsyncGenerator[bytes, None]:
    """Server-Sent Events of everything after `position`, for ever; ends when the process or the catalogue does."""
    # The position goes out first: a stream that breaks before its first change still knows where to go on.
    yield f"id: {position}\n: open\n\n".encode()
    with wakeups.waiter(("spg99_published", None), ("spg99_cancel", None)) as bell:
        while not wakeups.closing:
            for payload in bell.clear():
                if payload.startswith(_CANCEL):
                    yield f"data: {_cancel(payload.removeprefix(_CANCEL)).model_dump_json()}\n\n".encode()
            try:
                async with store.transaction() as tx:
                    last = await outbox.last_position(tx)
                    events = await outbox.since(tx, position, upto=last, limit=PAGE, event_types=list(REASONS))
            except Unavailable:
                log.get("api").warning("a stream of changes ends: the catalogue is away")
                return
            for event in events:
                yield f"id: {event.position}\ndata: {_change(event).model_dump_json()}\n\n".encode()
            position = events[-1].position if len(events) == PAGE else last
            if len(events) < PAGE and not await bell.wait_for(KEEPALIVE_SECONDS):
                yield f"id: {position}\n: still here\n\n".encode()


def _cancel(key_hash: str) -> Change:
    return Change(kind="cancel", reason="cancel.forwarded", cancel_key_hash=key_hash)


def _change(event: Event) -> Change:
    payload = event.envelope.get("payload", {})
    is_tenant = event.event_type.startswith("tenant.")
    return Change(
        kind="tenant" if is_tenant else "database",
        tenant_id=event.tenant_id or "",
        db_id=None if is_tenant else event.subject,
        lease_control_epoch=None if is_tenant else payload.get("lease_control_epoch"),
        reason=REASONS[event.event_type],
    )
