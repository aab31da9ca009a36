"""The files of a timeline at one moment: the newest image at or before it, and the WAL behind that up to it. Here: choosing both, and one
folder, whole or not there. Not here: rules (wal/archived.py), reading WAL (wal/commits.py), starting on it."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from spg99 import faults, images
from spg99.archive.live import Live, log_of
from spg99.archive.stored import Archive, Life
from spg99.atomic_write import write_file
from spg99.errors import BadRequest, CannotWake, NotFound
from spg99.images.manifest import ImageRef, Manifest, images_of, load_manifest
from spg99.objects import ObjectStore
from spg99.postgres import Account
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol.tasks import Kept
from spg99.wal import archived, commits
from spg99.wal.archived import Piece
from spg99.wal.fence import TermHistory
from spg99.wal.history import files_of, history_name
from spg99.wal.lsn import Segment, format_lsn, segment_begin, segment_name, segment_number, segment_numbers

SEGMENTS_AT_ONCE: Final = 8
REPLAY: Final = {
    # Only what is in pg_wal by now is replayed, and that ends the recovery.
    "restore_command": "false",
    # The server counts as serving when it writes, not before.
    "hot_standby": "off",
}


@dataclass(frozen=True)
class Point:
    """A moment of a timeline: all WAL before `lsn`; or every transaction that had ended at `time` (UTC); or, with neither, all there is."""

    lsn: int | None = None
    time: datetime | None = None


@dataclass(frozen=True)
class Laid:
    """A folder that PostgreSQL can be started on."""

    settings: dict[str, str]
    """With which it replays the WAL to its end, and then begins a new timeline."""
    history: TermHistory
    """Whose WAL there is, up to `end_lsn`."""
    end_lsn: int
    """Where the WAL ends. A torn record before it is not replayed."""
    image: ImageRef
    known: images.Known
    """Of the image as it was laid out, for the next one (images/)."""
    system_identifier: int
    segment_bytes: int


@dataclass(frozen=True)
class Window:
    """From when to where a timeline can be laid out."""

    first_lsn: int
    first_time: datetime
    end_lsn: int


@dataclass(frozen=True)
class _Past:
    """What is known of a timeline's WAL: its history, and who has which of it."""

    life: Life
    pieces: list[Piece]
    images: list[ImageRef]
    live: Live
    end_lsn: int
    stored_lsn: int
    """Up to here it is in the store."""
    is_certain: bool
    """False: safekeepers that do not answer may have more, or another life."""

    def knows(self, lsn: int) -> bool:
        """Whether what is here up to a place is what was acknowledged there: one safekeeper alone may hold the end of a life that the others have cut."""
        return self.is_certain or lsn <= self.stored_lsn


async def lay_out_at(
    point: Point,
    timeline_id: str,
    kept: Kept,
    clients: SafekeeperClients,
    objects: ObjectStore,
    key: images.TenantKey,
    data_dir: Path,
    account: Account | None,
) -> Laid:
    """As the package's docstring says. `account` owns the files (None: ourselves); they are not synced: a cache, or a draft."""
    archive = Archive(objects, key, timeline_id)
    live = Live(timeline_id, kept, clients.of_kept(kept))
    past = await _past(archive, live, kept, objects)
    if point.lsn is not None:
        _require_within(point.lsn, past)
    elif point.time is None and not past.is_certain:
        raise _silent(timeline_id)
    target = past.end_lsn if point.lsn is None else point.lsn
    manifest, ref = await _image_before(past, target, point.time, objects, key)
    stage = data_dir.with_name(f".draft-{data_dir.name}-at")
    await asyncio.to_thread(shutil.rmtree, stage, ignore_errors=True)
    try:
        known = await images.lay_out(manifest, objects, key, stage, account, durable=False)
        try:
            await _lay_out_wal(past, archive, manifest.wal_lsn, target, stage / "pg_wal")
        except CannotWake as error:
            if past.knows(target):
                raise
            raise _silent(timeline_id) from error  # who answered has cut it since: it belonged to no later life
        if point.time is not None:
            target = await asyncio.to_thread(_cut_at, past, manifest, target, point.time, stage / "pg_wal")
        history = archived.up_to(past.life.history, target)
        await asyncio.to_thread(_finish, stage, history, account)
        faults.point("archive.lay_out.before_rename")
        stage.rename(data_dir)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, stage, ignore_errors=True))
        raise
    settings = {**REPLAY, "recovery_target_timeline": str(history[-1].tli)}
    life = past.life
    return Laid(settings, history, target, ref, known, life.system_identifier, life.segment_bytes)


async def kept_window(
    timeline_id: str, kept: Kept, clients: SafekeeperClients, objects: ObjectStore, key: images.TenantKey
) -> Window:
    """The moments that `lay_out_at` can lay out. Raises as it does."""
    live = Live(timeline_id, kept, clients.of_kept(kept))
    past = await _past(Archive(objects, key, timeline_id), live, kept, objects)
    for ref in sorted(past.images, key=lambda one: one.lsn):
        manifest = await load_manifest(objects, key, ref.key)
        if _reach(past, manifest.wal_lsn) >= past.end_lsn:
            return Window(ref.lsn, manifest.as_of, past.end_lsn)
    raise CannotWake(f"The object store holds no image of timeline {timeline_id} from which there is all WAL.")


async def _past(archive: Archive, live: Live, kept: Kept, objects: ObjectStore) -> _Past:
    await live.ask()
    timeline_id = archive.timeline_id
    life, end_lsn, is_certain = None, 0, not kept.addresses
    if (best := live.best) is not None and best.segment_bytes:
        life = Life(log_of(best).held, best.system_identifier, best.segment_bytes)
        end_lsn, is_certain = best.flush_lsn, is_certain or live.are_enough
    if (entries := await archive.lives()) and (life is None or entries[-1].term > life.history[-1].term):
        # A term that began here may have come to nothing on those who answer; the last one's history says which did.
        life, end_lsn = await archive.life(entries[-1]), 0
        is_certain = not kept.addresses
    if life is None:
        raise CannotWake(
            f"Nothing is known of the WAL of timeline {timeline_id}: no safekeeper answers, and the store has none."
        )
    refs = [
        ref
        for ref in await images_of(objects, kept.tenant_id, timeline_id)
        if archived.holds(life.history, ref.term, ref.lsn)
    ]
    if not refs:
        raise CannotWake(
            f"The object store holds no image of timeline {timeline_id} on whose WAL the safekeepers go on."
        )
    pieces, size = await archive.pieces(), life.segment_bytes
    newest = max(ref.lsn for ref in refs)
    stored = archived.stored_until(pieces, life.history, segment_begin(segment_number(newest, size), size), size)
    stored = max(stored, newest)
    return _Past(life, pieces, refs, live, max(end_lsn, stored), stored, is_certain)


def _require_within(lsn: int, past: _Past) -> None:
    first = min(ref.lsn for ref in past.images)
    if not past.knows(lsn):
        raise _silent(past.live.timeline_id)
    if not first <= lsn <= past.end_lsn:
        raise BadRequest(
            f"The LSN {format_lsn(lsn)} is outside of what is kept: from {format_lsn(first)} to {format_lsn(past.end_lsn)}."
        )


async def _image_before(
    past: _Past, lsn: int, moment: datetime | None, objects: ObjectStore, key: images.TenantKey
) -> tuple[Manifest, ImageRef]:
    oldest = None
    for ref in sorted(past.images, key=lambda one: one.lsn, reverse=True):
        if ref.lsn > lsn:
            continue
        try:
            manifest = await load_manifest(objects, key, ref.key)
        except NotFound:
            continue  # swept meanwhile
        if moment is None or manifest.as_of <= moment:
            return manifest, ref
        oldest = manifest
    if oldest is not None:
        raise BadRequest(f"{moment} is outside of what is kept: that begins at {oldest.as_of.isoformat()}.")
    raise CannotWake(f"The object store holds no image of the timeline at or before {format_lsn(lsn)}.")


async def _lay_out_wal(past: _Past, archive: Archive, begin_lsn: int, end_lsn: int, pg_wal: Path) -> None:
    """Segments as PostgreSQL reads them on the way to `end_lsn`; zeros behind it. Raises CannotWake for a hole."""
    size, history = past.life.segment_bytes, past.life.history
    places = asyncio.Semaphore(SEGMENTS_AT_ONCE)

    async def lay_out(number: int) -> None:
        wanted = min(segment_begin(number + 1, size), end_lsn)
        tli = archived.writer_before(history, wanted).tli
        async with places:
            content = await _segment(past, archive, tli, number, wanted)
        length = wanted - segment_begin(number, size)
        whole = content[:length] + bytes(size - length)
        await asyncio.to_thread((pg_wal / segment_name(Segment(tli, number), size)).write_bytes, whole)

    await asyncio.to_thread(_clear, pg_wal)
    try:
        async with asyncio.TaskGroup() as group:
            for number in segment_numbers(begin_lsn, end_lsn, size):
                group.create_task(lay_out(number))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def _segment(past: _Past, archive: Archive, tli: int, number: int, wanted: int) -> bytes:
    """From safekeepers, which are near; else from the store."""
    size, history = past.life.segment_bytes, past.life.history
    if (found := await past.live.segment(history, tli, number, wanted, size)) is not None:
        return found
    for pieces in (past.pieces, None):
        # Archived since it was listed: the safekeepers have let go of it meanwhile.
        its = pieces if pieces is not None else await archive.pieces(number)
        parts = archived.parts(its, history, segment_begin(number, size), wanted, size)
        if not isinstance(parts, archived.Missing):
            return await archive.get(parts[0].piece, size)
    raise CannotWake(
        f"WAL of timeline {archive.timeline_id} is missing: neither a safekeeper that answers nor the store has what is before {format_lsn(wanted)}."
    )


def _reach(past: _Past, begin_lsn: int) -> int:
    """The end of the WAL that there is without a hole from `begin_lsn` on."""
    size, history = past.life.segment_bytes, past.life.history
    begin = segment_begin(segment_number(begin_lsn, size), size)
    stored = max(begin_lsn, archived.stored_until(past.pieces, history, begin, size))
    kept = [log_of(seen) for seen in past.live.seen.values()]
    return max([stored, *(past.end_lsn for log in kept if log.first_lsn <= stored and past.end_lsn <= log.flush_lsn)])


# What follows runs in threads.


def _clear(pg_wal: Path) -> None:
    """What the image has of WAL is less, and may have another timeline's name."""
    for path in pg_wal.iterdir():
        if path.is_file() and path.suffix != ".history":
            path.unlink()


def _cut_at(past: _Past, manifest: Manifest, end_lsn: int, moment: datetime, pg_wal: Path) -> int:
    """Leaves of the WAL what there was at a moment; answers where it ends then."""
    size, history = past.life.segment_bytes, past.life.history

    def path_of(number: int) -> Path:
        tli = archived.writer_before(history, min(segment_begin(number + 1, size), end_lsn)).tli
        return pg_wal / segment_name(Segment(tli, number), size)

    def segment_at(number: int) -> bytes | None:
        try:
            return path_of(number).read_bytes()
        except FileNotFoundError:
            return None

    begin = manifest.wal_lsn
    stop = commits.stop_before(segment_at, begin, end_lsn, moment, size)
    if stop is None:
        if not past.is_certain:
            raise _silent(past.live.timeline_id)
        return end_lsn
    cut = max(stop, manifest.lsn)
    if not past.knows(cut):
        raise _silent(past.live.timeline_id)
    last = segment_number(cut - 1, size)
    content = segment_at(last) or b""
    for number in range(last, segment_number(end_lsn - 1, size) + 1):
        path_of(number).unlink(missing_ok=True)
    # Under the name by which a history that ends here reads it.
    name = segment_name(Segment(archived.writer_before(history, cut).tli, last), size)
    length = cut - segment_begin(last, size)
    (pg_wal / name).write_bytes(content[:length] + bytes(size - length))
    return cut


def _finish(stage: Path, history: TermHistory, account: Account | None) -> None:
    pg_wal = stage / "pg_wal"
    for tli, text in files_of(history).items():
        write_file(pg_wal / history_name(tli), text, durable=False)
    (stage / "recovery.signal").touch(mode=0o600)
    for path in (stage / "recovery.signal", *pg_wal.iterdir()):
        if path.is_file():
            path.chmod(0o600)
            if account is not None:
                os.chown(path, account.uid, account.gid)


def _silent(timeline_id: str) -> CannotWake:
    return CannotWake(
        f"Too few safekeepers of timeline {timeline_id} answer to know what was committed up to then. Try again when they do."
    )
