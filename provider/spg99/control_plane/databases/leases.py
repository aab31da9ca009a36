"""Leases: a Gateway's claim that a database is in use. Not here: what a lease protects from (decide.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from spg99.control_plane.store import Transaction
from spg99.protocol.gateway import LeaseUse

HELD_FOR = timedelta(seconds=2)
"""After a checkout a database counts as wanted for this long, so that an older report cannot put it to sleep meanwhile."""


@dataclass(frozen=True)
class Reported:
    """What became of one line of a report."""

    db_id: str
    stands: bool
    needs_reconciling: bool
    """True when the database's state no longer fits its use."""


async def take(tx: Transaction, db_id: str, gateway_id: str, *, now: datetime, lease_seconds: int) -> None:
    """Takes or renews a lease. The database's row is locked by this transaction."""
    await tx.defer(
        "take_lease", db_id=db_id, gateway_id=gateway_id, now=now, expires_at=now + timedelta(seconds=lease_seconds)
    )


async def report(
    tx: Transaction,
    gateway_id: str,
    uses: list[LeaseUse],
    sent_bytes: Mapping[str, int],
    *,
    now: datetime,
    lease_seconds: int,
) -> list[Reported]:
    """Renews and releases all leases of a Gateway and counts its egress (`gateways.uncounted`), in one statement; answers
    the running databases."""
    by_id = {use.db_id: use for use in uses}  # the last word counts
    return await tx.many(
        Reported,
        "report_leases",
        gateway_id=gateway_id,
        db_ids=list(by_id),
        connections=[max(0, use.active_connections) for use in by_id.values()],
        last_used_ats=[_last_used_at(use, now) for use in by_id.values()],
        egress_db_ids=list(sent_bytes),
        egress_bytes=list(sent_bytes.values()),
        now=now,
        expires_at=now + timedelta(seconds=lease_seconds),
        held_for=HELD_FOR,
    )


async def remove_ended(tx: Transaction, db_id: str, moment: datetime) -> None:
    """Writes off the leases of a database that ended by `moment`."""
    await tx.execute("remove_ended_leases", db_id=db_id, moment=moment)


async def release_all(tx: Transaction, db_id: str) -> None:
    """Ends all leases of a database that is being deleted."""
    await tx.execute("release_leases_of_database", db_id=db_id)


def _last_used_at(use: LeaseUse, now: datetime) -> datetime:
    if use.idle_seconds is not None:
        return now - timedelta(seconds=use.idle_seconds)
    return use.last_used_at or now
