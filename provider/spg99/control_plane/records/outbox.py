"""The outbox: an event is a row written with the change it tells of; the relay gives it its place in the order readers see.

Here: publishing, numbering, reading, forgetting. Not here: who listens (serving/events.py, fleet/changes.py: both through serving/sse.py).
Why the relay: numbers drawn while transactions run come out of order at commit, so a reader who remembers "up to 17" could
miss a 16 that commits later. One relay at a time (an advisory lock) numbers only what is committed; `position` therefore
appears in order, and "everything after the position I know" never misses or repeats a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from spg99 import log
from spg99.control_plane.store import Store, Transaction
from spg99.ids import new_id

RELAY_ROWS_MAX = 1000
KEPT_FOR = timedelta(days=7)


@dataclass(frozen=True)
class Event:
    """One published event."""

    position: int
    event_id: str
    event_type: str
    subject: str
    org_id: str | None
    tenant_id: str | None
    envelope: dict[str, Any]


@dataclass(frozen=True)
class Relayed:
    """What one turn of the relay did."""

    alone: bool
    """False: another Control Plane holds the relay's lock; look again soon."""
    published: int
    last_position: int


@dataclass(frozen=True)
class Lag:
    """How far the relay is behind."""

    pending: int
    oldest_at: datetime | None


@dataclass(frozen=True)
class Kept:
    """The positions that can still be read, both inclusive; 0 before the first event."""

    first: int
    last: int

    def has_gap_after(self, position: int) -> bool:
        """Whether events between this position and the first that is kept are gone."""
        return position < self.first - 1


async def publish(
    tx: Transaction,
    event_type: str,
    *,
    subject: str,
    org_id: str | None,
    tenant_id: str | None,
    payload: dict[str, Any],
    correlation_id: str | None = None,
) -> str:
    """Writes an event (`database.ready`) about `subject` (`db_...`) with the change it tells of; answers its id.

    `correlation_id` is the request's id unless given. `payload` never holds a secret. Where a client of a Gateway has caused it,
    its true address (PROXY protocol) is in the payload as `client_addr`.
    """
    if (client_addr := log.bound_client()) is not None:
        payload = {**payload, "client_addr": client_addr}
    event_id = new_id("evt")
    await tx.defer(
        "publish_event",
        event_id=event_id,
        event_type=event_type,
        subject=subject,
        org_id=org_id,
        tenant_id=tenant_id,
        correlation_id=correlation_id or structlog.contextvars.get_contextvars().get("request_id"),
        payload=payload,
    )
    await tx.notify("spg99_outbox", is_own_work=True)  # each process relays what it finds, its own first
    return event_id


async def relay(store: Store) -> Relayed:
    """One turn of the relay: numbers what is committed and not numbered yet, and notifies `spg99_published`."""
    async with store.transaction() as tx:
        if not await tx.value("try_relay_lock"):
            return Relayed(False, 0, 0)
        # A statement of its own: its snapshot is taken after the lock, so it sees what the relay before us published.
        positions = [row.position for row in await tx.many(_Position, "number_events", limit=RELAY_ROWS_MAX)]
        if not positions:
            return Relayed(True, 0, 0)
        await tx.notify("spg99_published", str(max(positions)))
        return Relayed(True, len(positions), max(positions))


async def since(
    tx: Transaction, after: int, *, upto: int | None = None, limit: int = 500, event_types: list[str] | None = None
) -> list[Event]:
    """Published events with `after < position <= upto` in order, `limit` at most, of all accounts."""
    return await tx.many(Event, "events_since", after=after, upto=upto, limit=limit, event_types=event_types)


async def since_for(
    tx: Transaction, after: int, *, upto: int, limit: int, org_id: str | None, tenant_id: str | None
) -> list[Event]:
    """As `since`, but only of one account or one tenant."""
    return await tx.many(
        Event, "events_since_for", after=after, upto=upto, limit=limit, org_id=org_id, tenant_id=tenant_id
    )


async def last_position(tx: Transaction) -> int:
    """The newest position readers can see; 0 before the first event."""
    return int(await tx.value("last_event_position"))


async def kept(tx: Transaction) -> Kept:
    """Which positions can still be read."""
    return Kept(int(await tx.value("first_event_position")), await last_position(tx))


async def lag(tx: Transaction) -> Lag:
    """How far the relay is behind."""
    return await tx.one(Lag, "outbox_lag")


async def forget_before(tx: Transaction, moment: datetime, *, limit: int) -> int:
    """Deletes at most `limit` events published before `moment`, except the newest one: its position tells readers what they missed."""
    return await tx.execute("forget_events", moment=moment, limit=limit)


@dataclass(frozen=True)
class _Position:
    position: int
