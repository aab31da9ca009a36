"""Reads what a decision looks at. Here: rows -> DatabaseView. Not here: deciding (decide.py)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spg99.control_plane import fleet
from spg99.control_plane.databases import computes
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.databases.view import (
    UNREACHABLE_AFTER,
    ComputeView,
    DatabaseView,
    Keeping,
    NodeView,
    SafekeeperView,
    TaskView,
    TimelineView,
)
from spg99.control_plane.records import policies
from spg99.control_plane.store import Deferred, Transaction
from spg99.protocol.safekeeper import Configuration
from spg99.protocol.tasks import Origin
from spg99.resources import DatabaseState as State

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def leases_end_before(now: datetime, *, trusted: bool) -> datetime:
    """A lease that was to end before this moment (UTC) has ended. Not `trusted`, silence proves nothing and none has."""
    return now if trusted else LONG_AGO


@dataclass(frozen=True)
class Surroundings:
    """Everything around one database, and one of its latest orders (None: it has none)."""

    db_id: str
    task_id: int | None
    kind: str | None
    task_compute_id: str | None
    status: str | None
    expires_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None
    error: str | None
    retryable: bool | None
    timeline_id: str
    timeline_state: str
    timeline_node_id: str | None
    timeline_configuration: dict[str, Any] | None
    timeline_origin: dict[str, Any] | None
    compute_id: str | None
    compute_state: str | None
    started_at: datetime | None
    ended_at: datetime | None
    exit_reason: str | None
    node_id: str | None
    node_name: str | None
    node_status: str | None
    node_last_seen_at: datetime | None
    node_keeps_wal: bool | None
    node_ends_sessions: bool | None
    leases_end_at: datetime | None
    has_ended_leases: bool
    is_source_gone: bool


@dataclass(frozen=True)
class Graces:
    """Before these moments silence proves nothing."""

    leases_until: datetime
    orders_until: datetime
    hears_since: datetime | None = None
    """Since when agents could be heard of; None: not now."""

    def leases_end_before(self, now: datetime) -> datetime:
        """As the function of that name."""
        return leases_end_before(now, trusted=now >= self.leases_until)


async def ask(
    tx: Transaction,
    now: datetime,
    graces: Graces,
    *,
    db_id: str | None = None,
    tenant_id: str | None = None,
    name: str | None = None,
) -> Deferred:
    """Asks, with the next statement, for what surrounds a database as it is saved: by id, or by name the one in use. Its lock goes before."""
    return await tx.defer(
        "database_surroundings",
        db_id=db_id,
        tenant_id=tenant_id,
        name=name,
        is_saved=True,
        compute_id=None,
        leases_before=graces.leases_end_before(now),
    )


async def view_of(
    tx: Transaction,
    row: DatabaseRow,
    now: datetime,
    graces: Graces,
    asked: Deferred | None = None,
    *,
    is_unreachable: bool = False,
) -> DatabaseView:
    """The view of a locked row; looking changes nothing. `asked`: what `ask` was answered since it is locked, if nothing of it
    was changed since. No lease has ended before `graces.leases_until`: while no Control Plane
    could hear the Gateways, or the clock has just stepped, a lease that was not renewed says nothing. Nor has an order waited in vain before `graces.orders_until`: no agent could have taken it."""
    lines = await asked.rows(Surroundings) if asked is not None else []
    if not lines or lines[0].db_id != row.db_id:  # another has had the name meanwhile
        lines = await tx.many(
            Surroundings,
            "database_surroundings",
            db_id=row.db_id,
            tenant_id=None,
            name=None,
            is_saved=False,
            compute_id=row.compute_id,
            leases_before=graces.leases_end_before(now),
        )
    seen, latest = lines[0], tuple(task for line in lines if (task := _task(line, graces.orders_until)) is not None)
    leases_end_at = seen.leases_end_at
    if leases_end_at is not None and now < graces.leases_until:
        leases_end_at = max(leases_end_at, graces.leases_until)
    compute = None
    if seen.compute_id is not None and seen.compute_state is not None:
        compute = ComputeView(seen.compute_id, seen.compute_state, seen.started_at, seen.ended_at, seen.exit_reason)
    view = DatabaseView(
        state=State(row.state),
        timeline=TimelineView(
            seen.timeline_id, seen.timeline_state, seen.timeline_node_id, _configuration(seen), _origin(seen)
        ),
        idle_timeout_seconds=row.idle_timeout_seconds,
        target_scale=row.target_scale,
        wanted_until=row.wanted_until,
        idle_since=row.idle_since,
        last_used_at=row.last_used_at,
        attempt_count=row.attempt_count,
        retry_at=row.retry_at,
        retry_max=await _retry_max(tx, row, latest, compute),
        compute=compute,
        leases_end_at=leases_end_at,
        tasks=latest,
        node=_node(seen),
        hears_since=graces.hears_since,
        is_unreachable=is_unreachable,
        leaves=row.leaves,
        is_to_be_restored=row.restore is not None,
        is_moment=row.moment_of is not None,
        is_source_gone=seen.is_source_gone,
        has_ended_leases=seen.has_ended_leases,
    )
    if seen.timeline_state == "creating" and (candidates := await _candidates(tx, row, seen, now)):
        return dataclasses.replace(view, candidates=candidates, keeping=await _keeping(tx, row))
    if _may_move(view, now):
        return dataclasses.replace(view, candidates=await _others(tx, row, view.timeline.timeline_id))
    return view


def _may_move(view: DatabaseView, now: datetime) -> bool:
    """Whether the next compute may go to another node: asked only where it may, because a wake has no time for what it does not need."""
    if view.timeline.configuration is None or view.node is None or view.timeline.state == "gone":
        return False
    return view.node.status not in ("active", "cordoned") or view.is_node_away(now, UNREACHABLE_AFTER)


async def _others(tx: Transaction, row: DatabaseRow, timeline_id: str) -> tuple[NodeView, ...]:
    """Nodes that may have the next compute of a timeline whose WAL safekeepers keep, and which of them has had it."""
    terms = await computes.last_terms(tx, timeline_id)
    return tuple(
        dataclasses.replace(_candidate(node), last_term=terms.get(node.node_id, 0))
        for node in await fleet.nodes_with_room(tx, org_id=row.org_id)
    )


async def _retry_max(
    tx: Transaction, row: DatabaseRow, latest: tuple[TaskView, ...], compute: ComputeView | None
) -> int:
    # Asked only when something has gone wrong: a wake has no time for what it does not need.
    if (latest and latest[0].status == "failed") or (compute is not None and compute.ended):
        return int(await policies.value(tx, "database.start_retry_max", org_id=row.org_id))
    return 10


def _node(seen: Surroundings) -> NodeView | None:
    if seen.node_id is None or seen.node_name is None or seen.node_status is None:
        return None
    return NodeView(
        seen.node_id,
        seen.node_name,
        seen.node_status,
        seen.node_last_seen_at,
        keeps_wal=seen.node_keeps_wal is True,
        ends_sessions=seen.node_ends_sessions is True,
    )


async def _candidates(tx: Transaction, row: DatabaseRow, seen: Surroundings, now: datetime) -> tuple[NodeView, ...]:
    # As long as no start has succeeded, every attempt may go to another node. One that sleeps on needs none.
    if seen.timeline_state != "creating" or row.state not in (State.STOPPED, State.ERROR):
        return ()
    is_wanted = row.target_scale == 1 or (row.wanted_until is not None and row.wanted_until > now)
    if not is_wanted and seen.leases_end_at is None:
        return ()
    return tuple(_candidate(node) for node in await fleet.nodes_with_room(tx, org_id=row.org_id))


def _candidate(node: fleet.NodeRow) -> NodeView:
    return NodeView(
        node.node_id,
        node.name,
        node.status,
        node.last_seen_at,
        node.disk_free_bytes,
        node.disk_is_short,
        node.makes_timelines,
        node.keeps_wal,
        node.makes_branches,
        node.opens_moments,
        node.makes_schema_branches,
    )


async def _keeping(tx: Transaction, row: DatabaseRow) -> Keeping:
    found = await policies.values(tx, ["storage.safekeepers", "storage.quorum"], org_id=row.org_id)
    wanted = int(found["storage.safekeepers"])
    if wanted == 0:
        return Keeping()
    there = tuple(
        SafekeeperView(one.safekeeper_id, one.last_seen_at, one.disk_free_bytes, one.disk_is_short)
        for one in await fleet.active_safekeepers(tx)
    )
    return Keeping(wanted, int(found["storage.quorum"]), there)


def _configuration(seen: Surroundings) -> Configuration | None:
    return Configuration.model_validate(seen.timeline_configuration) if seen.timeline_configuration else None


def _origin(seen: Surroundings) -> Origin | None:
    return Origin.model_validate(seen.timeline_origin) if seen.timeline_origin else None


def _task(line: Surroundings, grace_until: datetime) -> TaskView | None:
    if line.task_id is None or line.kind is None or line.status is None or line.expires_at is None:
        return None
    return TaskView(
        task_id=line.task_id,
        kind=line.kind,
        compute_id=line.task_compute_id,
        status=line.status,
        expires_at=max(line.expires_at, grace_until),
        finished_at=line.finished_at,
        result=line.result,
        error=line.error,
        retryable=line.retryable is not False,
    )
