"""The record of a database goes, with all that has to be told of it. Not here: whether nothing is left on a node (deletion.py)."""

from __future__ import annotations

from spg99 import faults
from spg99.control_plane import storage
from spg99.control_plane.databases import rows, usage
from spg99.control_plane.databases.apply import end_compute
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.records import audit, operations
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Transaction


async def remove(tx: Transaction, row: DatabaseRow) -> None:
    """Deletes a database in state `deleting` of which nothing lies on any node; `row` is locked. What it has used stays with its account."""
    row = await end_compute(tx, row, "The database was deleted.")
    await usage.keep(tx, row.db_id, row.compute_milliseconds)
    await storage.mark_timeline(tx, row.timeline_id, "gone")
    await storage.delete_pins_of_owner(tx, row.db_id)
    await rows.remove(tx, row)
    await operations.finish(tx, row.db_id, ("database.delete",))
    await audit.record(tx, SYSTEM, "database.removed", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    if row.undelete_until is None:  # else that was told when it was deleted
        await rows.publish(tx, row, "database.deleted")
    await tx.notify("spg99_database", row.db_id)
    # Its tenant may have waited for this.
    await tx.notify("spg99_tenant", row.tenant_id)
    faults.point("delete.removed")
