"""Destroys what a deleted tenant had in the object store: first its key, which makes all of it unreadable, then its objects, then its descriptions.

Here: one turn of the loop. Not here: when a tenant is deleted (tenants/), keys (images/keys.py). May be interrupted anywhere and goes on: the key's note stays
for good, and who is late (an agent that was cut off) is looked after once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from spg99 import faults, log
from spg99.control_plane.storage import stored_tenants
from spg99.control_plane.storage.descriptions import PREFIX
from spg99.control_plane.storage.installation import Installation
from spg99.control_plane.storage.object_store import Opened, StoreAccess
from spg99.control_plane.store import Store
from spg99.errors import Spg99Error
from spg99.processes import WatchedClock

if TYPE_CHECKING:
    from spg99.objects import ObjectStore

TURN_SECONDS: Final = 60.0
NOTED_EVERY: Final = 500
"""Objects: what a killed Control Plane has deleted since is not counted."""
DELETES_AT_ONCE: Final = 16
LATE_AFTER: Final = timedelta(minutes=10)
"""No upload of a compute that has ended is under way for so long."""

_log = log.get("storage")


class Shredder:
    """Removes deleted tenants from the store."""

    def __init__(
        self,
        store: Store,
        clock: WatchedClock,
        access: StoreAccess,
        installation: Installation,
        deleted: Counter | None,
    ) -> None:
        self._store, self._clock, self._access, self._installation = store, clock, access, installation
        self._deleted = deleted

    async def turn(self) -> float:
        """One look; raises what the store raises, and begins again where it was."""
        async with self._store.transaction() as tx:
            due = await stored_tenants.to_shred(tx, self._clock.now())
            installation_id = await self._installation.id(tx) if due else ""
        if not due:
            return TURN_SECONDS
        opened = await self._access.opened(installation_id)
        if opened is None:
            _log.warning("deleted tenants have objects, and this Control Plane knows no object store", tenants=len(due))
            return TURN_SECONDS
        for row in due:
            await self._shred(opened, row)
        return 0.0

    async def _shred(self, opened: Opened, row: stored_tenants.ShreddingRow) -> None:
        # Whatever happens from here on, nothing of it can be read again, and nobody makes it a key anew.
        await opened.keys.destroy(row.tenant_id, self._clock.now())
        faults.point("storage.shred.after_key")
        total = row.objects_deleted
        async for count in _delete_all(opened.objects, row.tenant_id):
            total += count
            await self._note(row.tenant_id, count)
            faults.point("storage.shred.between")
        is_second = row.state == "shredded"
        next_check_at = None if is_second else self._clock.now() + LATE_AFTER
        async with self._store.transaction() as tx:
            await stored_tenants.note_shredded(
                tx, row.tenant_id, objects_deleted=0, is_done=True, next_check_at=next_check_at
            )
        _log.info("the objects of a deleted tenant are removed", tenant_id=row.tenant_id, objects_deleted=total)

    async def _note(self, tenant_id: str, count: int) -> None:
        if self._deleted is not None:
            self._deleted.inc(count)
        async with self._store.transaction() as tx:
            await stored_tenants.note_shredded(tx, tenant_id, objects_deleted=count, is_done=False, next_check_at=None)


async def _delete_all(objects: ObjectStore, tenant_id: str) -> AsyncIterator[int]:
    """Deletes all but the note of the destroyed key; answers, now and then, how many since. Raises what the store raises, after it has answered that."""
    from spg99.images.keys import key_of_tenant  # as in object_store.py

    batch: list[str] = []
    for prefix in (f"tenants/{tenant_id}/", f"{PREFIX}{tenant_id}/"):
        async for entry in objects.entries(prefix):
            if entry.key == key_of_tenant(tenant_id):
                continue
            batch.append(entry.key)
            if len(batch) == NOTED_EVERY:
                async for count in _delete(objects, batch):
                    yield count
                batch = []
    async for count in _delete(objects, batch):
        yield count


async def _delete(objects: ObjectStore, keys: list[str]) -> AsyncIterator[int]:
    todo, gone = iter(keys), 0
    errors: list[Spg99Error] = []

    async def delete_next() -> None:
        nonlocal gone
        for key in todo:
            if errors:
                return
            try:
                await objects.delete(key)
            except Spg99Error as error:
                errors.append(error)
            else:
                gone += 1

    await asyncio.gather(*(delete_next() for _ in range(DELETES_AT_ONCE)))
    if gone:
        yield gone
    if errors:
        raise errors[0]
