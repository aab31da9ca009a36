"""The loop that brings exports forward: orders them of nodes, takes in what became of that, removes what has had its time. Here: carrying steps out.
Not here: which step is next (export_steps.py), the archive (node/exporting.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from spg99 import faults, log
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import export_steps as steps
from spg99.control_plane.databases import exports
from spg99.control_plane.databases.expiry import WAITS_AFTER_A_STEP
from spg99.control_plane.databases.export_steps import ExportState, TaskSeen
from spg99.control_plane.databases.exports import ExportRow
from spg99.control_plane.databases.kept import kept_by
from spg99.control_plane.fleet import TaskRow
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Store, Transaction
from spg99.errors import Conflict, Unavailable
from spg99.processes import WatchedClock
from spg99.protocol.node import is_silent
from spg99.protocol.tasks import TimelineExport, TimelineExported

SOON_SECONDS: Final = 1.0
"""While something is on its way."""
LATER_SECONDS: Final = 10.0
BATCH: Final = 100
NO_STORE: Final = (
    "This Control Plane knows no object store, so nothing can be exported into one. Start it with the agents' "
    "--object-store and --master-key-file."
)

_log = log.get("databases")


class Exporting:
    """Brings exports forward. Any number of Control Planes may."""

    def __init__(
        self, store: Store, clock: WatchedClock, access: storage.StoreAccess, installation: storage.Installation
    ) -> None:
        self._store, self._clock, self._access, self._installation = store, clock, access, installation

    async def turn(self) -> float:
        """One step of each; answers after how many seconds to look again."""
        async with self._store.reading() as tx:
            due = await exports.due(tx, self._clock.now(), limit=BATCH)
        for export_id in due:
            await self._step(export_id)
        return SOON_SECONDS if due else LATER_SECONDS

    async def _step(self, export_id: str) -> None:
        now = self._clock.now()
        async with self._store.transaction() as tx:
            row = await exports.lock(tx, export_id)
            if row is None:
                return
            task = await fleet.find_task(tx, row.task_id) if row.task_id is not None else None
            step = steps.next_step(
                ExportState(row.state), created_at=row.created_at, expires_at=row.expires_at, task=_seen(task), now=now
            )
            if not isinstance(step, steps.Remove):
                await self._carry_out(tx, row, task, step, now)
                return
            if row.state != ExportState.DELETING and self._clock.has_stepped_within(WAITS_AFTER_A_STEP):
                return
            await exports.begin_delete(tx, row, SYSTEM, now=now)
            if task is not None and task.status == "queued":
                await fleet.cancel_task(tx, task.task_id, "The export was deleted.")
        await self._remove(row)

    async def _carry_out(
        self, tx: Transaction, row: ExportRow, task: TaskRow | None, step: steps.Step, now: datetime
    ) -> None:
        match step:
            case steps.Begin():
                await self._begin(tx, row, now)
            case steps.Withdraw():
                assert task is not None, "it was not taken in time"
                if await fleet.cancel_task(tx, task.task_id, "No agent has begun it in time."):
                    await exports.wait_again(tx, row)
            case steps.Finish():
                assert task is not None, "it has a result"
                await exports.finish(tx, row, TimelineExported.model_validate(task.result), now)
                _log.info("an export is ready", export_id=row.export_id, db_id=row.db_id)
            case steps.Fail():
                _log.warning("an export has failed", export_id=row.export_id, db_id=row.db_id, reason=step.reason)
                await exports.fail(tx, row, Conflict(step.reason), now)
            case _:
                return
        faults.point("export.step.before_commit")

    async def _begin(self, tx: Transaction, row: ExportRow, now: datetime) -> None:
        """Orders it of the free node with the most free disk; none: it waits on."""
        busy = await exports.busy_nodes(tx)
        free = [
            node
            for node in await fleet.nodes_with_room(tx, org_id=row.org_id)
            if node.makes_exports and node.node_id not in busy and not is_silent(node.last_seen_at, now)
        ]
        origin = row.moment
        timeline = await storage.find_timeline(tx, origin.timeline_id)
        kept = await kept_by(tx, row.tenant_id, timeline.keepers if timeline else None, self._installation)
        if kept is None:
            await exports.fail(tx, row, Conflict("The history of the database is not kept any more."), now)
            return
        if not free:
            return
        node = min(free, key=lambda one: (one.disk_is_short, -one.disk_free_bytes, one.node_id))
        order = TimelineExport(
            timeline_id=origin.timeline_id,
            export_id=row.export_id,
            origin=origin.model_copy(update={"kept": kept}),
            database_name=row.database,
            pg_user=row.pg_user,
        )
        ordered = await fleet.enqueue_task(tx, order, node_id=node.node_id, db_id=None, now=now)
        (task,) = await ordered.rows(TaskRow)
        await exports.begun(tx, row, task_id=task.task_id, node_id=node.node_id)

    async def _remove(self, row: ExportRow) -> None:
        async with self._store.reading() as tx:
            installation_id = await self._installation.id(tx)
        opened = await self._access.opened(installation_id)
        if opened is None:
            raise Unavailable(NO_STORE)
        async for entry in opened.objects.entries(exports.prefix_of(row)):
            await opened.objects.delete(entry.key)
        faults.point("export.removed")
        async with self._store.transaction() as tx:
            await exports.remove(tx, row.export_id)
        _log.info("an export is removed", export_id=row.export_id, db_id=row.db_id)


def _seen(task: TaskRow | None) -> TaskSeen | None:
    return TaskSeen(task.status, task.expires_at, task.error) if task is not None else None
