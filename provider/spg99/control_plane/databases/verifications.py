"""Snapshots that are to be verified: laid out and read by a pageserver when it has time. Here: asking for it, and what came of it. Not here: doing it (pageserver/verifying.py)."""

from __future__ import annotations

from datetime import datetime

from spg99.control_plane import fleet
from spg99.control_plane.databases import snapshots
from spg99.control_plane.databases.snapshots import SnapshotRow
from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict
from spg99.protocol.pageserver import MomentToVerify, MomentVerified

AT_ONCE = 8
"""Of those that wait, a pageserver knows so many: one that nobody can tell of yet does not hold up the others."""


async def ask(tx: Transaction, row: SnapshotRow, actor: Actor, *, now: datetime) -> SnapshotRow:
    """Has a snapshot verified; asked twice, it is done once. Raises Conflict where nobody would do it."""
    if not await fleet.pageservers_exist(tx):
        raise Conflict(
            "There is no pageserver, which would lay the snapshot out and read it. Start one (spg99 pageserver)."
        )
    await tx.execute("ask_for_verification", snapshot_id=row.snapshot_id, now=now)
    await audit.record(
        tx, actor, "snapshot.verify", row.snapshot_id, org_id=row.org_id, name=row.name, tenant=row.tenant
    )
    asked = await snapshots.find(tx, row.tenant_id, row.name)
    assert asked is not None, "it was just written"
    return asked


async def wanted(tx: Transaction) -> list[MomentToVerify]:
    """The first of those that wait. One that has failed and is tried again comes last."""
    rows = await tx.many(SnapshotRow, "snapshots_to_verify", limit=AT_ONCE)
    return [MomentToVerify(snapshot_id=row.snapshot_id, origin=row.moment) for row in rows]


async def note(tx: Transaction, verified: MomentVerified) -> None:
    """Notes what came of one. One that was deleted meanwhile is nobody's."""
    row = await tx.one_or_none(
        SnapshotRow,
        "note_verified",
        snapshot_id=verified.snapshot_id,
        verified_at=verified.verified_at,
        problem=verified.problem,
        is_over=verified.is_over,
    )
    if row is not None:
        await snapshots.publish(tx, row, "snapshot.verified" if verified.problem is None else "snapshot.unverified")
