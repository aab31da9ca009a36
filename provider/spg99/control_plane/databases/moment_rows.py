"""Rows of moments that are open for reading: beside the databases, in their table. Here: writing, counting and listing them. Not here: reading one, which is as of a
database (rows.py), opening (time_travel.py)."""

from __future__ import annotations

from datetime import datetime

from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.store import Transaction, Window


async def insert(
    tx: Transaction,
    source: DatabaseRow,
    *,
    db_id: str,
    timeline_id: str,
    name: str,
    database_name: str,
    linger_seconds: int,
    wanted_until: datetime,
) -> None:
    """Writes a moment of this database, asleep; it is looked at when nobody has come for it by `wanted_until`."""
    await tx.execute(
        "insert_moment",
        source_id=source.db_id,
        db_id=db_id,
        timeline_id=timeline_id,
        name=name,
        database_name=database_name,
        linger_seconds=linger_seconds,
        wanted_until=wanted_until,
    )
    await tx.notify("spg99_reconcile", db_id)


async def count(tx: Transaction, tenant_id: str) -> int:
    """How many moments of a tenant's databases are open for reading."""
    return int(await tx.value("count_moments_of_tenant", tenant_id=tenant_id))


async def page(tx: Transaction, tenant_id: str, window: Window) -> list[DatabaseRow]:
    """Moments of a tenant's databases that are open, in name order, after the given (name, db_id)."""
    return await tx.many(
        DatabaseRow,
        "page_of_moments",
        tenant_id=tenant_id,
        after_name=window.after and window.after[0],
        after_id=window.after and window.after[1],
        limit=window.limit,
        offset=window.offset,
    )


async def wake_of(tx: Transaction, timeline_id: str) -> None:
    """Makes the reconciler look at the moments of a database that is on its way out. One that somebody is at finds out when it is looked at next."""
    if await tx.execute("reconcile_moments_of", timeline_id=timeline_id):
        await tx.notify("spg99_reconcile")
