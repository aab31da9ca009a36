"""A branch's files: the content of another timeline at one moment, as a stopped cluster that goes its own way from there. Or one that is only read (time_travel.py).

Whoever writes that timeline is asked nothing and notices nothing. Its WAL up to the moment is replayed by PostgreSQL in single-user mode, which opens the
cluster to nobody, and there the database gets its own name.

Here: these steps, and where a timeline ends. Not here: laying out a moment (archive/), what begins with the files (keeping.py).
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from typing import Final

from spg99 import archive, faults, images, log
from spg99.atomic_write import sync_folder
from spg99.errors import Internal
from spg99.node import access, kept_files, time_travel
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.kept_start import require_no_image
from spg99.node.storage_rules import new_timeline_bytes_min
from spg99.objects import ObjectStore
from spg99.postgres import Account, Binaries, Cluster
from spg99.postgres.accounts import make_folder
from spg99.postgres.control_file import ControlFile, read_control_file
from spg99.postgres.reserve import disk_of
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol.tasks import ComputeStart, Kept, Origin, TimelineLocated, is_moment

SHARED_BUFFERS: Final = "32MB"
"""Single-user mode has few, for statements: here all of the WAL goes through them."""

_log = log.get("node")


@dataclass
class Brancher:
    """Makes the files of branches on one node. The caller holds the lock of the branch's timeline."""

    folder: NodeFolder
    account: Account | None
    clients: SafekeeperClients
    made: dict[str, int] = field(default_factory=dict)
    """Branches that this agent has made, and where in their sources they begin."""

    async def locate(
        self, timeline_id: str, kept: Kept, objects: ObjectStore, key: images.TenantKey
    ) -> TimelineLocated:
        """Where a timeline ends, and from where on it can be gone back to. Raises CannotWake."""
        its = await archive.acknowledged(timeline_id, kept, self.clients)
        window = await archive.kept_window(timeline_id, kept, self.clients, objects, key)
        return TimelineLocated(
            timeline_id=timeline_id, from_lsn=window.first_lsn, from_time=window.first_time, end_lsn=its.flush_lsn
        )

    async def make(
        self, order: ComputeStart, origin: Origin, binaries: Binaries, objects: ObjectStore, key: images.TenantKey
    ) -> None:
        """Lays down the files of a branch or a moment, whole or not there. Raises CannotWake, BadRequest for a
        moment that is not kept (any more), and what images/ raises."""
        home, draft = self.folder.timeline(order.timeline_id), self.folder.draft(order.timeline_id)
        require_room(self.folder)
        await asyncio.to_thread(shutil.rmtree, draft.root, ignore_errors=True)
        make_folder(draft.root, mode=0o755, durable=False)
        try:
            laid = await self.lay_out(origin, objects, key, draft)
            _log.info(
                "the files of a branch are made",
                timeline_id=order.timeline_id,
                origin=origin.timeline_id,
                image_id=laid.image.image_id,
                wal_bytes=laid.end_lsn - laid.image.lsn,
            )
            cluster = Cluster(draft.data_dir, self.folder.run_dir / "never", binaries, self.account)
            is_read_only = is_moment(order.timeline_id)
            rename = [] if is_read_only else access.renamed_sql(origin.database_name, order.database_name)
            await cluster.single_user(rename, settings=laid.settings | {"shared_buffers": SHARED_BUFFERS})
            if is_read_only:
                time_travel.make_read_only(draft.data_dir, self.account)
            else:
                await asyncio.to_thread(laid.known.save, kept_files.known_file(draft))
            faults.point("branch.before_rename")
            draft.root.rename(home.root)  # its content lasts since single_user
            sync_folder(home.root.parent)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, draft.root, ignore_errors=True))
            raise
        self.made[order.timeline_id] = laid.end_lsn

    async def lay_out(
        self, origin: Origin, objects: ObjectStore, key: images.TenantKey, draft: TimelineFolder
    ) -> archive.Laid:
        """The cluster of the moment at which a branch begins, in a folder that has no timeline's name yet. Raises as `make` does."""
        assert origin.kept is not None, "an order says who keeps it"
        point = await archive.point_of(origin, origin.kept, self.clients)
        return await archive.lay_out_at(
            point, origin.timeline_id, origin.kept, self.clients, objects, key, draft.data_dir, self.account
        )


def require_room(folder: NodeFolder) -> None:
    """Raises Internal on a node that has none for another branch."""
    disk = disk_of(folder.timelines_dir)
    if disk.free_bytes < new_timeline_bytes_min(disk.total_bytes):
        raise Internal("The disk of the node is full: there is no room for a branch. Free some, or add a node.")


async def store_first(
    timeline: TimelineFolder, order: ComputeStart, kept: Kept, objects: ObjectStore, key: images.TenantKey
) -> ControlFile:
    """Stores the first image of a branch that is about to start: its source's, and what its files have beyond that. That may be any amount, so it is not
    done in memory beside the start, as with a copy of the template. Raises CannotWake when this start has stored one before."""
    await require_no_image(order, kept, objects)
    known = await asyncio.to_thread(images.Known.load, kept_files.known_file(timeline))
    origin = images.Origin(kept.tenant_id, timeline.timeline_id, order.writer_term)
    image = await images.build(timeline.data_dir, origin, objects, key, known=known)
    await asyncio.to_thread(image.known.save, kept_files.known_file(timeline))
    return await asyncio.to_thread(read_control_file, timeline.data_dir)
