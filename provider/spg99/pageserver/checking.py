"""Walks the whole object store and compares it with itself and with the catalogue: what is missing, what is nobody's, what is damaged. Reads only.
Not here: printing it (commands/storage_check.py), removing anything (garbage.py)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from spg99.archive import Archive, Life
from spg99.errors import Damaged, Forbidden, NotFound
from spg99.images import TenantKey, TenantKeys, condemned
from spg99.images.keys import tenants_in
from spg99.images.manifest import Manifest, chunk_key, load_manifest, parse_image_key
from spg99.objects import ObjectStore
from spg99.wal import archived
from spg99.wal.archived import Piece, parse_life_name, parse_piece_name
from spg99.wal.lsn import format_lsn, segment_begin

READS_AT_ONCE: Final = 16
_KINDS: Final = ("images", "wal", "lives", "wake_set", "description")


class Finding(StrEnum):
    """What can be wrong with an object."""

    MISSING = "missing"
    FOREIGN = "foreign"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Found:
    """Something that is wrong."""

    finding: Finding
    key: str
    why: str


@dataclass
class Report:
    """What a walk has seen."""

    found: list[Found] = field(default_factory=list)
    tenants: int = 0
    timelines: int = 0
    images: int = 0
    chunks: int = 0
    pieces: int = 0
    unneeded_chunks: int = 0
    """Of no image: garbage, or of an image that is being stored."""
    read_bytes: int = 0

    def add(self, finding: Finding, key: str, why: str) -> None:
        """Notes one."""
        self.found.append(Found(finding, key, why))


@dataclass(frozen=True)
class KnownTimeline:
    """One of the catalogue's that has a history in the store."""

    timeline_id: str
    tenant_id: str
    has_started: bool
    """It has an image then."""


async def check(
    objects: ObjectStore, keys: TenantKeys, known: Iterable[KnownTimeline] | None = None, *, reads: bool = False
) -> Report:
    """Walks the store. `known`: the catalogue's timelines; None: it is not compared. `reads`: every chunk and every piece of WAL is read, and its hash and
    its seal checked. What is stored or removed meanwhile may be named: walk again."""
    report = Report()
    by_tenant: dict[str, dict[str, KnownTimeline]] | None = None
    if known is not None:
        by_tenant = defaultdict(dict)
        for timeline in known:
            by_tenant[timeline.tenant_id][timeline.timeline_id] = timeline
    in_store = [tenant_id async for tenant_id in tenants_in(objects)]
    for tenant_id in in_store:
        report.tenants += 1
        try:
            key = await keys.get(tenant_id)
        except NotFound:
            continue  # destroyed with the tenant: what is left of it is being removed
        except (Forbidden, Damaged) as error:
            report.add(Finding.DAMAGED, f"tenants/{tenant_id}/key.json", error.message)
            continue
        await _Walk(objects, key, report, reads=reads).tenant(None if by_tenant is None else by_tenant[tenant_id])
    for tenant_id in (by_tenant or {}).keys() - set(in_store):
        for timeline in (by_tenant or {})[tenant_id].values():
            if timeline.has_started:
                report.add(Finding.MISSING, f"tenants/{tenant_id}/", f"Timeline {timeline.timeline_id} has no image.")
    return report


class _Walk:
    """One tenant's objects."""

    def __init__(self, objects: ObjectStore, key: TenantKey, report: Report, *, reads: bool) -> None:
        self._objects, self._key, self._report, self._reads = objects, key, report, reads
        self._prefix = f"tenants/{key.tenant_id}/"

    async def tenant(self, known: Mapping[str, KnownTimeline] | None) -> None:
        """All of it."""
        images: dict[str, list[str]] = defaultdict(list)
        pieces: dict[str, list[Piece]] = defaultdict(list)
        # Manifests before chunks: a chunk that one of them names was there before it.
        timelines: set[str] = set()
        async for entry in self._objects.entries(f"{self._prefix}timelines/"):
            timeline_id, _, name = entry.key.removeprefix(f"{self._prefix}timelines/").partition("/")
            timelines.add(timeline_id)
            self._sort(entry.key, timeline_id, name, images, pieces)
        templates = [entry.key async for entry in self._objects.entries(f"{self._prefix}templates/")]
        manifests: dict[str, Manifest] = {}
        for one in (*(one for its in images.values() for one in its), *templates):
            try:
                manifests[one] = await load_manifest(self._objects, self._key, one)
            except NotFound:
                continue  # swept meanwhile
            except (Damaged, Forbidden) as error:
                self._report.add(Finding.DAMAGED, one, error.message)
        self._report.timelines += len(timelines)
        self._report.images += len(manifests)
        self._report.pieces += sum(map(len, pieces.values()))
        await self._chunks(manifests)
        for timeline_id in sorted(timelines):
            await self._wal(
                timeline_id, [manifests[one] for one in images[timeline_id] if one in manifests], pieces[timeline_id]
            )
        if known is not None:
            for timeline_id in sorted(timelines - known.keys()):
                key = f"{self._prefix}timelines/{timeline_id}/"
                self._report.add(Finding.FOREIGN, key, "The catalogue knows no such timeline.")
            for timeline in known.values():
                if timeline.has_started and not images[timeline.timeline_id]:
                    key = f"{self._prefix}timelines/{timeline.timeline_id}/"
                    self._report.add(Finding.MISSING, key, "The timeline has no image.")
        try:
            await condemned.read(self._objects, self._key.tenant_id)
        except Damaged as error:
            self._report.add(Finding.DAMAGED, condemned.garbage_key(self._key.tenant_id), error.message)

    def _sort(
        self, key: str, timeline_id: str, name: str, images: dict[str, list[str]], pieces: dict[str, list[Piece]]
    ) -> None:
        kind, _, last = name.partition("/")
        try:
            if kind == "images":
                parse_image_key(key)
                images[timeline_id].append(key)
            elif kind == "wal":
                pieces[timeline_id].append(parse_piece_name(last))
            elif kind == "lives":
                parse_life_name(last)
            elif kind.partition(".")[0] not in _KINDS:
                raise ValueError
        except ValueError:
            self._report.add(Finding.FOREIGN, key, "No part of spg99 gives an object such a name.")

    async def _chunks(self, manifests: Mapping[str, Manifest]) -> None:
        there = set()
        async for entry in self._objects.entries(f"{self._prefix}chunks/"):
            there.add(entry.key.rpartition("/")[2])
            if entry.key != chunk_key(self._key.tenant_id, entry.key.rpartition("/")[2]):
                self._report.add(Finding.FOREIGN, entry.key, "No part of spg99 gives an object such a name.")
        referenced: set[str] = set()
        for key, manifest in manifests.items():
            referenced |= manifest.objects
            for name in sorted(manifest.objects - there):
                why = f"The image {manifest.image_id} ({key}) needs it."
                self._report.add(Finding.MISSING, chunk_key(self._key.tenant_id, name), why)
        self._report.chunks += len(there)
        self._report.unneeded_chunks += len(there - referenced)
        if self._reads:
            await self._read_all((chunk_key(self._key.tenant_id, name), self._chunk_reader(name)) for name in there)

    def _chunk_reader(self, name: str) -> Callable[[], Awaitable[int]]:
        async def read() -> int:
            sealed = (await self._objects.get(chunk_key(self._key.tenant_id, name))).content
            return len(await asyncio.to_thread(self._key.open_chunk, sealed, name))

        return read

    async def _wal(self, timeline_id: str, images: list[Manifest], pieces: list[Piece]) -> None:
        """From the newest image to the last piece of the life that counts there is no hole. Before it there may be some: of the past only what is pinned or in the
        window stays, and how long that is the store does not know."""
        archive = Archive(self._objects, self._key, timeline_id)
        life = await self._life(archive)
        if life is None:
            return
        size = life.segment_bytes
        numbers = sorted({piece.number for piece in pieces if archived.left_at(life.history, piece.entry) is not None})
        fit = [one.wal_lsn for one in images if archived.holds(life.history, one.writer_term, one.lsn)]
        if numbers and fit:
            newest, last = segment_begin(max(fit) // size, size), segment_begin(numbers[-1], size)
            reached = archived.stored_until(pieces, life.history, newest, size)
            if newest <= last and reached <= last:
                why = f"Its WAL from {format_lsn(reached)} on is needed to go on from the newest image."
                self._report.add(Finding.MISSING, f"{self._prefix}timelines/{timeline_id}/wal/", why)
        if self._reads:
            await self._read_all(
                (archive.piece_key(piece), self._piece_reader(archive, piece, size)) for piece in pieces
            )

    async def _life(self, archive: Archive) -> Life | None:
        try:
            entries = await archive.lives()
            return await archive.life(entries[-1]) if entries else None
        except (Damaged, Forbidden) as error:
            self._report.add(Finding.DAMAGED, f"{self._prefix}timelines/{archive.timeline_id}/lives/", error.message)
            return None

    def _piece_reader(self, archive: Archive, piece: Piece, size: int) -> Callable[[], Awaitable[int]]:
        async def read() -> int:
            return len(await archive.get(piece, size))

        return read

    async def _read_all(self, readers: Iterable[tuple[str, Callable[[], Awaitable[int]]]]) -> None:
        todo = iter(readers)

        async def read_next() -> None:
            for key, read in todo:
                try:
                    self._report.read_bytes += await read()
                except NotFound:
                    continue  # swept meanwhile
                except (Damaged, Forbidden) as error:
                    self._report.add(Finding.DAMAGED, key, error.message)

        await asyncio.gather(*(read_next() for _ in range(READS_AT_ONCE)))
