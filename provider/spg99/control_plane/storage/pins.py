"""Pins: moments of a timeline's past that somebody may still go back to. Here: their rows. Not here: what is kept for them (pageserver/, safekeeper/)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from spg99.control_plane.store import Transaction

PinReason = Literal["branch", "snapshot", "moment", "export"]


@dataclass(frozen=True)
class PinRow:
    """What somebody needs of a timeline: its newest image at or before `lsn`, and the WAL from there up to it."""

    timeline_id: str
    owner_id: str
    reason: PinReason
    lsn: int | None
    """None: nobody knows yet; nothing that was there at `at`, or came later, may go."""
    at: datetime
    until: datetime | None


async def insert(
    tx: Transaction,
    timeline_id: str,
    owner_id: str,
    reason: PinReason,
    *,
    lsn: int | None,
    at: datetime,
    until: datetime | None = None,
) -> None:
    """Keeps a moment of a timeline for `owner_id`, one of each at most."""
    await tx.defer("insert_pin", timeline_id=timeline_id, owner_id=owner_id, reason=reason, lsn=lsn, at=at, until=until)


async def delete_of_owner(tx: Transaction, owner_id: str) -> None:
    """This owner needs nothing any more."""
    await tx.execute("delete_pins_of_owner", owner_id=owner_id)


async def of_timelines(tx: Transaction, timeline_ids: list[str], now: datetime) -> dict[str, list[PinRow]]:
    """The same of many, by timeline: those that still count."""
    found: dict[str, list[PinRow]] = {}
    for row in await tx.many(PinRow, "pins_of_timelines", timeline_ids=timeline_ids, now=now):
        found.setdefault(row.timeline_id, []).append(row)
    return found


async def of_timeline(tx: Transaction, timeline_id: str) -> list[PinRow]:
    """Who needs something of a timeline."""
    return await tx.many(PinRow, "pins_of_timeline", timeline_id=timeline_id)
