"""How a database is removed, step by step (pure): first its compute, then its files, then the record. One that can come back keeps its files and its record.

Here: the order of the steps in state `deleting`. Not here: whether it may be deleted (deletion_requests.py). Delete while
booting waits for the outcome of an order the agent already has, because the order of two orders on a node is not ours.
"""

from __future__ import annotations

from datetime import datetime

from spg99.control_plane.databases import backoff, placement
from spg99.control_plane.databases.actions import (
    Action,
    CancelTask,
    Decision,
    DeleteTimeline,
    EndCompute,
    Fail,
    Keep,
    Remove,
    Retain,
    StopCompute,
    act,
    wait,
)
from spg99.control_plane.databases.view import DatabaseView, TaskView
from spg99.protocol.tasks import ComputeStopped, TaskKind

CANCELLED = "The database is being deleted."


def decide(view: DatabaseView, now: datetime) -> Decision:
    """The next step of removing a database."""
    if view.compute is not None and not view.compute.ended:
        if _is_elsewhere_too(view) and view.is_node_away(now):
            return act(EndCompute(CANCELLED), "Its node is away; what may run there is ended when it is back.")
        return _compute(view, now)
    if view.leaves == "database":
        return act(Retain(), "Nothing of it runs, and it stays asleep under another name.")
    if view.leaves is not None:
        return act(Keep(), "Nothing of it runs, and it can come back for a while.")
    is_away = _is_elsewhere_too(view) and view.is_node_away(now)
    if view.timeline.node_id is None or view.timeline.state == "gone":
        return act(Remove(), "Nothing of it lies on a node.")
    if is_away and view.is_moment:
        return act(Remove(), "Its node is away, and removes what it has of it when it is back.")
    creation = view.latest(TaskKind.TIMELINE_CREATE)
    if creation is not None and creation.open:
        return _withdraw(creation)
    # What counts of a kept one is with safekeepers and object store, and any node can remove it there; its own does with its files when it is back.
    place = placement.choose_again(view.node, view.candidates, now, own_is_away=True) if is_away else None
    if place is not None:
        return act(DeleteTimeline(on=place), "Its node is away, and another removes it.")
    return _order(view, view.latest(TaskKind.TIMELINE_DELETE), DeleteTimeline(), Remove(), now)


def _is_elsewhere_too(view: DatabaseView) -> bool:
    """Whether nothing that counts is on its node alone: safekeepers keep it, or it is a moment of what they keep."""
    return view.timeline.configuration is not None or view.is_moment


def _compute(view: DatabaseView, now: datetime) -> Decision:
    assert view.compute is not None
    start = view.latest(TaskKind.COMPUTE_START, compute_id=view.compute.compute_id)
    stop = view.latest(TaskKind.COMPUTE_STOP, compute_id=view.compute.compute_id)
    if start is not None and start.open:
        return _withdraw(start)
    if start is not None and start.status == "failed":
        return act(EndCompute(start.error or CANCELLED), "Its compute did not start.")
    # What stays is stopped as for a sleep; for what goes nobody waits.
    end = StopCompute(mode="immediate" if view.leaves is None else "fast", event=None)
    if stop is not None and stop.status == "completed" and not ComputeStopped.model_validate(stop.result or {}).stopped:
        # It was asked before, by the idle clock say, and runs on. Who deletes it now has said that it ends all the same.
        return act(end, "Its compute is in use and is ended with the database.")
    return _order(view, stop, end, EndCompute(CANCELLED), now)


def _withdraw(task: TaskView) -> Decision:
    if task.status == "queued":
        return act(CancelTask(task.task_id, CANCELLED), "The agent has not taken the order yet.")
    return wait("The agent is busy with it.")


def _order(view: DatabaseView, task: TaskView | None, order: Action, done: Action, now: datetime) -> Decision:
    if task is None:
        return act(order, "The next thing to remove.")
    if task.overdue(now):
        return act(CancelTask(task.task_id, "The node did not answer in time."), "Nobody took the order.")
    if task.open:
        return wait("The agent has the order.", until=task.expires_at if task.status == "queued" else None)
    if task.status == "completed":
        return act(done, "It is removed.")
    if view.retry_at is None:  # a failure not yet written down: every order that goes out clears it
        attempt_count = view.attempt_count + 1
        reason = task.error or "The agent gave no reason."
        return act(Fail(reason, attempt_count, backoff.retry_at(now, attempt_count)), f"{task.kind} failed.")
    if view.retry_at <= now:
        return act(order, "Removing is tried again.")
    return wait("Removing is tried again after a while.", until=view.retry_at)
