"""Carries a move of the table out: the only place that writes a database's `state`, with everything that goes with it.

Here: effects of moves, and the end of a compute. Not here: which moves there are (states.py), when one happens (decide.py,
requests.py). Every function takes the locked row and answers the row as it is then; whoever called saves it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from spg99.control_plane.databases import computes, leases, rows
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.states import Event, Move, move
from spg99.control_plane.records import operations
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict, Spg99Error
from spg99.resources import DatabaseState as State

SUPERSEDED = Conflict("The database was stopped before it was ready.")


async def apply(
    tx: Transaction,
    row: DatabaseRow,
    event: Event,
    *,
    reason: str | None = None,
    error: Spg99Error | None = None,
    **changes: Any,
) -> DatabaseRow:
    """Moves a database. `reason` is what a user reads as `state_reason`, `error` what ends operations that fail by it,
    `changes` what else becomes of the row. Raises WrongState for an event that cannot happen now."""
    found = move(State(row.state), event)
    if found.ends_compute:
        row = await end_compute(tx, row, reason if event is Event.FAILED else _WHY_ENDED.get(event))
    row = after(row, found, reason=reason, **changes)
    await rows.publish(tx, row, f"database.{row.state}")
    if found.publishes is not None:
        await rows.publish(tx, row, found.publishes)
    await tx.notify("spg99_database", row.db_id)
    if found.releases_leases:
        await leases.release_all(tx, row.db_id)
    await _end_operations(tx, row, found, error)
    return row


def after(row: DatabaseRow, found: Move, *, reason: str | None = None, **changes: Any) -> DatabaseRow:
    """The row after a move, compute and records apart (pure). An idle clock runs only in state idle, and only a failure
    plans a retry."""
    effects: dict[str, Any] = {"state": found.to, "state_reason": reason, "idle_since": None, "retry_at": None}
    if found.voids_checkouts:
        effects["lease_control_epoch"] = row.lease_control_epoch + 1
    if found.releases_compute:
        effects["compute_id"] = None
    if found.clears_retry:
        effects["attempt_count"] = 0
    if found.target_scale is not None:
        effects["target_scale"] = found.target_scale
    if found.clears_wanted:
        effects["wanted_until"] = None
    return dataclasses.replace(row, **effects | changes)


async def end_compute(tx: Transaction, row: DatabaseRow, reason: str | None) -> DatabaseRow:
    """The row once its compute does not run (any more), with the time it ran added to the account."""
    milliseconds = row.compute_milliseconds
    if row.compute_id is not None:
        milliseconds += await computes.end(tx, row.compute_id, reason)
    return dataclasses.replace(
        row,
        compute_milliseconds=milliseconds,
        current_scale=0,
        current_profile=None,
        backend_addr=None,
        backend_port=None,
        compute_node_id=None,
        compute_node_address=None,
    )


async def _end_operations(tx: Transaction, row: DatabaseRow, found: Move, error: Spg99Error | None) -> None:
    if found.finishes:
        await operations.finish(tx, row.db_id, found.finishes)
    if found.fails:
        assert error is not None, "an operation that fails says why"
        await operations.finish(tx, row.db_id, found.fails, error=error.envelope())
    if found.supersedes and row.target_scale == 0:
        await operations.finish(tx, row.db_id, found.supersedes, error=SUPERSEDED.envelope())


_WHY_ENDED = {Event.REPLACED: "Replaced."}
