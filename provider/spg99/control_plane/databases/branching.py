"""Branches: finding out where one begins, and holding its source while it is written down. Here: reading, asking the source's node, pins.

The node is asked outside of any transaction, like a compute before a deletion; the transaction that writes the branch holds the source's row and sees to it
that it is still the same.

Not here: the rules (branch_points.py), what a branch is made of (node/branching.py).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from spg99.clock import Clock
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import rows
from spg99.control_plane.databases.branch_points import Ask, Beginning, Source, Wanted, Window, beginning, located
from spg99.control_plane.databases.kept import kept_by
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.fleet import TaskRow
from spg99.control_plane.records import policies
from spg99.control_plane.store import Store, Transaction, Wakeups
from spg99.errors import Conflict, Unavailable
from spg99.protocol.node import is_silent
from spg99.protocol.tasks import TimelineLocate, TimelineLocated
from spg99.resources import DatabaseState as State

LOCATED_WITHIN_SECONDS = 8.0

FindSource = Callable[[Transaction], Awaitable[DatabaseRow]]


class Branching:
    """Where branches begin, as far as the catalogue does not say."""

    def __init__(self, store: Store, wakeups: Wakeups, clock: Clock) -> None:
        self._store, self._wakeups, self._clock = store, wakeups, clock

    async def find(self, source_of: FindSource, wanted: Wanted) -> tuple[Source, Beginning]:
        """The source as it is, and where in it the branch begins. Raises what the rules raise, and Unavailable when nobody can be asked."""
        async with self._store.transaction() as tx:
            row = await source_of(tx)
            source = await source_as_it_is(tx, row)
            found = beginning(source, wanted, self._clock.now())
            if not isinstance(found, Ask):
                return source, found
            task_id = await self._ask(tx, row)
        answer = await self._answer(task_id, source.name)
        return source, located(source, wanted, Window(answer.from_lsn, answer.from_time, answer.end_lsn))

    async def _ask(self, tx: Transaction, row: DatabaseRow) -> int:
        now = self._clock.now()
        timeline = await storage.find_timeline(tx, row.timeline_id)
        assert timeline is not None and timeline.node_id is not None, "it was started, so it is on a node"
        own = await fleet.find_node(tx, timeline.node_id)
        node = own if own is not None and _answers(own, now) else None
        if node is None:  # what is asked is safekeepers and store, and any node reaches them
            others = await fleet.nodes_with_room(tx, org_id=row.org_id)
            node = next((one for one in others if _answers(one, now)), None)
        if node is None:
            why = "has not been heard of" if own is None or own.makes_branches else "has an agent of an older version"
            name = own.name if own is not None else timeline.node_id
            raise Unavailable(
                f"Node {name}, on which database '{row.name}' runs, {why}, and there is no other: nobody can tell where its history ends. Try again when it is back."
            )
        kept = await kept_by(tx, row.tenant_id, timeline.keepers, storage.Installation())
        assert kept is not None, "the rules have looked"
        order = TimelineLocate(timeline_id=row.timeline_id, kept=kept)
        ordered = await fleet.enqueue_task(tx, order, node_id=node.node_id, db_id=None, now=now)
        (task,) = await ordered.rows(TaskRow)
        return task.task_id

    async def _answer(self, task_id: int, name: str) -> TimelineLocated:
        until = time.monotonic() + LOCATED_WITHIN_SECONDS
        with self._wakeups.waiter(("spg99_task", str(task_id))) as wakeup:
            while True:
                wakeup.clear()
                async with self._store.reading() as tx:
                    task = await fleet.find_task(tx, task_id)
                if task is not None and task.status == "completed":
                    return TimelineLocated.model_validate(task.result or {})
                if task is not None and task.status == "failed":
                    raise Unavailable(f"Where the history of database '{name}' ends cannot be told: {task.error}")
                left = until - time.monotonic()
                if left <= 0 or self._wakeups.closing:
                    raise Unavailable(
                        f"The node of database '{name}' has not said in time where its history ends. Nothing was changed; try again."
                    )
                await wakeup.wait_for(left)


def _answers(node: fleet.NodeRow, now: datetime) -> bool:
    return node.status != "gone" and node.makes_branches and not is_silent(node.last_seen_at, now)


async def hold(tx: Transaction, source: Source) -> None:
    """Sees to it that the source stays what it was until this transaction ends. Raises Conflict when it is not any more."""
    unchanged(await rows.lock(tx, source.db_id), source)


def unchanged(row: DatabaseRow | None, source: Source) -> None:
    """Raises Conflict when a database is not any more what a moment was found in (pure)."""
    if row is None or row.state in (State.DELETING, State.DELETED) or row.timeline_id != source.timeline_id:
        raise Conflict(
            f"Database '{source.name}' was deleted or restored in the same moment; nothing was changed. Try again.",
            details={"db_id": source.db_id},
        )


async def pin(tx: Transaction, db_id: str, found: Beginning, *, at: datetime) -> None:
    """Keeps what a branch needs of its source until it was started."""
    if found.origin is not None:
        await storage.insert_pin(tx, found.origin.timeline_id, db_id, "branch", lsn=found.lsn, at=at)


async def source_as_it_is(tx: Transaction, row: DatabaseRow) -> Source:
    """What the rules look at."""
    timeline = await storage.find_timeline(tx, row.timeline_id)
    assert timeline is not None, "a database has a timeline"
    was_started = timeline.state != "creating"
    is_kept = timeline.keepers is not None
    if not was_started and timeline.origin is None:
        is_kept = int(await policies.value(tx, "storage.safekeepers", org_id=row.org_id)) > 0
    return Source(
        db_id=row.db_id,
        name=row.name,
        name_in_files=row.name_in_files,
        state=State(row.state),
        timeline_id=row.timeline_id,
        was_started=was_started,
        is_kept=is_kept or timeline.origin is not None,
        is_archived=await fleet.pageservers_exist(tx),
        has_writer=row.has_writer,
        writer_term=row.writer_term,
        begins_in=timeline.begins_in,
    )
