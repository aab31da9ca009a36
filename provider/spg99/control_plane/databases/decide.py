"""What to do next for one database: a function of what is seen and the time. No I/O, no clock, no chance.

Here: the order of things in each state. Not here: carrying it out (carry_out.py), reading the view (observe.py). Every
decision is one step; the loop decides again until nothing is left to do now. A crash between two steps loses nothing,
because the view is all that a decision knows.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from spg99.control_plane.databases import backoff, deletion, idle, moment_rules, placement
from spg99.control_plane.databases.actions import (
    CancelTask,
    Decision,
    EndCompute,
    Fail,
    GiveUp,
    MarkCreated,
    MarkIdle,
    MarkInUse,
    MarkReady,
    MarkStopped,
    MarkUsed,
    Restore,
    StartCompute,
    StopCompute,
    act,
    wait,
)
from spg99.control_plane.databases.states import Event
from spg99.control_plane.databases.view import UNREACHABLE_AFTER, DatabaseView, NodeView, TaskView
from spg99.protocol.node import NODE_SILENT_AFTER
from spg99.protocol.tasks import ComputeStopped, TaskKind
from spg99.resources import DatabaseState as State

STABLE_AFTER = timedelta(seconds=60)
"""A compute that ends by itself sooner than this counts as a failed attempt."""
QUICK_RESTARTS_MAX = 2
"""A compute that ends by itself is replaced at once this often; after it, with back-off."""
NO_NODE = (
    "No node has room for the database: none has reported within the last "
    f"{NODE_SILENT_AFTER.seconds} seconds. It starts as soon as one does."
)
TOO_FEW_SAFEKEEPERS = (
    "The database is to have {wanted} safekeepers (policy storage.safekeepers), and {there} have reported within the last "
    f"{NODE_SILENT_AFTER.seconds} seconds. It starts as soon as there are enough."
)
NO_KEEPING_OF_BRANCH = (
    "The database begins in another one, and without safekeepers there is no history to begin in: the policy "
    "storage.safekeepers of its account says 0. It starts as soon as that says how many it is to have."
)
NO_SAFEKEEPING = "The agent of node {name} is of a version that knows no safekeepers, and the database's commits are theirs. It starts as soon as a newer one has reported."
NO_NODE_AGAIN = NODE_SILENT_AFTER
"""A node that comes (back) has all that waited for one looked at, so this is only for what nobody reports. It is long
because thousands may wait at once."""
NODE_AWAY_AGAIN = timedelta(seconds=10)
IN_USE = "Somebody uses the database."


def decide(view: DatabaseView, now: datetime) -> Decision:
    """The one next step for this database, or when to look again."""
    if view.is_moment and (ending := moment_rules.ending(view, now)) is not None:
        return ending
    if view.is_to_be_restored and _can_be_restored(view):
        return act(Restore(), "It is wanted back at a moment of its history.")
    match view.state:
        case State.CREATING:
            return act(MarkCreated(), "Its files are made with its first start.")
        case State.STOPPED:
            return _stopped(view, now)
        case State.BOOTING:
            return _booting(view, now)
        case State.READY | State.IDLE:
            return _running(view, now)
        case State.STOPPING:
            return _stopping(view, now)
        case State.ERROR:
            return _failed(view, now)
        case State.DELETING:
            return deletion.decide(view, now)
        case State.DELETED:
            return wait("It can come back, and is removed when that time is over.")


def _can_be_restored(view: DatabaseView) -> bool:
    """Not while its compute is on its way up or down: what has been ordered has its outcome first."""
    if view.state is State.ERROR:
        return view.compute is None or view.compute.ended
    return view.state in (State.STOPPED, State.READY, State.IDLE)


def _stopped(view: DatabaseView, now: datetime) -> Decision:
    if view.target_scale == 1 or view.wanted(now):
        return _start(view, now, "Somebody wants it running.")
    return wait("It sleeps.")


def _start(view: DatabaseView, now: datetime, why: str) -> Decision:
    """Starts a compute where the files are. Before the first start that succeeds there are none that count, so every attempt
    goes to the node that is best then."""
    if view.timeline.state != "creating":
        place = _elsewhere(view, now)
        if place is None and view.node is not None and view.node.status == "gone":
            return wait(NO_NODE, until=now + NODE_AWAY_AGAIN, state_reason=NO_NODE)
        if place is None and (reason := _lacks_safekeepers(view)) is not None:
            return wait(reason, until=now + NODE_AWAY_AGAIN, state_reason=reason)
        return act(StartCompute(Event.WANTED, attempt_count=view.attempt_count, moves_to=place), why)
    fit = [node for node in view.candidates if node.keeps_wal or not view.keeping.safekeepers]
    if view.is_moment:
        return _open_moment(view, now, why)
    if view.timeline.origin is not None:
        if not view.keeping.safekeepers and fit:
            return wait(NO_KEEPING_OF_BRANCH, until=now + NO_NODE_AGAIN, state_reason=NO_KEEPING_OF_BRANCH)
        without_rows = view.timeline.origin.schema_only
        fit = [node for node in fit if node.makes_branches and (node.makes_schema_branches or not without_rows)]
    node = placement.choose(fit, now)
    if node is None:
        return wait(NO_NODE, until=now + NO_NODE_AGAIN, state_reason=NO_NODE)
    try:
        configuration = placement.choose_safekeepers(view.keeping, view.timeline.configuration, now)
    except placement.TooFew as too_few:
        reason = TOO_FEW_SAFEKEEPERS.format(wanted=view.keeping.safekeepers, there=too_few.there)
        return wait(reason, until=now + NODE_AWAY_AGAIN, state_reason=reason)
    start = StartCompute(Event.WANTED, attempt_count=view.attempt_count, first_on=node, configuration=configuration)
    return act(start, why)


def _open_moment(view: DatabaseView, now: datetime, why: str) -> Decision:
    """Every start of a moment lays it out anew, on the node that is best then; nobody keeps WAL of it."""
    node = placement.choose([node for node in view.candidates if node.opens_moments], now)
    if node is None:
        return wait(NO_NODE, until=now + NODE_AWAY_AGAIN, state_reason=NO_NODE)
    return act(StartCompute(Event.WANTED, attempt_count=view.attempt_count, first_on=node), why)


def _elsewhere(view: DatabaseView, now: datetime, after: timedelta = NODE_SILENT_AFTER) -> NodeView | None:
    """The other node that the next compute goes to; None: none, because its own has the files, is the only one, or has the only copy."""
    if view.timeline.configuration is None:
        return None
    return placement.choose_again(view.node, view.candidates, now, own_is_away=view.is_node_away(now, after))


def _leaves_node(view: DatabaseView, now: datetime) -> StopCompute | None:
    """How a compute ends whose node is to be emptied and that any other can have; None: it stays, at least as long as somebody uses it."""
    node = view.node
    if view.timeline.configuration is None or node is None or node.status != "draining":
        return None
    if not node.ends_sessions and (view.in_use(now) or view.wanted(now)):
        return None
    if placement.choose_again(node, view.candidates, now, own_is_away=False) is None:
        return None  # it would only be started here again
    return StopCompute(ends_sessions=node.ends_sessions)


def _is_harmless(view: DatabaseView, now: datetime) -> bool:
    """Whether the node of its compute is away, and what may still run there can acknowledge nothing once another begins: its commits are
    safekeepers'."""
    return view.timeline.configuration is not None and view.is_node_away(now)


def _lacks_safekeepers(view: DatabaseView) -> str | None:
    """Why a start on its node would leave its safekeepers out; None when it would not."""
    if view.timeline.configuration is None or view.node is None or view.node.keeps_wal:
        return None
    return NO_SAFEKEEPING.format(name=view.node.name)


def _booting(view: DatabaseView, now: datetime) -> Decision:
    compute = view.compute
    assert compute is not None, "a booting database has a compute"
    task = view.latest(TaskKind.COMPUTE_START, compute_id=compute.compute_id)
    assert task is not None, "compute and order are written together"
    if task.open:
        if _is_harmless(view, now) and (place := _elsewhere(view, now)) is not None:
            start = StartCompute(Event.REPLACED, attempt_count=view.attempt_count, moves_to=place)
            return act(start, "Its node went away while it started it.")
        return _for_task(view, task, now)
    if task.status == "completed":
        return act(MarkReady(task.task_id), "Its compute takes connections.")
    return _fail(view, task, now)


def _running(view: DatabaseView, now: datetime) -> Decision:
    compute = view.compute
    assert compute is not None, "a running database has a compute"
    if compute.ended:
        return _lost(view, now)
    if view.timeline.configuration is not None and view.node is not None and view.node.status == "gone":
        return act(EndCompute("Its node was removed."), "Its node was removed.")
    is_lost = view.is_unreachable and view.is_node_away(now, UNREACHABLE_AFTER)
    if is_lost and (place := _elsewhere(view, now, UNREACHABLE_AFTER)) is not None:
        # The fence makes it safe: whatever runs on behind a cut cable acknowledges nothing once the new term is promised.
        start = StartCompute(Event.REPLACED, attempt_count=view.attempt_count, moves_to=place)
        return act(start, "Its node is silent and a Gateway does not reach its compute.")
    if (stop := _leaves_node(view, now)) is not None:
        return act(stop, "Its node is to be emptied.")
    if view.in_use(now):
        if view.state is State.IDLE:
            return act(MarkUsed(), "A Gateway holds a lease.")
        return wait("It is in use.")  # a lease that ends makes us look again, see `due_databases`
    if view.target_scale == 0:
        return act(StopCompute(), "The API wants it stopped.")
    if view.wanted(now):
        return wait("Somebody is about to connect.", until=view.wanted_until)
    if view.state is State.READY:
        since = idle.clock_starts_at(now, last_used_at=view.last_used_at, started_at=compute.started_at)
        return act(MarkIdle(since), "Nothing is connected.")
    sleeps_at = idle.sleeps_at(view.idle_since or now, view.idle_timeout_seconds)
    if sleeps_at is None:
        return wait("It never sleeps.")
    if now < sleeps_at:
        return wait("The idle clock runs.", until=sleeps_at)
    if view.node is not None and view.node.silent(now):
        # It can still serve whoever connects; a stop nobody carries out would only lock them out.
        return wait(f"Node {view.node.name} is away and cannot stop it.", until=now + NODE_AWAY_AGAIN)
    return act(StopCompute(), "The idle clock ran out.")


def _lost(view: DatabaseView, now: datetime) -> Decision:
    compute = view.compute
    assert compute is not None
    reason = compute.exit_reason or "The compute ended by itself."
    if view.target_scale == 0 or not (view.in_use(now) or view.wanted(now)):
        return act(MarkStopped(Event.LOST), "Its compute ended by itself and nobody needs it.")
    lived = (compute.ended_at or now) - (compute.started_at or now)
    attempt_count = 1 if lived >= STABLE_AFTER else view.attempt_count + 1
    place = _elsewhere(view, now)
    if attempt_count <= QUICK_RESTARTS_MAX and (place is not None or _lacks_safekeepers(view) is None):
        return act(StartCompute(Event.REPLACED, attempt_count=attempt_count, moves_to=place), f"Replaced: {reason}")
    retry_at = backoff.retry_at(now, attempt_count, attempts_max=view.retry_max)
    return act(
        Fail(f"Its compute ended by itself {attempt_count} times in a row: {reason}", attempt_count, retry_at), reason
    )


def _stopping(view: DatabaseView, now: datetime) -> Decision:
    compute = view.compute
    assert compute is not None, "a stopping database has a compute"
    if compute.ended:
        return act(MarkStopped(Event.STOPPED), "Its compute has ended.")
    task = view.latest(TaskKind.COMPUTE_STOP, compute_id=compute.compute_id)
    assert task is not None, "state and order are written together"
    if task.open and _is_harmless(view, now):
        return act(
            MarkStopped(Event.STOPPED),
            "Its node is away, and what runs there acknowledges nothing once another begins.",
        )
    if task.open:
        return _for_task(view, task, now)
    if task.status == "completed":
        answer = ComputeStopped.model_validate(task.result or {})
        if not answer.stopped:
            return act(MarkInUse(task.task_id, answer.reason or IN_USE), "Its compute was asked to stop and is in use.")
        return act(MarkStopped(Event.STOPPED), "Its compute was stopped.")
    return _fail(view, task, now)


def _failed(view: DatabaseView, now: datetime) -> Decision:
    wanted = view.wanted(now) or view.in_use(now)
    due_at = backoff.due_at(view.retry_at, view.failed_at, wanted=wanted)
    due = due_at is not None and due_at <= now
    if view.compute is None and view.timeline.state == "creating":
        return act(MarkCreated(), "It was never started, so nothing it needs has failed.")
    if view.compute is not None and not view.compute.ended:
        if _is_harmless(view, now):
            return act(
                EndCompute("Its node is away."), "Nothing that may run there is acknowledged once another begins."
            )
        if due:
            return act(StopCompute(event=Event.STOPPED_AGAIN), "Stopping is tried again.")
        return wait("Stopping is tried again after a while.", until=due_at)
    if view.target_scale == 0 and not wanted:
        return act(GiveUp(), "Nobody wants it running.")
    if due:
        return _start(view, now, "Starting is tried again.")
    return wait("Starting is tried again after a while.", until=due_at)


def _for_task(view: DatabaseView, task: TaskView, now: datetime) -> Decision:
    """Waits for the outcome of an open order, but not for ever for an agent to take it."""
    if task.overdue(now):
        name = view.node.name if view.node is not None else "of the database"
        return act(CancelTask(task.task_id, f"Node {name} did not answer in time."), "Nobody took the order.")
    return wait(f"The agent has the order {task.kind}.", until=task.expires_at if task.status == "queued" else None)


def _fail(view: DatabaseView, task: TaskView, now: datetime) -> Decision:
    attempt_count = view.attempt_count + 1
    # Only a start gives up trying by itself: an unfinished stop is never what somebody asked for.
    attempts_max = view.retry_max if task.kind == TaskKind.COMPUTE_START else None
    retry_at = backoff.retry_at(now, attempt_count, attempts_max=attempts_max, retryable=task.retryable)
    reason = task.error or "The agent gave no reason."
    return act(Fail(reason, attempt_count, retry_at), f"{task.kind} failed.")
