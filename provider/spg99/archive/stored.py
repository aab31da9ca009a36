"""Archived WAL of one timeline as objects: pieces and lives, put and read. Not here: which are needed (wal/archived.py), laying them out (moments.py)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from spg99 import faults
from spg99.errors import Conflict, Damaged
from spg99.images import TenantKey
from spg99.images.manifest import timeline_prefix
from spg99.objects import ObjectStore
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import history_of, history_said
from spg99.wal.archived import Piece, life_name, parse_life_name, parse_piece_name, piece_name
from spg99.wal.fence import TermBegin, TermHistory
from spg99.wal.lsn import segment_begin

LIFE_FORMAT = 1


@dataclass(frozen=True)
class Life:
    """Who wrote a timeline's WAL, up to one term; and of which cluster it is."""

    history: TermHistory
    system_identifier: int
    segment_bytes: int


class Archive:
    """The archived WAL of one timeline. Raises what objects/ raises, Damaged, and Forbidden for another key."""

    def __init__(self, objects: ObjectStore, key: TenantKey, timeline_id: str) -> None:
        self._objects, self._key = objects, key
        self.timeline_id = timeline_id
        prefix = timeline_prefix(key.tenant_id, timeline_id)
        self._wal, self._lives = f"{prefix}wal/", f"{prefix}lives/"

    def piece_key(self, piece: Piece) -> str:
        """Where a piece lies."""
        return self._wal + piece_name(piece)

    async def pieces(self, from_number: int = 0) -> list[Piece]:
        """All pieces from a segment on, by their names; what has no such name is passed over."""
        found = []
        async for entry in self._objects.entries(self._wal, after=f"{self._wal}{from_number:016x}"):
            try:
                found.append(parse_piece_name(entry.key.removeprefix(self._wal)))
            except ValueError:
                continue
        return found

    async def put(self, piece: Piece, content: bytes, segment_bytes: int) -> int:
        """Stores a piece; `content` is the segment from its beginning. Durable when it returns; answers how many bytes it is there."""
        length = piece.end_lsn - segment_begin(piece.number, segment_bytes)
        place = self.piece_key(piece)
        sealed = await asyncio.to_thread(self._key.seal, memoryview(content)[:length], place)
        await self._objects.put_contents({place: sealed})
        faults.point("archive.put.after")
        return len(sealed)

    async def get(self, piece: Piece, segment_bytes: int) -> bytes:
        """The segment from its beginning to the piece's end. Raises NotFound, Damaged."""
        place = self.piece_key(piece)
        sealed = (await self._objects.get(place)).content
        content = await asyncio.to_thread(self._key.open, sealed, place)
        if len(content) != piece.end_lsn - segment_begin(piece.number, segment_bytes):
            raise Damaged(f"The stored object {place} is damaged: it is not as long as its name says.")
        return content

    async def put_life(self, life: Life) -> None:
        """Notes a history. Raises Conflict when another one ends with the same entry: then a term was handed out twice, and no piece of it
        can be told from the other's."""
        place = self._lives + life_name(life.history[-1])
        content = {
            "format": LIFE_FORMAT,
            "system_identifier": life.system_identifier,
            "segment_bytes": life.segment_bytes,
            "history": [entry.model_dump() for entry in history_said(life.history)],
        }
        sealed = self._key.seal(json.dumps(content).encode(), place)
        if await self._objects.put_if_absent(place, sealed) is None and await self.life(life.history[-1]) != life:
            raise Conflict(
                f"The store has WAL of another life of timeline {self.timeline_id} under the term {life.history[-1].term}. Nothing was archived."
            )

    async def life(self, entry: TermBegin) -> Life:
        """The history that ends with this entry. Raises NotFound, Damaged."""
        place = self._lives + life_name(entry)
        try:
            content = json.loads(self._key.open((await self._objects.get(place)).content, place))
            if content["format"] != LIFE_FORMAT:
                raise ValueError
            history = history_of([said.TermBegin.model_validate(row) for row in content["history"]])
            return Life(history, int(content["system_identifier"]), int(content["segment_bytes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"The stored object {place} cannot be read.") from error

    async def lives(self) -> list[TermBegin]:
        """The last entries of all histories there are, the highest term at the end."""
        found = []
        async for entry in self._objects.entries(self._lives):
            try:
                found.append(parse_life_name(entry.key.removeprefix(self._lives)))
            except ValueError:
                continue
        return found
