"""What makes a commit outlive its compute and the compute's files: promises before a start, safekeepers beside it, images after it.

The files on a node are a cache then. A start goes on with them where the safekeepers' votes allow it; otherwise they are made anew
from the last image and the safekeepers' WAL, on a new PostgreSQL timeline.

Here: the order of these steps. Not here: the rules (wal/fence.py), asking several safekeepers (safekeepers.py), images (images/), PostgreSQL's
process (computes.py), and timelines that only this node has: they have none of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from spg99 import faults, images, log, spans
from spg99.errors import CannotWake, Conflict, StoreUnavailable
from spg99.images.manifest import images_prefix, wake_set_key
from spg99.node import kept_files, lazy_folder, standbys
from spg99.node.branching import Brancher, store_first
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.following import Reached, follow_of
from spg99.node.kept_start import Start, are_files_at_fault, require_no_image
from spg99.node.lazy_pages import LOST, LazyPages
from spg99.node.materialise import Materialiser, asked_ahead
from spg99.node.page_fetcher import PageFetcher
from spg99.node.safekeepers import DamagedWal, Safekeepers, StaleFiles
from spg99.node.writer import Writer
from spg99.objects import ObjectStore, open_store, require_installation
from spg99.postgres import Account, newest_timeline
from spg99.processes import Jobs
from spg99.processes.health import pause_seconds
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import configuration_of, vote_of
from spg99.protocol.tasks import ComputeStart, ComputeStarted, Kept
from spg99.wal import fence
from spg99.wal.fence import Choice, TermBegin, TermHistory
from spg99.wal.lsn import segment_begin

IMAGE_PAUSE_SECONDS: Final = 0.5
"""After a stop: a database that is wanted again at once is not read meanwhile."""

__all__ = ["IMAGE_PAUSE_SECONDS", "Keeping", "Start"]

_log = log.get("node")


class Keeping:
    """The storage of one node's kept timelines. Callers hold the timeline's lock for all but `aclose`."""

    def __init__(
        self,
        folder: NodeFolder,
        account: Account | None,
        *,
        object_store: str,
        master_key_file: Path,
        template_dir: Path,
        pages: PageFetcher | None = None,
    ) -> None:
        self._folder = folder
        self._master_key_file = master_key_file
        self._template_dir = template_dir
        self._object_store = object_store
        self._opened: tuple[ObjectStore, images.TenantKeys] | None = None
        self._is_ours = False
        """Whether the object store has been found to be this installation's."""
        self._opening = asyncio.Lock()
        self.unstored: dict[str, str] = {}
        """Timelines whose image the object store did not take yet: by which compute it was left."""
        self._seen_template: images.Seen | None = None
        self._jobs = Jobs()
        self.starting: dict[str, Start] = {}
        """Starts under way, by compute: their safekeepers connect before clients do."""
        self.reached = Reached()
        self.safekeepers = Safekeepers()
        self.pages = LazyPages(pages or PageFetcher(folder, account, library=None), self._store)
        self._materialiser = Materialiser(folder, account, self.safekeepers, self.pages.fetcher)
        self.brancher = Brancher(folder, account, self.safekeepers.clients)

    async def aclose(self) -> None:
        """Ends what is under way and closes all connections."""
        await self._jobs.finish(within_seconds=2.0)
        await self.safekeepers.aclose()
        await self.pages.aclose()
        if self._opened is not None:
            await self._opened[0].close()

    async def start(
        self,
        order: ComputeStart,
        kept: Kept,
        timeline: TimelineFolder,
        last: Writer | None,
        start_on: Callable[[Start], Awaitable[ComputeStarted]],
    ) -> ComputeStarted:
        """A whole start: `start_on` makes the process on the files that are there, and waits for `serves`. When they turn out to be stale, they are
        made anew and it is called again. Raises CannotWake, Conflict, and what `start_on` raises."""
        for files_are_stale in (False, True):
            start = await self.prepare(order, kept, timeline, last, files_are_stale=files_are_stale)
            try:
                self.starting[order.compute_id] = start
                return await start_on(start)
            except (StaleFiles, CannotWake) as error:
                are_at_fault = await asyncio.shield(are_files_at_fault(start, error))
                await asyncio.shield(self._abandon(start))
                if start.choice is not None and start.history is None and not isinstance(error, DamagedWal):
                    self.safekeepers.turn(timeline.timeline_id)
                if not are_at_fault:
                    raise
                _log.warning("files are not started on", timeline_id=timeline.timeline_id, reason=str(error))
                if start.has_begun:  # a term begins once (wal/fence.py): the next one makes them anew
                    await asyncio.to_thread(kept_files.distrust, timeline)
                    raise CannotWake(
                        "The database's files on its node could not be used. They are a cache, and are made anew at the next try."
                    ) from error
            except BaseException:
                await asyncio.shield(self._abandon(start))
                raise
            finally:
                self.starting.pop(order.compute_id, None)
        raise CannotWake("The files of the database were made anew, and are stale.")

    async def prepare(
        self,
        order: ComputeStart,
        kept: Kept,
        timeline: TimelineFolder,
        last: Writer | None,
        *,
        files_are_stale: bool = False,
    ) -> Start:
        """All that has to be there before the process: files that may be started on. `last`: the record of who wrote those on this node last.
        Raises CannotWake, Conflict."""
        settings = {
            # One transaction may write WAL faster than a safekeeper keeps it. What it has not yet stays, within the database's storage limit.
            "max_slot_wal_keep_size": "-1",
        }
        if kept_files.boot_id() is not None:
            # What counts is on the safekeepers' disks; after a crash of the machine these files are made anew.
            settings["fsync"] = "off"
        start = Start(order, kept, timeline, settings)
        if order.makes_timeline:
            start.settings |= standbys.settings(timeline, kept.configuration)
            await self._begin(start)
            return start
        try:
            await self._prepare_files(start, last, files_are_stale=files_are_stale)
            start.preload = await self.pages.fetcher.listen(timeline, order.compute_id)
            start.settings |= standbys.settings(timeline, kept.configuration)
        except BaseException:
            await asyncio.shield(self.pages.fetcher.end(timeline.timeline_id))
            raise
        return start

    async def _prepare_files(self, start: Start, last: Writer | None, *, files_are_stale: bool) -> None:
        """Those that are there, or others in their place."""
        timeline, kept = start.timeline, start.kept
        usable = None if files_are_stale else await asyncio.to_thread(kept_files.usable, timeline, last)
        if usable is not None and await self.pages.serve(timeline, kept):
            start.beside.append(asyncio.create_task(self._go_on(start, *usable)))
            return
        objects, keys = await self._store(kept)
        async with asked_ahead(objects, keys, timeline.timeline_id, kept) as (listed, getting):
            choice, votes = await self._promise(start)
            start.choice, start.segment_bytes = choice, votes[choice.donor_id].segment_bytes
            start.settings |= await self._materialiser.materialise(
                timeline, kept, choice, votes, objects, await getting, listed=listed
            )
        start.is_gated = True

    async def opened(self, kept: Kept) -> tuple[ObjectStore, images.TenantKey]:
        """The object store, and the key of a timeline's tenant. Raises as `_store` does, and NotFound."""
        objects, keys = await self._store(kept)
        return objects, await keys.get(kept.tenant_id)

    async def serves(self, start: Start) -> None:
        """PostgreSQL serves; clients may come once this has returned. Raises StaleFiles, CannotWake, Conflict."""
        if start.history is None and start.choice is not None:
            begun = await asyncio.to_thread(newest_timeline, start.timeline.data_dir / "pg_wal")
            if begun.lsn < start.choice.flush_lsn:
                await self.safekeepers.require_torn(
                    start.timeline.timeline_id, start.kept, start.choice, begun.lsn, start.segment_bytes
                )
            start.history = fence.begin(start.choice, tli=begun.tli, begin_lsn=begun.lsn)
            await self._follow(start, start.history)
        await asyncio.gather(*start.beside)
        if start.is_gated:
            await self.safekeepers.wait_caught_up(start.timeline.timeline_id, start.kept)
        faults.point("compute.start.kept")
        spans.mark("kept.serves" + (".gated" if start.is_gated else ""))

    async def _abandon(self, start: Start) -> None:
        """The start has failed: nothing of it goes on."""
        for task in start.beside:
            task.cancel()
        await asyncio.gather(*start.beside, return_exceptions=True)
        await self.pages.fetcher.end(start.timeline.timeline_id)
        await self.safekeepers.rest(start.timeline.timeline_id, start.kept, start.order.writer_term)

    async def reconcile(self, timeline: TimelineFolder, record: Writer) -> str | None:
        """Sees to it that the safekeepers of a compute that runs take its WAL, whoever was away when it began. A sentence when it cannot go on: they never
        can, and its commits would wait for ever, or files of it are lost."""
        if timeline.timeline_id in self.pages.fetcher.lost:
            return LOST
        terms = await asyncio.to_thread(kept_files.lived, timeline, record) if record.kept is not None else None
        if record.kept is None or terms is None:
            return None
        follow = self.follow_of_record(record, record.kept, terms)
        reason = await self.safekeepers.reconcile(timeline.timeline_id, record.kept, follow)
        return f"Its safekeepers cannot keep its WAL: {reason}" if reason is not None else None

    def follow_of_record(self, record: Writer, kept: Kept, terms: TermHistory) -> said.Follow:
        """What these are told of a compute that runs."""
        return follow_of(self._folder, self.reached, record.compute_id, record.writer_term, kept, terms)

    async def ended(self, timeline: TimelineFolder, record: Writer, code: int | None = None) -> None:
        """Its compute has ended, by itself with this exit code. A clean end becomes an image, some time after."""
        if record.kept is None:
            return
        await self.pages.ended(timeline, record)
        lived = datetime.now(UTC) - record.started_at if record.started_at is not None else timedelta(0)
        if kept_files.are_doubtful(code, lived):
            _log.warning("files are not trusted: a server ended soon on them", timeline_id=timeline.timeline_id)
            await asyncio.to_thread(kept_files.distrust, timeline)
        await self.safekeepers.rest(timeline.timeline_id, record.kept, record.writer_term)

    def build_image(self, timeline: TimelineFolder, record: Writer) -> None:
        """Cuts an image of a folder that was stopped, beside everything else. A start that comes meanwhile does not wait for it: then there is none.

        While the object store cannot take it, it is tried again: the database sleeps on, and its WAL waits in the safekeepers.
        """
        if record.kept is not None:
            job = f"image {timeline.timeline_id} {record.compute_id}"
            self._jobs.begin(job, self._image_when_stored(timeline, record, record.kept))

    async def delete(self, timeline_id: str, kept: Kept) -> None:
        """Removes the WAL of a timeline and its images; chunks that they share with others stay. A safekeeper that does not answer is told later, by the Control Plane."""
        await self._jobs.cancel(f"image {timeline_id} ")  # what it stored from here on, nobody would remove
        await self.safekeepers.remove(timeline_id, kept)
        if kept.is_archived:
            return  # others may begin in it: the pageserver knows
        objects, _ = await self._store(kept)
        async for entry in objects.entries(images_prefix(kept.tenant_id, timeline_id)):
            await objects.delete(entry.key)
        await objects.delete(wake_set_key(kept.tenant_id, timeline_id))

    # What follows is how.

    async def _store(self, kept: Kept) -> tuple[ObjectStore, images.TenantKeys]:
        """The object store and the keys, opened when they are needed first. Raises ForeignStore when it is another installation's: then nothing was
        written to it."""
        async with self._opening:
            if self._opened is None or (not self._is_ours and kept.installation_id is not None):
                objects = self._opened[0] if self._opened else await asyncio.to_thread(open_store, self._object_store)
                if kept.installation_id is not None:
                    await require_installation(objects, kept.installation_id)
                    self._is_ours = True
                self._opened = (objects, await images.open_keys(objects, self._master_key_file))
            return self._opened

    async def _begin(self, start: Start) -> None:
        """The first start: the files were just made, nobody has written anything. Safekeepers hear where it begins, and what there is by now becomes the
        first image while PostgreSQL starts."""
        timeline, order, kept = start.timeline, start.order, start.kept
        captured: images.Captured | None = None
        if order.origin is not None:
            control = await store_first(timeline, order, kept, *await self.opened(kept))
        else:
            if self._seen_template is None:
                self._seen_template = await asyncio.to_thread(images.see, self._template_dir)
            captured = await asyncio.to_thread(images.capture, timeline.data_dir, self._seen_template, is_copy=True)
            control = captured.control
        begin_lsn = segment_begin(control.redo_lsn // control.segment_bytes, control.segment_bytes)
        begin = said.TimelineBegin(
            term=order.writer_term,
            compute_id=order.compute_id,
            configuration=kept.configuration,
            system_identifier=control.system_identifier,
            segment_bytes=control.segment_bytes,
            tli=control.tli,
            begin_lsn=begin_lsn,
            attempts=order.attempts,
        )
        await self.safekeepers.begin(timeline.timeline_id, kept, begin)
        faults.point("compute.start.after_begin")
        start.history = (
            TermBegin(0, control.tli, begin_lsn),
            TermBegin(order.writer_term, control.tli, begin_lsn),
        )
        # Without the first image the WAL has nothing to begin with, and without WAL up to there the image has nothing to go on with.
        start.is_gated = True
        if captured is not None:
            start.beside.append(asyncio.create_task(self._store_first(captured, timeline, order, kept)))
        start.beside.append(asyncio.create_task(self._follow(start, start.history)))

    async def _go_on(self, start: Start, lived: TermHistory, end: kept_files.End) -> None:
        """While PostgreSQL starts on the files: may it? Raises StaleFiles when not."""
        choice, votes = await self._promise(start)
        if not fence.goes_on(lived[-1].term, choice) or end.is_before(choice.flush_lsn):
            raise StaleFiles("The safekeepers have WAL that they do not.")
        if start.is_over:
            return
        start.history = fence.go_on(lived, choice)
        logs = {name: vote_of(vote) for name, vote in votes.items()}
        kept_lsn = fence.kept_lsn(logs, choice.last_term, configuration_of(start.kept.configuration))
        start.is_gated = not end.is_kept(kept_lsn)
        await self._follow(start, start.history)

    async def _promise(self, start: Start) -> tuple[Choice, dict[str, said.Vote]]:
        order = start.order
        ask = said.PromiseAsk(
            term=order.writer_term, compute_id=order.compute_id, configuration=start.kept.configuration
        )
        spans.mark("kept.asks")
        answer = await self.safekeepers.promise(start.timeline.timeline_id, start.kept, ask)
        spans.mark("kept.promised")
        faults.point("compute.start.after_promise")
        return answer

    async def _follow(self, start: Start, terms: TermHistory) -> None:
        """Notes whose WAL it is, and has it taken from the compute as soon as that answers. Where there is more than was ever acknowledged, enough have to
        have heard of it before clients come; else only their commits wait for it."""
        order, timeline = start.order, start.timeline
        await asyncio.to_thread(kept_files.note_lived, timeline, terms)
        start.has_begun = True
        spans.mark("kept.noted")
        follow = follow_of(self._folder, self.reached, order.compute_id, order.writer_term, start.kept, terms)
        if start.is_gated:
            await self.safekeepers.follow(timeline.timeline_id, start.kept, follow)
        else:
            self.safekeepers.begin_follow(timeline.timeline_id, start.kept, follow)
        spans.mark("kept.followed")

    async def _store_first(
        self, captured: images.Captured, timeline: TimelineFolder, order: ComputeStart, kept: Kept
    ) -> None:
        objects, keys = await self._store(kept)
        key = await keys.get_or_make(kept.tenant_id)
        # Each node has made its own: of one version, but another cluster.
        template_name = f"{self._template_dir.parent.name}-{captured.control.system_identifier}"
        with_base = images.template_manifest(self._template_dir, template_name, objects, key)
        base, _ = await asyncio.gather(with_base, require_no_image(order, kept, objects))
        origin = images.Origin(kept.tenant_id, timeline.timeline_id, order.writer_term)
        await images.store(captured, origin, objects, key, base=base)

    async def _image_when_stored(self, timeline: TimelineFolder, record: Writer, kept: Kept) -> None:
        failures = 0
        try:
            while True:
                try:
                    await self._build_image(timeline, record, kept)
                    return
                except StoreUnavailable as error:
                    failures += 1
                    if failures == 1:
                        self.unstored[timeline.timeline_id] = record.compute_id
                        _log.warning(
                            "an image is not stored yet, WAL waits in the safekeepers",
                            timeline_id=timeline.timeline_id,
                            reason=str(error),
                        )
                await asyncio.sleep(pause_seconds(failures, chance=random.random()))  # noqa: S311  spreads load, guards nothing
        finally:
            if self.unstored.get(timeline.timeline_id) == record.compute_id:
                del self.unstored[timeline.timeline_id]

    async def _build_image(self, timeline: TimelineFolder, record: Writer, kept: Kept) -> None:
        await asyncio.sleep(IMAGE_PAUSE_SECONDS)
        if not kept_files.is_still(timeline, record):
            return
        lived = await asyncio.to_thread(kept_files.lived, timeline, record)
        if lived is None:
            return
        objects, key = await self.opened(kept)
        origin = images.Origin(kept.tenant_id, timeline.timeline_id, record.writer_term)
        known = await asyncio.to_thread(images.Known.load, kept_files.known_file(timeline))
        end_lsn = (await asyncio.to_thread(kept_files.end_of, timeline)).clean_end_lsn
        if end_lsn is None or not await self.safekeepers.have(timeline.timeline_id, kept, lived, end_lsn):
            return  # it would hold more than they do, and be no beginning for their WAL
        try:
            states = await asyncio.to_thread(lazy_folder.states_of, timeline)
            image = await images.build(timeline.data_dir, origin, objects, key, known=known, states=states)
        except Conflict:
            return  # not stopped cleanly, or wanted again
        if not kept_files.is_still(timeline, record):
            return
        await asyncio.to_thread(image.known.save, kept_files.known_file(timeline))
        _log.info(
            "an image was stored",
            timeline_id=timeline.timeline_id,
            image_id=image.manifest.image_id,
            stored_bytes=image.counts.bytes_stored,
        )
        if not kept.is_archived:
            await self.safekeepers.trim(timeline.timeline_id, kept, lived, image.manifest.checkpoint_lsn)
        await self.pages.store_wake_set(timeline, kept, objects, key)
