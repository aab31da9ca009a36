"""The object store as a Control Plane has it: it describes tenants and databases there, and removes what a deleted tenant had. Here: opening it. Not here:
images, which only agents make."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spg99.config import StoreSettings
from spg99.objects.installation import KEY as INSTALLATION_KEY

if TYPE_CHECKING:
    from spg99.images import TenantKeys
    from spg99.objects import ObjectStore


@dataclass(frozen=True)
class Opened:
    """A store that is ours."""

    objects: ObjectStore
    keys: TenantKeys


class StoreAccess:
    """The store, opened when it is needed first."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._opened: Opened | None = None

    async def opened(self, installation_id: str) -> Opened | None:
        """The store; None where this Control Plane was told of none and none is in its data folder.

        Raises ForeignStore, Forbidden (no master key: only agents make one, and this must be the same file), StoreUnavailable.
        """
        if self._opened is not None:
            return self._opened
        place = self._settings.object_store_place
        if self._settings.object_store is None and not await asyncio.to_thread((Path(place) / INSTALLATION_KEY).exists):
            return None
        # Most Control Planes have nothing in an object store: compression, images and the client of a store are 8 MB.
        from spg99 import images, objects

        store = await asyncio.to_thread(objects.open_store, place)
        await objects.require_installation(store, installation_id)
        keys = await images.open_keys(store, self._settings.master_keys_path, makes_file=False)
        self._opened = Opened(store, keys)
        return self._opened

    async def close(self) -> None:
        """Lets go of it."""
        if self._opened is not None:
            await self._opened.objects.close()
            self._opened = None
