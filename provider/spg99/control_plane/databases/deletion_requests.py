"""What the API asks when it deletes: one database, or all of a tenant. What runs is asked first whether anybody uses it.

A deletion ends sessions and, where nothing is kept, data; and that nobody was heard of proves nothing: a Gateway may be cut off, we may have been away.
So without `force` nothing with a live compute is marked for deletion. Its compute is asked to stop unless it is in use, the
same question that the idle clock asks, and the caller waits for the answer, outside of any transaction. A crash in between
leaves a database that sleeps.

Here: the refusals, the question, the mark. Not here: the steps that follow (deletion.py), what it leaves (on_delete.py, undeleting.py), how a compute finds out (node/in_use.py).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from datetime import datetime

from spg99 import faults
from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import exports, moment_rows, on_delete, rows, snapshot_schedules, snapshots
from spg99.control_plane.databases.apply import apply
from spg99.control_plane.databases.needed import check_unneeded
from spg99.control_plane.databases.removal import remove
from spg99.control_plane.databases.requests import in_use, want_stopped
from spg99.control_plane.databases.rows import DatabaseRow, save, wake_reconciler
from spg99.control_plane.databases.states import Event
from spg99.control_plane.records import audit, declarations, operations
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Store, Transaction, Wakeups
from spg99.errors import Conflict, Spg99Error, Unavailable
from spg99.protocol.node import is_silent
from spg99.resources import DatabaseState as State
from spg99.resources import OnDelete


class Questions:
    """Whether somebody uses what is to be deleted."""

    def __init__(self, store: Store, wakeups: Wakeups) -> None:
        self._store, self._wakeups = store, wakeups

    async def ask(
        self,
        tx: Transaction,
        found: Sequence[DatabaseRow],
        *,
        force: bool,
        actor: Actor,
        now: datetime,
        leaving: frozenset[str] = frozenset(),
        for_good: bool = False,
    ) -> tuple[str, ...]:
        """Checks that these may be deleted, `for_good` or as their `on_delete` says, with what else is `leaving`. Answers the operations whose end says whether those that run are in use; none:
        they may be deleted in this transaction. The rows are locked.

        Raises Conflict under deletion protection, and unless `force` while clients are known to be connected, or when nobody
        can ask the compute.
        """
        live = [row for row in found if row.state not in (State.DELETING, State.DELETED)]
        for row in live:
            check(row, force=force)
            await check_unneeded(tx, row, leaving=leaving | _ids(found), for_good=for_good)
            if not for_good and row.on_delete == OnDelete.SNAPSHOT_THEN_DELETE:
                await on_delete.check_snapshot(tx, row)  # before anything is stopped for it
        if force:
            return ()
        running = [row for row in live if row.has_writer]
        for row in running:
            await _check_reachable(tx, row, now)
        return tuple([await want_stopped(tx, row, actor) for row in running])

    async def refusal(self, op_ids: Sequence[str], *, until: float) -> Spg99Error | None:
        """Waits for the answers, until `until` of time.monotonic(); None: nobody uses any of them, and they have stopped."""
        with self._wakeups.waiter(*(("spg99_operation", op_id) for op_id in op_ids)) as wakeup:
            while True:
                wakeup.clear()
                async with self._store.transaction() as tx:
                    asked = [found for op_id in op_ids if (found := await operations.find(tx, op_id)) is not None]
                for operation in asked:
                    if operation.status == "failed":
                        why = (operation.error or {}).get("message", "Its compute could not be stopped.")
                        return Conflict(
                            f"{why} Nothing was deleted. Close the connections first, or delete with force=true.",
                            details={"db_id": operation.db_id},
                        )
                open_ = [operation for operation in asked if operation.status == "running"]
                if not open_:
                    return None
                if self._wakeups.closing:
                    return Unavailable("The Control Plane is shutting down; nothing was deleted. Retry in a moment.")
                if not await wakeup.wait_for(until - time.monotonic()):
                    return Conflict(
                        f"The node of database {open_[0].db_id} has not said yet whether somebody uses it; nothing was "
                        "deleted. Try again in a moment, or delete with force=true.",
                        details={"db_id": open_[0].db_id},
                    )


def check(row: DatabaseRow, *, force: bool) -> None:
    """Raises Conflict for a database that may not be deleted, as far as its row says."""
    if row.deletion_protection:
        raise Conflict(
            f"Database '{row.name}' is protected. Set deletion_protection to false before you delete it.",
            details={"db_id": row.db_id, "deletion_protection": True},
        )
    if row.active_connections and not force:
        raise in_use(row, "Close them first, or delete with force=true.")


def _ids(found: Sequence[DatabaseRow]) -> frozenset[str]:
    return frozenset(row.db_id for row in found)


async def begin_delete(
    tx: Transaction,
    row: DatabaseRow,
    *,
    force: bool,
    actor: Actor,
    now: datetime,
    leaving: frozenset[str] = frozenset(),
    for_good: bool = False,
) -> str:
    """Begins to delete a database; answers the operation `database.delete`. `row` is locked. `leaving`: databases that are deleted with it.
    `for_good`: nothing of it can come back, also if that was said before.

    One that was never started is gone with this transaction. Deleting twice is one deletion: the second call answers the
    operation of the first. One that was deleted already, and could come back, goes for good. Raises Conflict as `check` does, and unless `force` for a database whose compute was not asked to
    stop: this is the one door, and it does not guess. Also with `force` while a branch that was never started begins in it.
    """
    if row.state == State.DELETING:
        under_way = await operations.running(tx, "database.delete", db_id=row.db_id)
        assert under_way is not None, "state and operation are written together"
        if for_good and row.leaves is not None:
            await save(tx, dataclasses.replace(row, leaves=None))
            await wake_reconciler(tx, row.db_id)
        return under_way.op_id
    op_id, doomed = await doom(tx, row, force=force, actor=actor, now=now, leaving=leaving, for_good=for_good)
    is_nowhere = row.compute_id is None and await storage.node_of_timeline(tx, row.timeline_id) is None
    if is_nowhere and doomed.leaves is None:
        # No node was ever ordered anything for it: there is nobody to ask, and nothing to wait for.
        await remove(tx, doomed)
    else:
        await save(tx, doomed)
        await wake_reconciler(tx, row.db_id)
    faults.point("delete.before_commit")
    return op_id


async def doom(
    tx: Transaction,
    row: DatabaseRow,
    *,
    force: bool,
    actor: Actor,
    now: datetime,
    leaving: frozenset[str] = frozenset(),
    for_good: bool = False,
) -> tuple[str, DatabaseRow]:
    """Marks a database for removal, and no more; answers the operation, and the row for who saves it. For the rest as `begin_delete`."""
    check(row, force=force)
    await check_unneeded(tx, row, leaving=leaving, for_good=for_good)
    if row.has_writer and not force:
        raise Conflict(
            f"Database '{row.name}' is running. Stop it first, or delete with force=true.", details={"db_id": row.db_id}
        )
    op_id = await operations.start(tx, "database.delete", org_id=row.org_id, tenant_id=row.tenant_id, db_id=row.db_id)
    leaves = None if for_good else await on_delete.choose(tx, row, now)
    doomed = await apply(
        tx, row, Event.DELETED, error=Conflict("The database was deleted."), version=row.version + 1, leaves=leaves
    )
    if row.restore is not None:
        await tx.execute("drop_restore", db_id=row.db_id)
    await declarations.forget(tx, row.db_id)
    await audit.record(
        tx, actor, "database.delete", row.db_id, org_id=row.org_id, name=row.name, tenant=row.tenant, force=force
    )
    await moment_rows.wake_of(tx, row.timeline_id)
    return op_id, doomed


@dataclasses.dataclass(frozen=True)
class _Named:
    name: str


class OfTenants:
    """The databases of one tenant, for who removes the tenant (serving/interfaces.py: TenantDatabases)."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    async def count(self, tx: Transaction, tenant_id: str) -> int:
        """How many there are that are not deleted or on their way out."""
        return int(await tx.value("count_databases_of_tenant", tenant_id=tenant_id))

    async def names(self, tx: Transaction, tenant_id: str, *, limit: int) -> list[str]:
        """Names of those that are counted, the newest first."""
        return [
            found.name
            for found in await tx.many(_Named, "names_of_databases_of_tenant", tenant_id=tenant_id, limit=limit)
        ]

    async def count_snapshots(self, tx: Transaction, tenant_id: str) -> int:
        """How many snapshots there are of databases that are deleted."""
        return await snapshots.count_alone(tx, tenant_id)

    async def begin_delete(
        self, tx: Transaction, tenant_id: str, *, force: bool, actor: Actor, now: datetime
    ) -> tuple[str, ...]:
        """Begins to delete all of them for good, or none: answers the questions to wait for (`refusal`) while some of them run.

        All in one transaction, with every row locked: a tenant whose databases are half marked when the process ends would
        keep its name and lose its data. Raises Conflict as for one.
        """
        found = [
            row for db_id in await rows.of_tenant(tx, tenant_id) if (row := await rows.lock(tx, db_id)) is not None
        ]
        made = await snapshot_schedules.ids_of_tenant(tx, tenant_id) | await snapshots.ids_of_tenant(tx, tenant_id)
        asked = await self._questions.ask(tx, found, force=force, actor=actor, now=now, leaving=made, for_good=True)
        if not asked:
            await snapshot_schedules.delete_of_tenant(tx, tenant_id, actor)
            await snapshots.delete_of_tenant(tx, tenant_id, actor)
            await exports.delete_of_tenant(tx, tenant_id)
            for row in found:
                await begin_delete(tx, row, force=force, actor=actor, now=now, leaving=_ids(found), for_good=True)
        return asked

    async def refusal(self, asked: Sequence[str], *, until: float) -> Spg99Error | None:
        """Waits for the answers; None: nobody uses any of them."""
        return await self._questions.refusal(asked, until=until)


async def _check_reachable(tx: Transaction, row: DatabaseRow, now: datetime) -> None:
    """Raises Conflict while the node is away: an order to stop that nobody carries out would only lock clients out."""
    node_id = await storage.node_of_timeline(tx, row.timeline_id)
    node = await fleet.find_node(tx, node_id) if node_id is not None else None
    if node is None or is_silent(node.last_seen_at, now):
        name = "of the database" if node is None else node.name
        raise Conflict(
            f"Database '{row.name}' runs, and node {name} is not heard of: nobody can tell whether clients are connected (it "
            f"counted {row.compute_connections} last). Try again when it is back, or delete with force=true.",
            details={"db_id": row.db_id, "compute_connections": row.compute_connections},
        )
