"""Makes the files of a kept timeline anew: the last image, the safekeepers' WAL behind it, and what PostgreSQL has to know to replay that.

Here: one folder, whole or not there. Not here: whether it is needed (keeping.py), images (images/), starting on it (computes.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spg99 import faults, images, log
from spg99.archive.moments import REPLAY
from spg99.atomic_write import install_folder, sync_folder, write_file
from spg99.errors import CannotWake, Spg99Error
from spg99.images.manifest import ImageRef, images_of, wake_set_key
from spg99.node import kept_files, wake_set
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.lazy_folder import LazyFolder, lazy_files
from spg99.node.lazy_map import LazyMap, has_birth_times
from spg99.node.page_fetcher import PageFetcher
from spg99.node.safekeepers import Safekeepers, WalIsGone
from spg99.node.wake_set import NOTHING, WakeSet
from spg99.objects import ObjectStore
from spg99.postgres import Account
from spg99.postgres.accounts import make_folder
from spg99.protocol import safekeeper as said
from spg99.protocol.tasks import Kept
from spg99.wal import archived
from spg99.wal.fence import Choice

_log = log.get("node")


@dataclass(frozen=True)
class Materialiser:
    """Makes files on one node. The caller holds the timeline's lock."""

    folder: NodeFolder
    account: Account | None
    safekeepers: Safekeepers
    pages: PageFetcher

    async def materialise(
        self,
        timeline: TimelineFolder,
        kept: Kept,
        choice: Choice,
        votes: Mapping[str, said.Vote],
        objects: ObjectStore,
        key: images.TenantKey,
        *,
        listed: Awaitable[list[ImageRef]] | None = None,
    ) -> dict[str, str]:
        """Puts the files of this choice in the place of what is there; `listed`: its images, if they were asked for already. Answers the settings with which PostgreSQL replays its WAL to the end and begins a
        new timeline. Raises CannotWake, and what images/ raises; then nothing was changed."""
        draft = self.folder.draft(timeline.timeline_id)
        tried = ""
        while True:
            refs = await (listed or images_of(objects, kept.tenant_id, timeline.timeline_id))
            listed = None
            manifest = await _image_of(timeline, refs, choice, objects, key)
            _log.info(
                "the files of a timeline are made anew",
                timeline_id=timeline.timeline_id,
                image_id=manifest.image_id,
                wal_bytes=choice.flush_lsn - manifest.lsn,
            )
            await asyncio.to_thread(self._begin, draft, timeline)
            fetching = asyncio.create_task(
                self.safekeepers.fetch_wal(
                    timeline.timeline_id,
                    kept,
                    choice,
                    votes,
                    from_lsn=manifest.wal_lsn,
                    segment_bytes=votes[choice.donor_id].segment_bytes,
                    into=_wal_of(draft),
                )
            )
            try:
                known = await self._lay_out(manifest, objects, key, draft, timeline.timeline_id)
                await fetching
            except WalIsGone:
                await self.pages.end(timeline.timeline_id)
                # Its last stop, on another node perhaps, has become an image meanwhile, and the WAL before that was removed.
                if manifest.image_id == tried:
                    raise
                tried = manifest.image_id
            else:
                break
            finally:
                fetching.cancel()
                await asyncio.gather(fetching, return_exceptions=True)
        self.pages.fetch_ahead(timeline.timeline_id)
        await asyncio.to_thread(self._finish, draft, timeline, known)
        faults.point("compute.start.rebuilt")
        return {**REPLAY, "recovery_target_timeline": str(choice.history[-1].tli)}

    async def _lay_out(
        self,
        manifest: images.Manifest,
        objects: ObjectStore,
        key: images.TenantKey,
        draft: TimelineFolder,
        timeline_id: str,
    ) -> images.Known:
        """Large files are left out where servers can fetch their chunks when they touch them; those that the last wakes used are on their way at once."""
        left_out = lazy_files(manifest) if self.pages.can_serve and _is_cache() and has_birth_times(draft.root) else []
        if not left_out:
            return await images.lay_out(manifest, objects, key, draft.data_dir, self.account, durable=False)
        past = asyncio.create_task(_wake_set(manifest, objects, key))

        async def serve(data_dir: Path) -> None:
            await asyncio.to_thread(LazyMap.create, draft.map_file, data_dir, left_out, self.account)
            if (found := LazyMap.open(draft.map_file)) is None:
                raise CannotWake(f"The map of the files of timeline {timeline_id} cannot be read.")
            await self.pages.begin(timeline_id, LazyFolder(data_dir, found, manifest), objects, key, await past)

        try:
            absent = frozenset(file.path for file in left_out)
            return await images.lay_out(
                manifest, objects, key, draft.data_dir, self.account, durable=False, absent=absent, made=serve
            )
        finally:
            past.cancel()

    def _begin(self, draft: TimelineFolder, timeline: TimelineFolder) -> None:
        shutil.rmtree(draft.root, ignore_errors=True)
        make_folder(draft.root, mode=0o755, durable=False)
        make_folder(_wal_of(draft), mode=0o700, durable=False)
        # The record of who wrote last stays what it is until the new one begins.
        for name in (timeline.writer_file.name, timeline.begun_file.name, timeline.life_file.name):
            with contextlib.suppress(FileNotFoundError):
                write_file(draft.root / name, (timeline.root / name).read_bytes(), mode=0o600)

    def _finish(self, draft: TimelineFolder, timeline: TimelineFolder, known: images.Known) -> None:
        pg_wal = draft.data_dir / "pg_wal"
        for path in _wal_of(draft).iterdir():
            path.rename(pg_wal / path.name)
        _wal_of(draft).rmdir()
        (draft.data_dir / "recovery.signal").touch(mode=0o600)
        for path in (draft.data_dir / "recovery.signal", *pg_wal.iterdir()):
            if path.is_file():
                path.chmod(0o600)
                if self.account is not None:
                    os.chown(path, self.account.uid, self.account.gid)
        known.save(kept_files.known_file(draft))
        trash = timeline.root.with_name(f".trash-{timeline.timeline_id}-rebuilt")
        if timeline.root.exists():
            shutil.rmtree(trash, ignore_errors=True)
            timeline.root.rename(trash)
        if _is_cache():
            draft.root.rename(timeline.root)
            sync_folder(timeline.root.parent)
        else:
            install_folder(draft.root, timeline.root)
        shutil.rmtree(trash, ignore_errors=True)


@contextlib.asynccontextmanager
async def asked_ahead(
    objects: ObjectStore, keys: images.TenantKeys, timeline_id: str, kept: Kept
) -> AsyncIterator[tuple[asyncio.Task[list[ImageRef]], asyncio.Task[images.TenantKey]]]:
    """What a far store is asked for anyway, while safekeepers answer: the images of a timeline and its tenant's key."""
    listed = asyncio.create_task(images_of(objects, kept.tenant_id, timeline_id))
    getting = asyncio.create_task(keys.get(kept.tenant_id))
    try:
        yield listed, getting
    finally:
        for task in (listed, getting):
            task.cancel()
        await asyncio.gather(listed, getting, return_exceptions=True)


def _is_cache() -> bool:
    """Whether files are thrown away after a crash of the machine: then nothing of them need last, but the record of who wrote last."""
    return kept_files.boot_id() is not None


def _wal_of(draft: TimelineFolder) -> Path:
    """Where WAL is fetched to while the rest is laid out."""
    return draft.root / "wal"


async def _image_of(
    timeline: TimelineFolder, refs: list[ImageRef], choice: Choice, objects: ObjectStore, key: images.TenantKey
) -> images.Manifest:
    """The last image that the WAL of this choice goes on from."""
    if not refs:
        raise CannotWake(f"The object store holds no image of timeline {timeline.timeline_id}.")
    # Of the same life, not only of the same place: one of a term that came to nothing stays unused.
    fit = [ref for ref in refs if archived.holds(choice.history, ref.term, ref.lsn) and ref.lsn <= choice.flush_lsn]
    if not fit:
        raise CannotWake(
            f"The image {refs[-1].image_id} of timeline {timeline.timeline_id} is of another life than the safekeepers' WAL."
        )
    return await images.load_manifest(objects, key, max(fit, key=lambda ref: ref.lsn).key)


async def _wake_set(manifest: images.Manifest, objects: ObjectStore, key: images.TenantKey) -> WakeSet:
    """What the last wakes used, on whatever node; what nobody has noted is the catalogues."""
    place = wake_set_key(manifest.tenant_id, manifest.timeline_id)
    try:
        found = WakeSet.from_bytes(key.open((await objects.get(place)).content, place))
    except Spg99Error:
        found = NOTHING
    return found if found.misses else wake_set.catalogues(lazy_files(manifest))
