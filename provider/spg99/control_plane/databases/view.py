"""What a decision looks at: one database and everything around it, as values. Not here: reading it (observe.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from spg99.protocol.node import NODE_SILENT_AFTER, is_silent
from spg99.protocol.safekeeper import Configuration
from spg99.protocol.tasks import Origin, TaskKind
from spg99.resources import DatabaseState as State

UNREACHABLE_AFTER = timedelta(seconds=12)
"""A node that has missed two heartbeats and that a Gateway does not reach either: nobody waits longer for it where others can serve."""
Leaves = Literal["undelete", "database", "snapshot"]
"""What a deletion leaves: a way back for a while, the database under another name, or a snapshot (and the way back)."""


@dataclass(frozen=True)
class TimelineView:
    """Where the files are."""

    timeline_id: str
    state: str
    node_id: str | None
    configuration: Configuration | None = None
    """Who keeps its WAL; None: the files on its node are the only copy."""
    origin: Origin | None = None
    """Of a branch: where it begins. It counts until the branch was started."""


@dataclass(frozen=True)
class SafekeeperView:
    """A safekeeper that a new timeline may have."""

    safekeeper_id: str
    last_seen_at: datetime | None
    disk_free_bytes: int = 0
    disk_is_short: bool = False

    def silent(self, now: datetime) -> bool:
        """Whether it is away."""
        return is_silent(self.last_seen_at, now)


@dataclass(frozen=True)
class Keeping:
    """What an account's policies want for a timeline that begins, and who is there for it."""

    safekeepers: int = 0
    quorum: int = 0
    """0: most of them."""
    candidates: tuple[SafekeeperView, ...] = ()


@dataclass(frozen=True)
class ComputeView:
    """The compute of the database: live, or the one that has just ended."""

    compute_id: str
    state: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it is known not to run."""
        return self.state == "ended"


@dataclass(frozen=True)
class TaskView:
    """One order to the agent, open or finished."""

    task_id: int
    kind: str
    compute_id: str | None
    status: str
    expires_at: datetime
    finished_at: datetime | None = None
    result: Mapping[str, Any] | None = None
    error: str | None = None
    retryable: bool = True

    @property
    def open(self) -> bool:
        """Whether its outcome is not known yet."""
        return self.status in ("queued", "dispatched")

    def overdue(self, now: datetime) -> bool:
        """Whether no agent took it in time; none will any more."""
        return self.status == "queued" and self.expires_at <= now


@dataclass(frozen=True)
class NodeView:
    """A node: the one of the timeline, or one it may go to."""

    node_id: str
    name: str
    status: str
    last_seen_at: datetime | None
    disk_free_bytes: int = 0
    disk_is_short: bool = False
    makes_timelines: bool = False
    """Whether its agent lays down the files of a timeline with the first start (one of an older version does not)."""
    keeps_wal: bool = False
    """Whether its agent knows of safekeepers (one of an older version does not)."""
    makes_branches: bool = False
    """Whether its agent knows of branches (one of an older version does not)."""
    opens_moments: bool = False
    """Whether its agent knows of moments that are only read (one of an older version does not)."""
    makes_schema_branches: bool = False
    """Whether its agent can leave out the rows."""
    ends_sessions: bool = False
    """Whether it is emptied without waiting for who uses its databases."""
    last_term: int = 0
    """Of the last compute of this timeline there: it has files that may still do. 0: none that is known of."""

    def silent(self, now: datetime) -> bool:
        """Whether its agent is away."""
        return is_silent(self.last_seen_at, now)


@dataclass(frozen=True)
class DatabaseView:
    """One database as the catalogue knows it at one moment."""

    state: State
    timeline: TimelineView
    idle_timeout_seconds: int
    target_scale: int = 0
    wanted_until: datetime | None = None
    idle_since: datetime | None = None
    last_used_at: datetime | None = None
    attempt_count: int = 0
    retry_at: datetime | None = None
    retry_max: int = 10
    compute: ComputeView | None = None
    leases_end_at: datetime | None = None
    """When the last lease in force ends; None = no lease."""
    tasks: tuple[TaskView, ...] = field(default=())
    """The latest orders for this database, newest first."""
    node: NodeView | None = None
    """The node of the timeline, once it is placed."""
    candidates: tuple[NodeView, ...] = field(default=())
    """Nodes that a timeline which was never started may go to, once it is wanted (placement.py chooses)."""
    keeping: Keeping = field(default_factory=Keeping)
    """Looked at together with the candidates."""
    hears_since: datetime | None = None
    """Since when agents can be heard of here; a node's silence before it says nothing, and None: nothing at all."""
    is_unreachable: bool = False
    """Whether the Gateway that asks has found its compute not to answer."""
    leaves: Leaves | None = None
    """What its deletion, which is under way, leaves; None: nothing."""
    is_to_be_restored: bool = False
    """Somebody wants it back at a moment of its history."""
    is_moment: bool = False
    """It is no database but a moment of one, open for reading (time_travel.py)."""
    is_source_gone: bool = False
    """The database of whose history it is a moment is no more, or on its way out."""
    has_ended_leases: bool = False
    """Leases that are over and can be written off."""

    def in_use(self, now: datetime) -> bool:
        """Whether a Gateway holds a lease."""
        return self.leases_end_at is not None and self.leases_end_at > now

    def wanted(self, now: datetime) -> bool:
        """Whether somebody waits for it or is about to connect."""
        return self.wanted_until is not None and self.wanted_until > now

    def is_node_away(self, now: datetime, after: timedelta = NODE_SILENT_AFTER) -> bool:
        """Whether the node of the timeline was removed, or is silent for longer than `after`, and not because we were away ourselves."""
        if self.node is None or self.node.status == "gone":
            return self.node is not None
        if self.hears_since is None:
            return False
        heard_at = max(self.node.last_seen_at or self.hears_since, self.hears_since)
        return now - heard_at > after

    def latest(self, kind: TaskKind, *, compute_id: str | None = None) -> TaskView | None:
        """The newest order of this kind (for this compute)."""
        return next((t for t in self.tasks if t.kind == kind and t.compute_id == compute_id), None)

    @property
    def failed_at(self) -> datetime | None:
        """When the last order failed or the compute ended by itself."""
        moments = [task.finished_at for task in self.tasks if task.status == "failed" and task.finished_at]
        if self.compute is not None and self.compute.ended_at is not None:
            moments.append(self.compute.ended_at)
        return max(moments, default=None)
