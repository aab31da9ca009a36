"""Does what was decided, inside one transaction: rows, order to the agent; the move and all that goes with it by apply.py.

Here: one function an action. Not here: whether it is right now (decide.py), what a move always does (states.py), or the
transaction (reconcile.py). Every function takes the locked row and answers the row as it is then; `settle` saves it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta

from spg99 import faults
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import actions as a
from spg99.control_plane.databases import computes, deletion_requests, on_delete, restoring, rows, storage_limits
from spg99.control_plane.databases.apply import apply, end_compute
from spg99.control_plane.databases.kept import kept_by
from spg99.control_plane.databases.removal import remove
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.states import Event
from spg99.control_plane.databases.view import DatabaseView
from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.records.policy_cache import PolicyCache
from spg99.control_plane.store import Transaction
from spg99.errors import CannotWake, Conflict
from spg99.protocol.tasks import (
    ComputeStart,
    ComputeStarted,
    ComputeStop,
    Order,
    Origin,
    TimelineCreate,
    TimelineDelete,
)
from spg99.resources import DatabaseState as State
from spg99.resources import Size

REPLACED_ELSEWHERE = "Its node was silent, and another node has taken over."
ASKED_AGAIN_AFTER = timedelta(seconds=15)
"""A compute that was found in use counts as wanted for this long, so that a short idle timeout does not ask it all the time."""


@dataclass(frozen=True)
class Means:
    """What deeds go through beside the transaction."""

    polls: fleet.Polls
    policies: PolicyCache
    installation: storage.Installation


async def carry_out(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.Action, now: datetime, means: Means
) -> DatabaseRow | None:
    """Carries out one action; answers the row afterwards, None when it is gone."""
    match action:
        case a.MarkCreated():
            return await apply(tx, row, action.event)
        case a.StartCompute():
            return await _start_compute(tx, row, view, action, now, means)
        case a.MarkReady():
            return await _mark_ready(tx, row, view, action, now)
        case a.MarkIdle():
            return await apply(tx, row, action.event, idle_since=action.since)
        case a.MarkUsed():
            return await apply(tx, row, action.event)
        case a.StopCompute():
            return await _stop_compute(tx, row, view, action, now, means)
        case a.MarkInUse():
            return await _mark_in_use(tx, row, view, action, now)
        case a.MarkStopped():
            row = await apply(tx, row, action.event)
            faults.point("sleep.stopped")
            return row
        case a.EndCompute():
            return await end_compute(tx, row, action.reason)
        case a.CancelTask():
            await fleet.cancel_task(tx, action.task_id, action.reason)
            return row
        case a.Fail():
            return await _fail(tx, row, view, action)
        case a.GiveUp():
            return await apply(tx, row, action.event)
        case a.Restore():
            return await _restore(tx, row, view, now, means)
        case a.Discard():
            _, row = await deletion_requests.doom(tx, row, force=True, actor=SYSTEM, now=now, for_good=True)
            return row
        case a.Keep():
            return await on_delete.keep(tx, row, now)
        case a.Retain():
            return await on_delete.retain(tx, row, now)
        case a.DeleteTimeline():
            return await _delete_timeline(tx, row, view, action, now, means)
        case a.Remove():
            await remove(tx, row)
            return None


async def _start_compute(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.StartCompute, now: datetime, means: Means
) -> DatabaseRow:
    node_id = await _node_of_start(tx, row, view, action, now, means)
    if view.compute is not None and not view.compute.ended:
        # It may run on where it was: a database has one compute that counts, and from here on this is another.
        row = await end_compute(tx, row, REPLACED_ELSEWHERE)
    # The fence: whatever an older writer still does, its term is refused from here on.
    writer_term = row.writer_term + 1
    attempts = await computes.of_timeline(tx, row.timeline_id) if action.first_on is not None else None
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
        database_name=row.name_in_files,
        pg_user=row.pg_user,
        storage_limit_bytes=await storage_limits.limit_bytes(
            lambda key, org_id: means.policies.value(tx, key, org_id=org_id),
            own=row.storage_limit_bytes,
            size=row.size,
            org_id=row.org_id,
        ),
        kept=await kept_by(
            tx,
            row.tenant_id,
            action.configuration if action.first_on is not None else view.timeline.configuration,
            means.installation,
        ),
        makes_timeline=action.first_on is not None,
        attempts=attempts,
        origin=await _origin(tx, row, view, means),
    )
    await _order(tx, means, order, node_id=node_id, db_id=row.db_id, compute_id=compute_id, now=now)
    row = await apply(
        tx, row, action.event, compute_id=compute_id, writer_term=writer_term, attempt_count=action.attempt_count
    )
    if action.event is Event.REPLACED:
        await audit.record(tx, SYSTEM, "compute.replace", row.db_id, org_id=row.org_id, term=writer_term)
    faults.point("wake.ordered")
    return row


async def _node_of_start(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.StartCompute, now: datetime, means: Means
) -> str:
    """Where the compute goes: to the files, or to the node on which they are laid down now.

    With the node the timeline notes for good that something of it may lie there: whoever deletes it has to ask that node.
    """
    if action.moves_to is not None:
        await storage.place_timeline(tx, row.timeline_id, action.moves_to.node_id)
        return action.moves_to.node_id
    if action.first_on is None:
        assert view.timeline.node_id is not None, "a timeline that is present lies on a node"
        return view.timeline.node_id
    node_id = action.first_on.node_id
    await storage.place_timeline(tx, row.timeline_id, node_id)
    if action.configuration is not None and action.configuration != view.timeline.configuration:
        await storage.configure_timeline(tx, row.timeline_id, action.configuration, tenant_id=row.tenant_id)
    if not action.first_on.makes_timelines:
        # Its agent takes orders in their order, and two for one timeline one after the other.
        create = TimelineCreate(timeline_id=row.timeline_id, database_name=row.name_in_files, pg_user=row.pg_user)
        await _order(tx, means, create, node_id=node_id, db_id=row.db_id, now=now)
    return node_id


async def _origin(tx: Transaction, row: DatabaseRow, view: DatabaseView, means: Means) -> Origin | None:
    """Where a branch that starts for the first time begins, with who keeps that."""
    if view.timeline.state != "creating" or (origin := view.timeline.origin) is None:
        return None
    source = await storage.find_timeline(tx, origin.timeline_id)
    assert source is not None, "a timeline that somebody needs stays"
    return origin.model_copy(update={"kept": await kept_by(tx, row.tenant_id, source.keepers, means.installation)})


async def _mark_ready(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.MarkReady, now: datetime
) -> DatabaseRow:
    result = next(task.result for task in view.tasks if task.task_id == action.task_id)
    started = ComputeStarted.model_validate(result)
    assert started.compute_id == row.compute_id, "an answer to another order"
    await computes.mark_running(tx, started, now)
    if view.timeline.state == "creating" and not view.is_moment:
        await storage.mark_timeline(tx, row.timeline_id, "present")
        await storage.delete_pins_of_owner(tx, row.db_id)  # its first image holds all that it had from its source
    row = await apply(
        tx,
        row,
        action.event,
        current_scale=1,
        current_profile=row.target_profile,
        backend_addr=started.backend_addr,
        backend_port=started.backend_port,
        branch_lsn=row.branch_lsn if started.branch_lsn is None else started.branch_lsn,
    )
    faults.point("wake.ready")
    return row


async def _stop_compute(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.StopCompute, now: datetime, means: Means
) -> DatabaseRow:
    compute, node_id = view.compute, view.timeline.node_id
    assert compute is not None and node_id is not None, "there is something to stop"
    await computes.mark_stopping(tx, compute.compute_id)
    order = ComputeStop(
        compute_id=compute.compute_id,
        timeline_id=row.timeline_id,
        mode=action.mode,
        only_if_unused=action.event is not None and not action.ends_sessions,
    )
    await _order(tx, means, order, node_id=node_id, db_id=row.db_id, compute_id=compute.compute_id, now=now)
    # While it is being deleted every order that goes out clears the failure before, see deletion.py.
    row = dataclasses.replace(row, retry_at=None) if action.event is None else await apply(tx, row, action.event)
    faults.point("sleep.ordered")
    return row


async def _mark_in_use(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.MarkInUse, now: datetime
) -> DatabaseRow:
    assert view.compute is not None, "it has answered"
    await computes.mark_running_on(tx, view.compute.compute_id)
    error = Conflict(f"The database is in use: {action.reason}")
    wanted_until = max(now + ASKED_AGAIN_AFTER, row.wanted_until or now)
    return await apply(tx, row, action.event, error=error, last_used_at=now, wanted_until=wanted_until)


async def _fail(tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.Fail) -> DatabaseRow:
    if view.state is State.DELETING:
        # Never null then: that is how a failure that was written down is told from one that was not.
        return dataclasses.replace(
            row, state_reason=action.reason, attempt_count=action.attempt_count, retry_at=action.retry_at
        )
    return await apply(
        tx,
        row,
        action.event,
        reason=action.reason,
        error=CannotWake(action.reason),
        attempt_count=action.attempt_count,
        retry_at=action.retry_at,
    )


async def _restore(tx: Transaction, row: DatabaseRow, view: DatabaseView, now: datetime, means: Means) -> DatabaseRow:
    row, before = await restoring.exchange(tx, row, now)
    compute, node_id = view.compute, view.timeline.node_id
    if before.state in (State.READY, State.IDLE):
        assert compute is not None, "it serves"
        before = await apply(tx, before, Event.QUIET)
        await rows.save(tx, before)
        if not compute.ended and node_id is not None:
            await computes.mark_stopping(tx, compute.compute_id)
            stop = ComputeStop(compute_id=compute.compute_id, timeline_id=before.timeline_id)
            await _order(tx, means, stop, node_id=node_id, db_id=before.db_id, compute_id=compute.compute_id, now=now)
    await rows.wake_reconciler(tx, before.db_id)
    return row


async def _delete_timeline(
    tx: Transaction, row: DatabaseRow, view: DatabaseView, action: a.DeleteTimeline, now: datetime, means: Means
) -> DatabaseRow:
    node_id = view.timeline.node_id
    if action.on is not None:
        node_id = action.on.node_id
        await storage.place_timeline(tx, row.timeline_id, node_id)
    assert node_id is not None, "there is something to delete"
    await storage.mark_timeline(tx, row.timeline_id, "deleting")
    kept = await kept_by(tx, row.tenant_id, view.timeline.configuration, means.installation)
    order = TimelineDelete(timeline_id=row.timeline_id, kept=kept)
    await _order(tx, means, order, node_id=node_id, db_id=row.db_id, now=now)
    faults.point("delete.ordered")
    return dataclasses.replace(row, retry_at=None)


async def _order(
    tx: Transaction,
    means: Means,
    order: Order,
    *,
    node_id: str,
    db_id: str,
    now: datetime,
    compute_id: str | None = None,
) -> None:
    poll = await means.polls.waiting(node_id)
    await fleet.enqueue_task(tx, order, node_id=node_id, db_id=db_id, compute_id=compute_id, now=now, poll=poll)
