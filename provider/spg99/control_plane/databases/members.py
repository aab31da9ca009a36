"""Who of a timeline's safekeepers is replaced by whom, and the next step of it (pure). The row is the timeline's configuration: every step is decided from it and from what
the last order was answered, so a crash anywhere goes on where it was. Not here: carrying it out (member_changes.py), when a change is finished (wal/membership.py: the agent
asks, because it can reach the safekeepers)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from spg99.control_plane.databases.view import SafekeeperView, TaskView
from spg99.protocol.safekeeper import Configuration, Members
from spg99.protocol.tasks import TimelineMembersKnown
from spg99.wal.quorum import witnesses_needed

AGAIN_AFTER: Final = timedelta(seconds=5)


@dataclass(frozen=True)
class Seen:
    """One timeline and what is known of its safekeepers."""

    configuration: Configuration
    is_announced: bool
    """Whether all who have to have heard of this configuration, if it is one of one set."""
    gone_ids: frozenset[str]
    candidates: tuple[SafekeeperView, ...] = ()
    task: TaskView | None = None
    """The last order about it."""


@dataclass(frozen=True)
class Configure:
    """Another configuration holds from here on, and is ordered at once."""

    configuration: Configuration


@dataclass(frozen=True)
class OrderIt:
    """Its agent is told, or told again."""


@dataclass(frozen=True)
class NoteAnnounced:
    """All have heard of it."""


@dataclass(frozen=True)
class CancelOrder:
    """No agent took it in time."""

    task_id: int


Step = Configure | OrderIt | NoteAnnounced | CancelOrder


def next_step(seen: Seen, now: datetime) -> Step | None:
    """The one next step; None: nothing to do now."""
    configuration, task = seen.configuration, seen.task
    if task is not None and task.open:
        return CancelOrder(task.task_id) if task.overdue(now) else None
    is_known = _is_known(task, configuration)
    if (following := configuration.next_members) is not None:
        joining = set(following.safekeeper_ids) - set(configuration.members.safekeeper_ids)
        if joining & seen.gone_ids:  # back to the old set, which took part in everything
            return Configure(Configuration(number=configuration.number + 1, members=configuration.members))
        if is_known:
            return Configure(Configuration(number=configuration.number + 1, members=following))
        return OrderIt() if _may_ask(task, now) else None
    if not seen.is_announced:
        if is_known:
            return NoteAnnounced()
        return OrderIt() if _may_ask(task, now) else None
    changed = replacement(configuration, seen.gone_ids, seen.candidates, now)
    if changed is None:
        return None
    return Configure(
        Configuration(number=configuration.number + 1, members=configuration.members, next_members=changed)
    )


def replacement(
    configuration: Configuration, gone_ids: Collection[str], candidates: Collection[SafekeeperView], now: datetime
) -> Members | None:
    """The members with one that is gone replaced by another; None: none is gone, nobody else is there, or so many are gone that the others do not know
    what was acknowledged."""
    members = configuration.members
    ids = members.safekeeper_ids
    gone = sorted(set(ids).intersection(gone_ids))
    if not gone or len(ids) - len(gone) < witnesses_needed(len(ids), members.quorum):
        return None
    fit = [one for one in candidates if one.safekeeper_id not in ids and not one.silent(now) and not one.disk_is_short]
    joins = min(fit, key=lambda one: (-one.disk_free_bytes, one.safekeeper_id), default=None)
    if joins is None:
        return None
    return Members(safekeeper_ids=sorted({*ids, joins.safekeeper_id} - {gone[0]}), quorum=members.quorum)


def is_needed(configuration: Configuration, safekeeper_id: str, gone_ids: Collection[str]) -> bool:
    """Whether, once this safekeeper is gone too, those who are left may not know all that was acknowledged: the only copy of it may be gone with it.

    While members change only the former ones count: what the next ones have is known to be enough when these are the only ones (wal/membership.py).
    """
    members = configuration.members
    ids = set(members.safekeeper_ids)
    left = ids - set(gone_ids) - {safekeeper_id}
    return safekeeper_id in ids and len(left) < witnesses_needed(len(ids), members.quorum)


def _is_known(task: TaskView | None, configuration: Configuration) -> bool:
    if task is None or task.status != "completed":
        return False
    known = TimelineMembersKnown.model_validate(task.result or {"configuration_number": 0})
    return known.is_finished and known.configuration_number == configuration.number


def _may_ask(task: TaskView | None, now: datetime) -> bool:
    return task is None or task.finished_at is None or now - task.finished_at >= AGAIN_AFTER
