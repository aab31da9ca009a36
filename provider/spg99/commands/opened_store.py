"""The object store as an operator's command opens it. Not here: what is done with it (storage.py, storage_check.py)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from spg99.config import StoreSettings
from spg99.errors import BadRequest

if TYPE_CHECKING:
    from spg99.images import MasterKeyFile
    from spg99.objects import ObjectStore


@contextlib.asynccontextmanager
async def opened(settings: StoreSettings) -> AsyncIterator[tuple[ObjectStore, MasterKeyFile]]:
    """The store and its master keys. Raises BadRequest when there is no store of ours, Forbidden without its master keys: only agents make them."""
    from spg99 import images
    from spg99.objects import installation_of, open_store

    place = settings.object_store_place
    nothing = BadRequest(
        f"There is no object store of an installation in {place}. Name it with --object-store, or --data-dir."
    )
    if "://" not in place and not await asyncio.to_thread(Path(place).is_dir):
        raise nothing
    objects = open_store(place)
    try:
        if await installation_of(objects) is None:
            raise nothing
        await images.open_keys(objects, settings.master_keys_path, makes_file=False)
        yield objects, images.MasterKeyFile.at(settings.master_keys_path)
    finally:
        await objects.close()
