"""Images of stopped clusters, stored. Here: the order in which that is done. Not here: which files are read (capture.py), how they become
chunks (chunking.py), laying one out (lay_out.py).

Order: chunks and packs, then the manifest. A manifest that is there is complete; what was stored without one is swept as garbage.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from spg99 import faults
from spg99.errors import Conflict, Damaged, Internal
from spg99.images import condemned
from spg99.images.capture import Captured, examine, require_still
from spg99.images.chunking import Counts, Cutter
from spg99.images.keys import TenantKey
from spg99.images.known import Known
from spg99.images.manifest import Manifest, Origin, image_key, load_if_there, seal_manifest, template_key
from spg99.objects import ObjectStore


@dataclass(frozen=True)
class Image:
    """An image that is in the store."""

    key: str
    known: Known
    counts: Counts

    @property
    def manifest(self) -> Manifest:
        """What it holds."""
        return self.known.manifest


async def build(
    data_dir: Path,
    origin: Origin,
    objects: ObjectStore,
    key: TenantKey,
    *,
    known: Known | None = None,
    states: Mapping[str, bytes] | None = None,
    replayed_at: datetime | None = None,
) -> Image:
    """An image of the folder of a cleanly stopped cluster, in the store when this returns.

    `known`: from `lay_out`, or from the last image of this very folder; what has not changed since then is not read. `states`: of a folder whose
    chunks are not all here, by path (chunking.py). `replayed_at`: of one that has replayed WAL, all of it written by then, and was stopped in that. Raises Conflict when the cluster runs, was not stopped cleanly, or is started meanwhile; BadRequest for what no image can hold; Damaged.
    """
    if known is not None and await objects.head(image_key(known.manifest)) is None:
        # It was swept: its chunks may go any time, and nothing may count on them.
        if states is not None:
            raise Damaged(
                f"The image {known.manifest.image_id}, of which the folder lacks parts, is not in the store any more."
            )
        known = None
    seen, in_recovery = known.seen if known else None, replayed_at is not None
    captured = await asyncio.to_thread(examine, data_dir, seen, is_copy=False, in_recovery=in_recovery)
    base = known.manifest if known else None
    return await _store(captured, origin, objects, key, base, object_key=None, states=states, replayed_at=replayed_at)


async def store(
    captured: Captured, origin: Origin, objects: ObjectStore, key: TenantKey, *, base: Manifest | None = None
) -> Image:
    """Stores what was captured. `base`: the image that what was `seen` then is; its chunks are in the store.

    Hashing, compression and encryption run in a thread of their own, one at a time.
    """
    return await _store(captured, origin, objects, key, base, object_key=None)


async def template_manifest(data_dir: Path, name: str, objects: ObjectStore, key: TenantKey) -> Manifest:
    """The image of a template, which is put there once per tenant: `base` of all databases that begin as a copy of it.

    `name` stands for its content: another template has another name.
    """
    object_key = template_key(key.tenant_id, name)
    if (found := await load_if_there(objects, key, object_key)) is not None:
        return found
    captured = await asyncio.to_thread(examine, data_dir, None, is_copy=False)
    origin = Origin(key.tenant_id, "template", 0)
    return (await _store(captured, origin, objects, key, None, object_key=object_key)).manifest


async def _store(
    captured: Captured,
    origin: Origin,
    objects: ObjectStore,
    key: TenantKey,
    base: Manifest | None,
    *,
    object_key: str | None,
    states: Mapping[str, bytes] | None = None,
    replayed_at: datetime | None = None,
) -> Image:
    if origin.tenant_id != key.tenant_id or (base is not None and base.tenant_id != key.tenant_id):
        raise Internal(f"The key of {key.tenant_id} is not for an image of {origin.tenant_id}.")
    began = time.monotonic()
    garbage = (await condemned.read(objects, key.tenant_id)).keys
    cutter = Cutter(captured, key, base, states)
    batches = cutter.batches()
    writing: asyncio.Task[None] | None = None
    try:
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            if wanted := garbage & batch.keys():
                await condemned.rescue(objects, key.tenant_id, wanted)
            if writing is not None:
                await writing  # one batch is written while the next one is made
            writing = asyncio.create_task(objects.put_contents(batch))
        if writing is not None:
            await writing
    finally:
        if writing is not None and not writing.done():
            await asyncio.wait([writing])
    faults.point("images.store.before_manifest")
    if captured.contents is None:
        await asyncio.to_thread(require_still, captured)
    manifest = replace(cutter.manifest(origin), replayed_at=replayed_at)
    if time.monotonic() - began > condemned.UPLOAD_SECONDS_MAX:
        raise Conflict(f"The image of timeline {origin.timeline_id} took too long to store.")
    object_key = object_key or image_key(manifest)
    sealed = await asyncio.to_thread(seal_manifest, manifest, key, object_key)
    await objects.put_if_absent(object_key, sealed)
    cutter.counts.objects_stored += 1
    cutter.counts.bytes_stored += len(sealed)
    return Image(object_key, Known(manifest, captured.state.seen), cutter.counts)
