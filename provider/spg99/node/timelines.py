"""Files of timelines on this node: made, removed, measured. Not here: the processes that use them (computes.py)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

from spg99 import faults
from spg99.atomic_write import sync_folder
from spg99.errors import Internal
from spg99.node import access, time_travel, writer
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.spares import Spares
from spg99.node.storage_rules import new_timeline_bytes_min
from spg99.postgres import Account, Binaries, Cluster
from spg99.postgres.accounts import make_folder
from spg99.postgres.reserve import disk_of
from spg99.protocol.tasks import ComputeStart, TimelineCreate


class Timelines:
    """The timelines of one node. The caller sees to it that nobody else works on the same one at the same time."""

    def __init__(self, folder: NodeFolder, template: Path, binaries: Binaries, account: Account | None) -> None:
        self.folder = folder
        self._template = template
        self.binaries = binaries
        self.account = account
        self._spares = Spares(folder, self._copy)

    async def create(self, order: TimelineCreate | ComputeStart) -> None:
        """Lays down a timeline: all of it, or nothing under its name. One that is there is a success."""
        home, draft = self.folder.timeline(order.timeline_id), self.folder.draft(order.timeline_id)
        if home.root.exists():
            return
        disk = disk_of(self.folder.timelines_dir)
        if disk.free_bytes < new_timeline_bytes_min(disk.total_bytes):
            raise Internal(
                "The disk of the node is full: there is no room for a new database. Free some, or add a node."
            )
        await asyncio.to_thread(_remove, draft.root)
        try:
            await self.lay_down(draft, order)
            faults.point("timeline.create.before_rename")
            draft.root.rename(home.root)  # its content lasts since single_user
            sync_folder(home.root.parent)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(_remove, draft.root))
            raise
        faults.point("timeline.create.before_result")

    async def lay_down(self, draft: TimelineFolder, order: TimelineCreate | ComputeStart) -> None:
        """A copy of the template that is the tenant's database, in a folder that has no timeline's name yet. It lasts."""
        if not self._spares.take(draft.root):
            await self._copy(draft.root)
        statements = access.tenant_sql(database_name=order.database_name, pg_user=order.pg_user)
        await self._cluster(draft.root).single_user(statements)

    def has(self, timeline_id: str) -> bool:
        """Whether its files are here."""
        return self.folder.timeline(timeline_id).root.exists()

    def admit(self, order: ComputeStart) -> None:
        """The fence of this node. Raises Conflict for an order that comes too late."""
        writer.admit(writer.read(self.folder.timeline(order.timeline_id)), order)

    async def delete(self, timeline_id: str) -> None:
        """Removes a timeline of which nothing runs. One that is not there is a success."""
        home = self.folder.timeline(timeline_id)
        if not home.root.exists():
            return
        trash = home.root.with_name(f".trash-{timeline_id}-{secrets.token_hex(4)}")
        home.root.rename(trash)  # from here on it is gone, however long the removal takes
        sync_folder(trash.parent)
        faults.point("timeline.delete.after_rename")
        await asyncio.to_thread(_remove, trash)

    async def sweep(self) -> None:
        """Removes what an agent that was killed left half made or half removed."""
        for path in self.folder.remains():
            await self.remove_remains(path)

    async def remove_remains(self, path: Path) -> None:
        """The same of one: a server may still run on it."""
        if (path / "pgdata").is_dir():
            await self._cluster(path).stop("immediate")
        await asyncio.to_thread(_remove, path)

    async def sweep_moments(self, running: Collection[str]) -> None:
        """Removes what a former agent left of moments: all on which no server runs. `running`: timelines with one."""
        for timeline_id in time_travel.leftovers(await asyncio.to_thread(self.folder.timelines), running):
            await self.delete(timeline_id)

    async def prepare(self) -> float:
        """Copies the template ahead of who will need it; answers after how many seconds to look again."""
        return await self._spares.fill()

    def _cluster(self, root: Path) -> Cluster:
        return Cluster(TimelineFolder(root).data_dir, self.folder.run_dir / "never", self.binaries, self.account)

    async def _copy(self, root: Path) -> None:
        make_folder(root, mode=0o755, durable=False)
        await self._cluster(root).create_from(self._template)


def size_bytes(folder: TimelineFolder) -> int:
    """Bytes the timeline takes on disk, or took when its files were given up: a database is as large as it is, wherever its files are. Files come
    and go meanwhile."""
    total = 0
    if not folder.data_dir.exists():
        with contextlib.suppress(OSError, ValueError):
            return int(folder.evicted_file.read_text())
    pending = [str(folder.root)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    total += status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except FileNotFoundError:
            continue
    return total


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
