"""The stream that tells Gateways what they may no longer believe. Here: events -> Changes, where it
begins. Not here: who may read it, how a stream is written and ends (serving/sse.py)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from spg99.control_plane.records import outbox
from spg99.control_plane.records.outbox import Event
from spg99.control_plane.serving import sse
from spg99.control_plane.serving.sse import Batch, Message
from spg99.control_plane.store import Store, Transaction, Wakeups
from spg99.errors import Conflict
from spg99.protocol.gateway import CHANGES_KEEP_ALIVE_SECONDS, Change

REASONS = {
    "tenant.credentials_rotated": "credentials.rotated",
    "tenant.deleting": "tenant.deleting",
    "database.deleting": "database.deleting",
    "database.compute_changed": "compute.changed",
}
"""Types of events that void something a Gateway may have cached, and the reason it reads."""
PAGE = 500
_CANCEL = "cancel:"
"""Distinguishes a forwarded cancel from the other payloads that wake the same waiter."""


async def begin(store: Store, after: int | None) -> int:
    """The position after which a stream begins. Raises Conflict when events after `after` may be gone already."""
    async with store.transaction() as tx:
        kept = await outbox.kept(tx)
    if after is None:
        return kept.last
    if after > kept.last or kept.has_gap_after(after):
        raise Conflict("This position is too old (or from another catalogue). Forget what is cached and begin anew.")
    return after


async def forward_cancel(tx: Transaction, key_hash: str) -> None:
    """Has every stream that stands now say that this key is wanted. Nothing is kept: who is not here cannot cancel."""
    await tx.notify("spg99_cancel", _CANCEL + key_hash)


def stream(store: Store, wakeups: Wakeups, position: int) -> AsyncGenerator[bytes, None]:
    """Server-Sent Events of everything after `position`, for ever; ends when the process or the catalogue does."""
    return sse.stream(
        _batches(store, wakeups, position),
        position,
        is_closing=lambda: wakeups.closing,
        keep_alive_seconds=CHANGES_KEEP_ALIVE_SECONDS,
    )


async def _batches(store: Store, wakeups: Wakeups, position: int) -> AsyncGenerator[Batch, None]:
    # Reads the catalogue itself, not the process's feed: while the catalogue is away a Gateway must hear nothing, not silence.
    with wakeups.waiter(("spg99_published", None), ("spg99_cancel", None)) as wakeup:
        while True:
            payloads = wakeup.clear()
            cancels = [_cancel(payload.removeprefix(_CANCEL)) for payload in payloads if payload.startswith(_CANCEL)]
            if cancels:
                yield Batch(position, [Message(cancel.model_dump_json()) for cancel in cancels])
            async with store.transaction() as tx:
                last = await outbox.last_position(tx)
                events = await outbox.since(tx, position, upto=last, limit=PAGE, event_types=list(REASONS))
            position = events[-1].position if len(events) == PAGE else last
            yield Batch(position, [Message(_change(event).model_dump_json(), event.position) for event in events])
            if len(events) < PAGE:
                await wakeup.wait_for(CHANGES_KEEP_ALIVE_SECONDS)


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
