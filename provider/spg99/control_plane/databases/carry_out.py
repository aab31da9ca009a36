"""Does what was decided, inside one transaction: rows, order to the agent, event, end of the operation.

Here: one function an action. Not here: whether it is right now (decide.py), or the transaction (reconcile.py). Every
function takes the locked row and answers the row as it is then; `settle` saves it.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime

from spg99 import faults
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import actions as a
from spg99.control_plane.databases import computes, rows, storage_limits, usage
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.states import Event, move
from spg99.control_plane.databases.view import DatabaseView
from spg99.control_plane.records import audit, operations, policies
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Transaction
from spg99.errors import CannotWake, Conflict
from spg99.protocol.tasks import ComputeStart, ComputeStarted, ComputeStop, TaskKind, TimelineCreate, TimelineDelete
from spg99.resources import DatabaseState as State
from spg99.resources import Size


async def carry_out(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.Action, now: datetime
) -> DatabaseRow | None:
    """Carries out one action; answers the row afterwards, None when it is gone."""
    match action:
        case a.CreateTimeline():
            return await _create_timeline(tx, row, action, now)
        case a.MarkCreated():
            return await _mark_created(tx, row)
        case a.StartCompute():
            return await _start_compute(tx, row, view, action, now)
        case a.MarkReady():
            return await _mark_ready(tx, row, view, action, now)
        case a.MarkIdle():
            return await _moved(tx, dataclasses.replace(row, idle_since=action.since), Event.RELEASED)
        case a.MarkUsed():
            return await _moved(tx, dataclasses.replace(row, idle_since=None), Event.USED)
        case a.StopCompute():
            return await _stop_compute(tx, row, view, action, now)
        case a.MarkStopped():
            return await _mark_stopped(tx, row, action)
        case a.EndCompute():
            return await without_compute(tx, row, action.reason)
        case a.CancelTask():
            await fleet.cancel_task(tx, action.task_id, action.reason)
            return row
        case a.Fail():
            return await _fail(tx, row, view, action)
        case a.GiveUp():
            row = await _moved(
                tx, dataclasses.replace(row, attempt_count=0, retry_at=None, compute_id=None), Event.GIVEN_UP
            )
            await operations.finish(tx, row.db_id, ("database.stop",))
            return row
        case a.DeleteTimeline():
            return await _delete_timeline(tx, row, view, now)
        case a.Remove():
            await _remove(tx, row)
            return None


async def _create_timeline(tx: Transaction, row: DatabaseRow, action: a.CreateTimeline, now: datetime) -> DatabaseRow:
    await storage.place_timeline(tx, row.timeline_id, action.node_id)
    order = TimelineCreate(timeline_id=row.timeline_id, database_name=row.name, pg_user=row.pg_user)
    await fleet.enqueue_task(tx, TaskKind.TIMELINE_CREATE, order, node_id=action.node_id, db_id=row.db_id, now=now)
    faults.point("create.ordered")
    row = dataclasses.replace(row, retry_at=None)
    return row if action.event is None else await _moved(tx, row, action.event)


async def _mark_created(tx: Transaction, row: DatabaseRow) -> DatabaseRow:
    await storage.mark_timeline(tx, row.timeline_id, "present")
    row = await _moved(tx, dataclasses.replace(row, attempt_count=0, retry_at=None), Event.CREATED)
    await operations.finish(tx, row.db_id, ("database.create",))
    faults.point("create.created")
    return row


async def _start_compute(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.StartCompute, now: datetime
) -> DatabaseRow:
    node_id = view.timeline.node_id
    assert node_id is not None, "a timeline that is present lies on a node"
    replaced = action.event is Event.REPLACED
    if replaced:
        row = await without_compute(tx, row, "Replaced.")
    # The fence: whatever an older writer still does, its term is refused from here on.
    writer_term = row.writer_term + 1
    compute_id = await computes.insert(
        tx,
        db_id=row.db_id,
        timeline_id=row.timeline_id,
        node_id=node_id,
        writer_term=writer_term,
        profile=row.target_profile,
    )
    order = ComputeStart(
        compute_id=compute_id,
        timeline_id=row.timeline_id,
        db_id=row.db_id,
        writer_term=writer_term,
        profile=Size(row.target_profile),
        database_name=row.name,
        pg_user=row.pg_user,
        storage_limit_bytes=await storage_limits.limit_bytes(
            lambda key, org_id: policies.value(tx, key, org_id=org_id),
            own=row.storage_limit_bytes,
            size=row.size,
            org_id=row.org_id,
        ),
    )
    await fleet.enqueue_task(
        tx, TaskKind.COMPUTE_START, order, node_id=node_id, db_id=row.db_id, compute_id=compute_id, now=now
    )
    row = dataclasses.replace(
        row,
        compute_id=compute_id,
        writer_term=writer_term,
        target_scale=1,
        idle_since=None,
        retry_at=None,
        attempt_count=action.attempt_count,
        lease_control_epoch=row.lease_control_epoch + 1,
    )
    row = await _moved(tx, row, action.event)
    if replaced:
        await audit.record(tx, SYSTEM, "compute.replace", row.db_id, org_id=row.org_id, term=writer_term)
        await rows.tell(tx, row, "database.compute_changed")
    faults.point("wake.ordered")
    return row


async def _mark_ready(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.MarkReady, now: datetime
) -> DatabaseRow:
    result = next(task.result for task in view.tasks if task.task_id == action.task_id)
    started = ComputeStarted.model_validate(result)
    assert started.compute_id == row.compute_id, "an answer to another order"
    await computes.mark_running(tx, started, now)
    row = dataclasses.replace(
        row,
        current_scale=1,
        current_profile=row.target_profile,
        retry_at=None,
        backend_addr=started.backend_addr,
        backend_port=started.backend_port,
    )
    row = await _moved(tx, row, Event.STARTED)
    await operations.finish(tx, row.db_id, ("database.start",))
    faults.point("wake.ready")
    return row


async def _stop_compute(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.StopCompute, now: datetime
) -> DatabaseRow:
    compute, node_id = view.compute, view.timeline.node_id
    assert compute is not None and node_id is not None, "there is something to stop"
    await computes.mark_stopping(tx, compute.compute_id)
    order = ComputeStop(compute_id=compute.compute_id, timeline_id=row.timeline_id, mode=action.mode)
    await fleet.enqueue_task(
        tx, TaskKind.COMPUTE_STOP, order, node_id=node_id, db_id=row.db_id, compute_id=compute.compute_id, now=now
    )
    row = dataclasses.replace(row, target_scale=0, retry_at=None)
    if action.event is not None:
        row = dataclasses.replace(row, lease_control_epoch=row.lease_control_epoch + 1)
        row = await _moved(tx, row, action.event)
        await rows.tell(tx, row, "database.compute_changed")
    faults.point("sleep.ordered")
    return row


async def _mark_stopped(tx: Transaction, row: DatabaseRow, action: a.MarkStopped) -> DatabaseRow:
    row = await without_compute(tx, row, None)
    row = dataclasses.replace(row, compute_id=None, attempt_count=0, retry_at=None, idle_since=None)
    if action.event is Event.LOST:
        row = dataclasses.replace(row, target_scale=0, lease_control_epoch=row.lease_control_epoch + 1)
    row = await _moved(tx, row, action.event)
    if action.event is Event.LOST:
        await rows.tell(tx, row, "database.compute_changed")
    await operations.finish(tx, row.db_id, ("database.stop",))
    if row.target_scale == 0:
        superseded = Conflict("The database was stopped before it was ready.").envelope()
        await operations.finish(tx, row.db_id, ("database.start",), error=superseded)
    faults.point("sleep.stopped")
    return row


async def without_compute(tx: Transaction, row: DatabaseRow, reason: str | None) -> DatabaseRow:
    """The row once its compute has ended, with the time it ran added to the account."""
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
    )


async def _fail(tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.Fail) -> DatabaseRow:
    row = dataclasses.replace(
        row,
        state_reason=action.reason,
        attempt_count=action.attempt_count,
        # Never null while deleting: that is how a failure that was written down is told from one that was not.
        retry_at=action.retry_at,
        idle_since=None,
    )
    error = CannotWake(action.reason).envelope()
    match view.state:
        case State.DELETING:
            return row
        case State.BOOTING | State.READY | State.IDLE:
            row = await without_compute(tx, row, action.reason)
            # Whoever waited learns of the failure now; only somebody who comes later shortens the back-off.
            row = dataclasses.replace(row, lease_control_epoch=row.lease_control_epoch + 1, wanted_until=None)
            await operations.finish(tx, row.db_id, ("database.start",), error=error)
        case State.STOPPING:
            await operations.finish(tx, row.db_id, ("database.stop",), error=error)
        case State.CREATING if action.retry_at is None:
            await operations.finish(tx, row.db_id, ("database.create",), error=error)
        case _:
            pass
    running_before = view.state in (State.READY, State.IDLE)
    row = await _moved(tx, row, Event.FAILED, reason=action.reason)
    if running_before:
        await rows.tell(tx, row, "database.compute_changed")
    return row


async def _delete_timeline(tx: Transaction, row: DatabaseRow, view: DatabaseView, now: datetime) -> DatabaseRow:
    node_id = view.timeline.node_id
    assert node_id is not None, "there is something to delete"
    await storage.mark_timeline(tx, row.timeline_id, "deleting")
    order = TimelineDelete(timeline_id=row.timeline_id)
    await fleet.enqueue_task(tx, TaskKind.TIMELINE_DELETE, order, node_id=node_id, db_id=row.db_id, now=now)
    faults.point("delete.ordered")
    return dataclasses.replace(row, retry_at=None)


async def _remove(tx: Transaction, row: DatabaseRow) -> None:
    row = await without_compute(tx, row, "The database was deleted.")
    await usage.keep(tx, row.db_id, row.compute_milliseconds)
    await storage.mark_timeline(tx, row.timeline_id, "gone")
    await rows.remove(tx, row)
    await operations.finish(tx, row.db_id, ("database.delete",))
    await audit.record(tx, SYSTEM, "database.removed", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant)
    await rows.tell(tx, row, "database.deleted")
    await tx.notify("spg99_database", row.db_id)
    # Its tenant may have waited for this.
    await tx.notify("spg99_tenant", row.tenant_id)
    faults.point("delete.removed")


async def _moved(tx: Transaction, row: DatabaseRow, event: Event, *, reason: str | None = None) -> DatabaseRow:
    """The row in its next state, with the event that tells the world."""
    row = dataclasses.replace(row, state=move(State(row.state), event), state_reason=reason)
    await rows.tell(tx, row, f"database.{row.state}")
    await tx.notify("spg99_database", row.db_id)
    return row
