"""Makes chunks and packs of what was captured. Here: which contents are new, and where each file's content lies. Not here: reading a folder
(capture.py), storing (build.py).

Of a folder whose chunks are not all here (node/lazy_map.py) each large file has a state a chunk: 0 it is absent, 1 it is what the base has, 2 it was
written. What is absent is zeros to whoever reads it, so it is never read: its name is the base's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from spg99.errors import Damaged, Internal
from spg99.ids import new_id
from spg99.images.capture import Captured, read, read_chunks
from spg99.images.keys import TenantKey
from spg99.images.manifest import CHUNK_BYTES, ChunkedFile, Manifest, Origin, Pack, PackedFile, chunk_key

PACKED_BYTES_MAX: Final = 64 * 1024
"""A file up to this size lies in a pack: most files of a small database are of a page or two."""
PACK_BYTES: Final = 4 * CHUNK_BYTES
_BATCH_BYTES: Final = 4 * 1024 * 1024
ABSENT, CLEAN, DIRTY = 0, 1, 2


@dataclass
class Counts:
    """What a build has done."""

    files_read: int = 0
    bytes_read: int = 0
    objects_stored: int = 0
    bytes_stored: int = 0


@dataclass
class _Places:
    """Where small files lie: in packs that are in the store, and in one that is being filled."""

    packs: list[Pack] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, pack: Pack) -> int:
        """That of a pack in the new manifest."""
        if (found := self.numbers.get(pack.name)) is None:
            found = self.numbers[pack.name] = len(self.packs)
            self.packs.append(pack)
        return found


class Cutter:
    """Makes chunks and packs of what was captured, and then the manifest. Equal folders and bases give equal names."""

    def __init__(
        self, captured: Captured, key: TenantKey, base: Manifest | None, states: Mapping[str, bytes] | None = None
    ) -> None:
        self._captured, self._key, self._base, self._states = captured, key, base, states or {}
        self.counts = Counts()
        self._packed: dict[str, PackedFile] = {}
        self._chunked: list[ChunkedFile] = []
        self._places = _Places()
        self._in_store = base.objects if base is not None else set()
        self._packed_before = {file.path: file for file in base.packed} if base is not None else {}
        self._chunked_before = {file.path: file for file in base.chunked} if base is not None else {}
        # A file that has changed its name or its times only lies where its content does.
        self._by_digest = {(file.digest, file.stored_bytes): file for file in self._packed_before.values()}

    def batches(self) -> Iterator[dict[str, bytes]]:
        """What has to be stored, some megabytes at a time: key and sealed content."""
        batch: dict[str, bytes] = {}
        size = 0
        for name, raw in self._new_objects():
            object_key = chunk_key(self._key.tenant_id, name)
            batch[object_key] = self._key.seal(raw, name)
            self.counts.objects_stored += 1
            self.counts.bytes_stored += len(batch[object_key])
            size += len(raw)
            if size >= _BATCH_BYTES:
                yield batch
                batch, size = {}, 0
        if batch:
            yield batch

    def manifest(self, origin: Origin) -> Manifest:
        """What was cut."""
        captured = self._captured
        return Manifest(
            image_id=new_id("img"),
            parent_image_id=self._base.image_id if self._base is not None else None,
            tenant_id=origin.tenant_id,
            timeline_id=origin.timeline_id,
            writer_term=origin.writer_term,
            system_identifier=captured.control.system_identifier,
            tli=captured.control.tli,
            lsn=captured.lsn,
            checkpoint_lsn=captured.control.checkpoint_lsn,
            pg_version=captured.pg_version,
            segment_bytes=captured.control.segment_bytes,
            created_at=datetime.now(UTC),
            dirs=tuple(captured.state.dirs.items()),
            packs=tuple(self._places.packs),
            packed=tuple(self._packed[path] for path in sorted(self._packed)),
            chunked=tuple(self._chunked),
            redo_lsn=captured.redo_lsn,
        )

    def _new_objects(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each object that is not in the store as far as the base knows."""
        repack = self._captured.contents is None and self._is_scattered()
        small: dict[str, bytes] = {}
        for path, length in self._captured.stored_bytes.items():
            if length > PACKED_BYTES_MAX:
                yield from self._cut(path, length)
            elif repack or not self._keep_packed(path):
                content = self._content(path, length)
                if repack or not self._find_packed(path, content):
                    small[path] = content
                    if sum(map(len, small.values())) >= PACK_BYTES:
                        yield from self._pack(small)
                        small = {}
        if small:
            yield from self._pack(small)

    def _is_scattered(self) -> bool:
        """Whether what is still of use in the base's packs should be packed anew: too many objects to fetch, or half of them waste."""
        if self._base is None:
            return False
        used = sum(file.stored_bytes for path, file in self._packed_before.items() if path in self._captured.unchanged)
        total = sum(pack.size_bytes for pack in self._base.packs)
        return used * 2 < total or len(self._base.packs) > 8 + 2 * (used // PACK_BYTES)

    def _cut(self, path: str, length: int) -> Iterator[tuple[str, bytes]]:
        before = self._chunked_before.get(path)
        if path in self._captured.unchanged and before is not None and before.stored_bytes == length:
            self._add_chunked(path, length, before.chunks)
            return
        names: list[str] = []
        same = self._same_chunks(path, length, before)
        for number, raw in self._chunks(path, length, without=same):
            names += [same[n] for n in range(len(names), number)]
            name = self._key.name(raw)
            names.append(name)
            if name not in self._in_store:
                self._in_store.add(name)
                yield name, raw
        names += [same[n] for n in range(len(names), -(-length // CHUNK_BYTES))]
        self._add_chunked(path, length, tuple(names))

    def _same_chunks(self, path: str, length: int, before: ChunkedFile | None) -> dict[int, str]:
        """Names of the chunks that are the base's, by number. Raises Damaged when one is absent that the base does not have."""
        same = {}
        for number, state in enumerate(self._states.get(path, b"")):
            at = number * CHUNK_BYTES
            if state == DIRTY or at >= length:
                continue
            if before is not None and _bytes_of(before.stored_bytes, at) == _bytes_of(length, at):
                same[number] = before.chunks[number]
            elif state == ABSENT:
                raise Damaged(
                    f"Chunk {number} of {path} is not here, and the image it should come from does not have it."
                )
        return same

    def _add_chunked(self, path: str, length: int, names: tuple[str, ...]) -> None:
        state = self._captured.state
        self._chunked.append(ChunkedFile(path, state.seen.files[path].size_bytes, state.modes[path], length, names))

    def _keep_packed(self, path: str) -> bool:
        before = self._packed_before.get(path)
        if before is None or path not in self._captured.unchanged:
            return False
        self._add_from_base(path, before)
        return True

    def _find_packed(self, path: str, content: bytes) -> bool:
        found = (self._key.digest(content), len(content))
        before = self._packed_before.get(path)
        if before is None or (before.digest, before.stored_bytes) != found:
            before = self._by_digest.get(found)
        if before is None:
            return False
        self._add_from_base(path, before)
        return True

    def _add_from_base(self, path: str, place: PackedFile) -> None:
        assert self._base is not None
        self._add_packed(path, self._base.packs[place.pack], place.offset, place.stored_bytes, place.digest)

    def _pack(self, small: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
        raw = b"".join(small.values())
        pack = Pack(self._key.name(raw), len(raw))
        offset = 0
        for path, content in small.items():
            self._add_packed(path, pack, offset, len(content), self._key.digest(content))
            offset += len(content)
        if pack.name not in self._in_store:
            self._in_store.add(pack.name)
            yield pack.name, raw

    def _add_packed(self, path: str, pack: Pack, offset: int, length: int, digest: str) -> None:
        state = self._captured.state
        self._packed[path] = PackedFile(
            path,
            state.seen.files[path].size_bytes,
            state.modes[path],
            self._places.number(pack),
            offset,
            length,
            digest,
        )

    def _content(self, path: str, length: int) -> bytes:
        if length and ABSENT in self._states.get(path, b"")[:1]:
            raise Damaged(f"The content of {path} is not here, and it is too small to be fetched by chunks.")
        contents = self._captured.contents
        content = read(self._captured.data_dir, path, length) if contents is None else _of(contents, path)
        self._count(length)
        return content

    def _chunks(self, path: str, length: int, *, without: Mapping[int, str]) -> Iterator[tuple[int, bytes]]:
        """Number and content of all chunks but those."""
        contents = self._captured.contents
        wanted = [number for number in range(-(-length // CHUNK_BYTES)) if number not in without]
        self.counts.files_read += 1
        self.counts.bytes_read += sum(_bytes_of(length, number * CHUNK_BYTES) for number in wanted)
        if contents is None:
            yield from read_chunks(self._captured.data_dir, path, length, wanted)
            return
        content = _of(contents, path)
        for number in wanted:
            yield number, content[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]

    def _count(self, length: int) -> None:
        self.counts.files_read += 1
        self.counts.bytes_read += length


def _bytes_of(length: int, at: int) -> int:
    """How much of a chunk that begins at `at` a file of this length has."""
    return max(0, min(CHUNK_BYTES, length - at))


def _of(contents: Mapping[str, bytes], path: str) -> bytes:
    if (found := contents.get(path)) is None:
        raise Internal(f"{path} was captured as unchanged, and the base does not have it: it is of another folder.")
    return found
