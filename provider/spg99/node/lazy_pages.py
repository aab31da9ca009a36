"""When a node serves the chunks of a folder whose files are not all here: from a server's start to its end, over restarts of the agent, and what its wakes used.

Here: the order of these steps for one timeline. Not here: laying such a folder out (materialise.py), fetching (page_fetcher.py), everything else that
keeps a commit (keeping.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from spg99 import log
from spg99.errors import Damaged
from spg99.images import TenantKey, TenantKeys
from spg99.images.manifest import wake_set_key
from spg99.node import kept_files, lazy_folder
from spg99.node.folder import TimelineFolder
from spg99.node.page_fetcher import PageFetcher
from spg99.node.writer import Writer
from spg99.objects import ObjectStore
from spg99.processes import Jobs, retried
from spg99.protocol.tasks import Kept

LOST = "Parts of the image that its files are of are not in the object store any more; they are made anew."

_log = log.get("node")


class LazyPages:
    """Those of one node. `store` opens the object store and the keys."""

    def __init__(
        self, fetcher: PageFetcher, store: Callable[[Kept], Awaitable[tuple[ObjectStore, TenantKeys]]]
    ) -> None:
        self.fetcher = fetcher
        self._store = store
        self._jobs = Jobs()

    async def aclose(self) -> None:
        """Ends what is under way; servers wait for the next agent."""
        await self._jobs.finish(within_seconds=0)
        await self.fetcher.leave()

    async def serve(self, timeline: TimelineFolder, kept: Kept, *, has_server: bool = False) -> bool:
        """Fetches what is absent of files that are to be gone on with; False when they are of no use. `has_server`: a former agent's, which goes on.
        Raises what the object store raises."""
        try:
            folder = await asyncio.to_thread(lazy_folder.opened, timeline, has_server=has_server)
        except Damaged as error:
            _log.warning("files are not started on", timeline_id=timeline.timeline_id, reason=str(error))
            return False
        if folder is None:
            return True
        if not self.fetcher.can_serve or timeline.timeline_id in self.fetcher.lost:
            folder.close()
            self.fetcher.lost.discard(timeline.timeline_id)
            return False
        try:
            objects, keys = await self._store(kept)
            key = await keys.get(kept.tenant_id)
        except BaseException:
            folder.close()
            raise
        past = await asyncio.to_thread(kept_files.past_wakes, timeline)
        await self.fetcher.begin(timeline.timeline_id, folder, objects, key, past, has_server=has_server)
        if not has_server:
            self.fetcher.fetch_ahead(timeline.timeline_id)
        return True

    def adopt(self, timeline: TimelineFolder, record: Writer) -> None:
        """Its compute runs on since a former agent, and may want chunks that are not here: it waits until it is answered."""
        if record.kept is not None and timeline.map_file.exists():
            adopting = retried("pages", partial(self._adopt, timeline, record, record.kept))
            self._jobs.begin(f"adopt {timeline.timeline_id}", adopting)

    async def _adopt(self, timeline: TimelineFolder, record: Writer, kept: Kept) -> None:
        if kept_files.is_still(timeline, record) and await self.serve(timeline, kept, has_server=True):
            await self.fetcher.listen(timeline, record.compute_id)

    async def ended(self, timeline: TimelineFolder, record: Writer) -> None:
        """The compute has ended: nobody writes into its files any more once this returns."""
        if (used := await self.fetcher.end(timeline.timeline_id, record.compute_id)) is not None:
            await asyncio.to_thread(kept_files.note_wake, timeline, used)

    async def store_wake_set(self, timeline: TimelineFolder, kept: Kept, objects: ObjectStore, key: TenantKey) -> None:
        """Puts beside the images what the last wakes used, so that another node has it."""
        past = await asyncio.to_thread(kept_files.past_wakes, timeline)
        if past.misses:
            place = wake_set_key(kept.tenant_id, timeline.timeline_id)
            await objects.put(place, key.seal(past.to_bytes(), place))
