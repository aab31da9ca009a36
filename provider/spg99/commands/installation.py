"""The catalogue of a `spg99 dev`: migrated, with its first organization and key, and tokens for who joins.

Here: asking the Control Plane's own code for it, in this process. Not here: what a fresh catalogue holds (bootstrap.py).
"""

from __future__ import annotations

import asyncio
from typing import Self

from spg99.clock import SystemClock
from spg99.commands.dev_folder import DevFolder
from spg99.control_plane import bootstrap
from spg99.control_plane.fleet import EnrolmentKind
from spg99.control_plane.store import Store, migrate


class Installation:
    """One catalogue. Use it as `async with`."""

    def __init__(self, catalogue_url: str, folder: DevFolder) -> None:
        self._url = catalogue_url
        self._folder = folder
        self._store: Store | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._store is not None:
            await self._store.close()

    async def prepare(self) -> None:
        """Brings the schema up to date and makes the admin key. May be cut short and repeated."""
        await asyncio.to_thread(migrate.up, self._url)
        token, is_new = bootstrap.admin_token(self._folder.data_dir)
        await bootstrap.bootstrap(await self._open(), admin_token=token, is_new=is_new)

    async def keep_new_databases(self, safekeepers: int) -> None:
        """How many safekeepers new databases have (policy `storage.safekeepers`)."""
        await bootstrap.set_policy(await self._open(), "storage.safekeepers", safekeepers)

    async def enrolment_token(self, kind: EnrolmentKind) -> str:
        """A single-use token for who joins."""
        return await bootstrap.new_enrolment_token(await self._open(), kind, SystemClock())

    async def _open(self) -> Store:
        if self._store is None:
            self._store = Store(self._url, pool_size=2)
            await self._store.open()
        return self._store
