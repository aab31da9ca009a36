"""Removes from the store what nobody needs, in two phases: marked when it is seen first, removed when it has been so for a grace. Here: one tenant's
turn. Not here: what is needed (retention.py), the list of what is marked (images/condemned.py).

Order: chunks are listed before manifests are read, so that an image that is stored meanwhile counts. What cannot be read ends the turn: nothing is
removed by half the truth. Timelines that the Control Plane does not name are left alone; it may have been restored from yesterday.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from spg99 import faults, log
from spg99.archive import Archive
from spg99.errors import PreconditionFailed
from spg99.images import TenantKey, condemned
from spg99.images.manifest import load_manifest, parse_image_key
from spg99.objects import ObjectStore
from spg99.pageserver.retention import Past, PinnedMoment, StoredImage, needed
from spg99.protocol.pageserver import TimelineToKeep
from spg99.wal.archived import Piece, parse_piece_name
from spg99.wal.fence import TermHistory

REMOVED_AT_ONCE: Final = 16

_log = log.get("pageserver")


@dataclass(frozen=True)
class Manifested:
    """What of a manifest is remembered: it never changes."""

    wal_lsn: int
    as_of: datetime
    chunks: frozenset[bytes]
    """Names of all its objects, as bytes: half of the memory."""


@dataclass(frozen=True)
class Turn:
    """What one turn has done."""

    marked: int = 0
    removed: int = 0
    swept: frozenset[str] = frozenset()
    """Timelines that are gone and of which nothing is left."""


@dataclass(frozen=True)
class Owned:
    """A timeline of the tenant, with its history as safekeepers have it; empty: not known now, so all of it stays."""

    ordered: TimelineToKeep
    history: TermHistory
    segment_bytes: int


@dataclass
class _Stored:
    """What lies below one timeline's prefix."""

    images: list[str] = field(default_factory=list)
    pieces: dict[Piece, str] = field(default_factory=dict)
    other: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        return [*self.images, *self.pieces.values(), *self.other]


class Collector:
    """The garbage of all tenants in one store."""

    def __init__(self, objects: ObjectStore, *, grace_seconds: float = condemned.GRACE_SECONDS) -> None:
        self._objects = objects
        self._grace = timedelta(seconds=grace_seconds)
        self._manifests: dict[str, Manifested] = {}

    async def collect(self, key: TenantKey, timelines: Iterable[Owned], now: datetime) -> Turn:
        """One turn. Raises what objects/ and images/ raise, also for a manifest that cannot be read: then nothing was removed. Somebody who needs
        something again meanwhile ends it, too; the next one goes on."""
        listed = await condemned.read(self._objects, key.tenant_id)
        prefix = f"tenants/{key.tenant_id}/"
        chunks = [entry.key async for entry in self._objects.entries(f"{prefix}chunks/")]
        stored = await self._stored(prefix)
        referenced = await self._referenced(key, prefix, stored)
        unneeded = {one for one in chunks if bytes.fromhex(one.rpartition("/")[2]) not in referenced}
        gone = {}
        for owned in timelines:
            its = stored.get(owned.ordered.timeline_id, _Stored())
            if owned.ordered.is_gone:
                gone[owned.ordered.timeline_id] = its
            unneeded |= await self._unneeded(key, owned, its, now)
        marked = {one: listed.marked.get(one, now) for one in unneeded}
        # What an earlier turn was about to remove when it ended is on the list still; what is needed by now stays.
        ripe = {one for one, at in marked.items() if at + self._grace <= now} | (listed.sweeping & unneeded)
        rest = {one: at for one, at in marked.items() if one not in ripe}
        swept = frozenset(timeline_id for timeline_id, its in gone.items() if not its.keys)
        if not ripe and rest == listed.marked and not listed.sweeping:
            return Turn(len(rest), 0, swept)
        try:
            written = await condemned.write(self._objects, key.tenant_id, listed, rest, ripe)
            faults.point("pageserver.sweep.before")
            await self._remove(ripe)
            if ripe:
                faults.point("pageserver.sweep.after")
                await condemned.write(self._objects, key.tenant_id, written, rest)
        except PreconditionFailed:
            return Turn(len(marked), 0, swept)
        if ripe:
            _log.info("garbage was removed", tenant_id=key.tenant_id, objects=len(ripe), marked=len(rest))
        return Turn(len(rest), len(ripe), swept)

    async def _stored(self, prefix: str) -> dict[str, _Stored]:
        """By timeline."""
        found: dict[str, _Stored] = defaultdict(_Stored)
        async for entry in self._objects.entries(f"{prefix}timelines/"):
            timeline_id, _, name = entry.key.removeprefix(f"{prefix}timelines/").partition("/")
            its = found[timeline_id]
            kind, _, last = name.partition("/")
            try:
                if kind == "images":
                    parse_image_key(entry.key)
                    its.images.append(entry.key)
                elif kind == "wal":
                    its.pieces[parse_piece_name(last)] = entry.key
                else:
                    its.other.append(entry.key)
            except ValueError:
                continue  # not ours to remove
        return found

    async def _referenced(self, key: TenantKey, prefix: str, stored: dict[str, _Stored]) -> set[bytes]:
        """Names of all chunks that some manifest of the tenant has, whoever's it is."""
        templates = [entry.key async for entry in self._objects.entries(f"{prefix}templates/")]
        keys = {one for its in stored.values() for one in its.images} | set(templates)
        for one in [one for one in self._manifests if one.startswith(prefix) and one not in keys]:
            del self._manifests[one]
        found: set[bytes] = set()
        for one in keys:
            if one not in self._manifests:
                manifest = await load_manifest(self._objects, key, one)
                names = frozenset(map(bytes.fromhex, manifest.objects))
                self._manifests[one] = Manifested(manifest.wal_lsn, manifest.as_of, names)
            found |= self._manifests[one].chunks
        return found

    async def _unneeded(self, key: TenantKey, owned: Owned, its: _Stored, now: datetime) -> set[str]:
        """What of a timeline nobody needs."""
        ordered, history, segment_bytes = owned.ordered, owned.history, owned.segment_bytes
        if ordered.is_gone and not ordered.pins:
            return set(its.keys)
        if ordered.is_gone and not history:
            archive = Archive(self._objects, key, ordered.timeline_id)
            if not (entries := await archive.lives()):
                return set()
            life = await archive.life(entries[-1])
            history, segment_bytes = life.history, life.segment_bytes
        if not history or not segment_bytes:
            return set()
        window = None if ordered.is_gone else now - timedelta(seconds=ordered.history_seconds)
        images = []
        for one in its.images:
            ref, manifest = parse_image_key(one), self._manifests[one]
            images.append(StoredImage(one, ref.term, ref.lsn, manifest.wal_lsn, manifest.as_of))
        pins = [PinnedMoment(pin.lsn, pin.at) for pin in ordered.pins]
        stays = needed(Past(history, segment_bytes, images, list(its.pieces)), pins, window_begin=window)
        return {one for one in its.images if one not in stays.images} | {
            one for piece, one in its.pieces.items() if piece not in stays.pieces
        }

    async def _remove(self, keys: Collection[str]) -> None:
        # Manifests before the rest: one that is there is complete, also when this ends in the middle.
        first = [key for key in keys if "/images/" in key]
        for some in (first, [key for key in keys if "/images/" not in key]):
            todo = iter(some)

            async def remove_next(todo: Iterable[str] = todo) -> None:
                for key in todo:
                    await self._objects.delete(key)

            await asyncio.gather(*(remove_next() for _ in range(REMOVED_AT_ONCE)))
