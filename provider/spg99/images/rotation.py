"""Opening the keys of a store, and giving it another master key. Here: the steps over all tenants. Not here: one key (keys.py), the file
(master_keys.py)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from spg99 import faults
from spg99.errors import BadRequest, Forbidden, NotFound, PreconditionFailed
from spg99.images.current_key import CURRENT_KEY, current_master_key, make_current
from spg99.images.keys import TenantKeys, master_key_of, tenants_in
from spg99.images.master_keys import MasterKeyFile
from spg99.objects import ObjectStore


async def open_keys(store: ObjectStore, path: Path, *, makes_file: bool = True) -> TenantKeys:
    """The keys of the tenants in this store, by the master key file at `path`, which is made only while the store holds no key, and where the
    caller is one who makes it.

    Raises Forbidden, with the id of the master key that is wanted, when the file is lost: a new one in its place would open nothing, and whoever
    puts the right one back would find the place taken. Raises BadRequest when the file cannot be used.
    """
    if not await asyncio.to_thread(path.exists):
        await _require_no_key(store, path)
        if not makes_file:
            raise Forbidden(f"The master key file {path} is missing. Name that of the agents with --master-key-file.")
        if (wanted := await current_master_key(store)) is not None:
            raise Forbidden(
                f"The master key file {path} is missing, and the master key of the object store is {wanted}. Copy the file that holds it here, from another "
                f"agent's machine or from your backup. Nothing in the store needs it yet: if it is lost, remove the object {CURRENT_KEY}, and another is made."
            )
    return TenantKeys(store, await asyncio.to_thread(MasterKeyFile.at, path))


async def _require_no_key(store: ObjectStore, path: Path) -> None:
    async for tenant_id in tenants_in(store):
        if (wanted := await master_key_of(store, tenant_id)) is not None:
            raise Forbidden(
                f"The master key file {path} is missing, and the object store holds keys that were wrapped with the master key {wanted}. Put "
                "the file back from your copy, or name it with --master-key-file. Nothing was written in its place."
            )


@dataclass(frozen=True)
class Rotation:
    """What a rotation has done."""

    master_key_id: str
    rewrapped: int
    """Keys of tenants that were wrapped anew."""
    former_ids: tuple[str, ...]
    """Master keys that are still in the file though nothing needs them."""


async def rotate(store: ObjectStore, master: MasterKeyFile, now: datetime) -> Rotation:
    """Gives the store another master key: adds it to the file, then wraps the key of each tenant anew. One that was interrupted is gone on with: no
    further master key is made for it.

    The former ones stay in the file, so that whoever has read it before goes on working. Raises Forbidden when a key was wrapped with a
    master key that the file does not hold, or the store's own was made on another machine; then all stays as it is.
    """
    keys, rewrapped = TenantKeys(store, master), 0
    await keys.require_current()
    if not await _is_under_way(store, master):
        await asyncio.to_thread(master.rotate, now)
    faults.point("storage.rotate_key.after_file")
    # Before any key is wrapped with it: a machine that does not have it yet wraps none with a former one any more.
    await make_current(store, await master.current_id())
    async for tenant_id in tenants_in(store):
        rewrapped += await _rewrap(keys, tenant_id)
        faults.point("storage.rotate_key.between_tenants")
    return Rotation(await master.current_id(), rewrapped, tuple(master.former_ids))


async def forget_former(store: ObjectStore, master: MasterKeyFile, now: datetime) -> list[str]:
    """Removes master keys from the file that nothing needs any more; answers them. Raises BadRequest when a tenant's key is still wrapped with one
    of them, Forbidden when the store's own was made on another machine: then nothing is removed."""
    await TenantKeys(store, master).require_current()
    current = await master.current_id()
    async for tenant_id in tenants_in(store):
        if (used := await master_key_of(store, tenant_id)) not in (None, current):
            raise BadRequest(
                f"The key of {tenant_id} is still wrapped with the master key {used}. Run `spg99 storage rotate-key` first; it goes on "
                "where it was interrupted."
            )
    return await asyncio.to_thread(master.forget, now)


async def _is_under_way(store: ObjectStore, master: MasterKeyFile) -> bool:
    """Whether some key is wrapped with a former master key."""
    if not (former := set(master.former_ids)):
        return False
    async for tenant_id in tenants_in(store):
        if await master_key_of(store, tenant_id) in former:
            return True
    return False


async def _rewrap(keys: TenantKeys, tenant_id: str) -> bool:
    while True:
        try:
            return await keys.rewrap(tenant_id)
        except NotFound:  # nothing of it was ever encrypted
            return False
        except PreconditionFailed:  # another does the same, or the tenant is being deleted
            continue
