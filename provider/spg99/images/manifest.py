"""The manifest of an image: which files it has and which chunks they are made of. Here: its form and where it lies. Not here: cutting
(build.py) and laying out (lay_out.py).

    tenants/<tenant_id>/chunks/<ab>/<name>                                            a chunk or pack, sealed
    tenants/<tenant_id>/timelines/<timeline_id>/images/<term>-<lsn>-<image_id>        a manifest, sealed; the last in the order of keys counts
    tenants/<tenant_id>/timelines/<timeline_id>/wake_set                              a guess of what its next start will read (node/wake_set.py), sealed
    tenants/<tenant_id>/templates/<name>                                              that of a template

Term before LSN: what an old writer stores late comes before what a newer one has stored, and overwrites nothing.

A file is cut into chunks of 256 KiB; a smaller one lies in a pack, one object of many such files, at an offset. What a file has behind its
chunks, up to its size, are zeros (a WAL segment is cut behind the last checkpoint).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final

from spg99.errors import BadRequest, Damaged, NotFound
from spg99.images.keys import TenantKey
from spg99.objects import ObjectStore
from spg99.wal.lsn import format_lsn, parse_lsn

MANIFEST_FORMAT: Final = 1
RECOVERED_FORMAT: Final = 2
"""Of an image that was made by recovery: who knows only the other one would begin its WAL too late."""
CHUNK_BYTES: Final = 256 * 1024
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_IMAGE = re.compile(r"tenants/[^/]+/timelines/[^/]+/images/([0-9a-f]{16})-([0-9a-f]{16})-([^/]+)", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """Whose image it is."""

    tenant_id: str
    timeline_id: str
    writer_term: int

    def __post_init__(self) -> None:
        for text in (self.tenant_id, self.timeline_id):
            checked_part(text)


@dataclass(frozen=True)
class PackedFile:
    """A small file: `stored_bytes` from `offset` on in the pack number `pack`."""

    path: str
    size_bytes: int
    mode: int
    pack: int
    offset: int
    stored_bytes: int
    digest: str


@dataclass(frozen=True)
class ChunkedFile:
    """A file in chunks, in order; all but the last have 256 KiB."""

    path: str
    size_bytes: int
    mode: int
    stored_bytes: int
    chunks: tuple[str, ...]


@dataclass(frozen=True)
class Pack:
    """An object that holds small files."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """An image. LSNs are numbers here, and texts such as `0/16B3748` where they are stored."""

    image_id: str
    parent_image_id: str | None
    tenant_id: str
    timeline_id: str
    writer_term: int
    system_identifier: int
    tli: int
    lsn: int
    """All that was written up to here is in the files: the end of the last checkpoint's record."""
    checkpoint_lsn: int
    """Where that record begins: recovery reads from here on."""
    pg_version: int
    segment_bytes: int
    created_at: datetime
    dirs: tuple[tuple[str, int], ...]
    """Path and mode, those above before those in them."""
    packs: tuple[Pack, ...]
    packed: tuple[PackedFile, ...]
    chunked: tuple[ChunkedFile, ...]
    redo_lsn: int | None = None
    """Where recovery begins, when that is before the checkpoint's record: only of an image that was made by recovery."""
    replayed_at: datetime | None = None
    """Only of one made by recovery: all its WAL had been written then."""

    @property
    def wal_lsn(self) -> int:
        """A start on it needs WAL from here on."""
        return self.checkpoint_lsn if self.redo_lsn is None else self.redo_lsn

    @property
    def as_of(self) -> datetime:
        """What was committed after this moment is not in it."""
        return self.replayed_at or self.created_at

    @property
    def size_bytes(self) -> int:
        """Of all files, laid out."""
        return sum(file.size_bytes for file in self.files)

    @property
    def files(self) -> tuple[PackedFile | ChunkedFile, ...]:
        """All of them."""
        return (*self.packed, *self.chunked)

    @property
    def objects(self) -> set[str]:
        """The names of all chunks and packs: what must not be swept."""
        return {pack.name for pack in self.packs} | {name for file in self.chunked for name in file.chunks}

    def to_json(self) -> dict[str, Any]:
        """As it is stored: numbers and texts, files as rows."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _TABLES}
        return {
            "format": MANIFEST_FORMAT if self.redo_lsn is None else RECOVERED_FORMAT,
            **plain,
            "lsn": format_lsn(self.lsn),
            "checkpoint_lsn": format_lsn(self.checkpoint_lsn),
            "created_at": self.created_at.isoformat(),
            "redo_lsn": None if self.redo_lsn is None else format_lsn(self.redo_lsn),
            "replayed_at": None if self.replayed_at is None else self.replayed_at.isoformat(),
            "chunk_bytes": CHUNK_BYTES,
            "dirs": self.dirs,
            "packs": [tuple(asdict(pack).values()) for pack in self.packs],
            "packed": [tuple(vars(file).values()) for file in self.packed],
            "chunked": [tuple(vars(file).values()) for file in self.chunked],
        }

    @classmethod
    def from_json(cls, content: Any) -> Manifest:
        """Raises BadRequest for a format that is not known here, Damaged for what is no manifest."""
        try:
            if content["format"] not in (MANIFEST_FORMAT, RECOVERED_FORMAT) or content["chunk_bytes"] != CHUNK_BYTES:
                raise BadRequest(
                    f"The image has the format {content['format']}; this version of spg99 knows {RECOVERED_FORMAT}. Use a newer one."
                )
            plain = {
                field.name: content[field.name] for field in fields(cls) if field.name not in (*_TABLES, *_RECOVERED)
            }
            redo, replayed = content.get("redo_lsn"), content.get("replayed_at")
            manifest = cls(
                **plain
                | {
                    "lsn": parse_lsn(content["lsn"]),
                    "checkpoint_lsn": parse_lsn(content["checkpoint_lsn"]),
                    "created_at": datetime.fromisoformat(content["created_at"]),
                    "redo_lsn": None if redo is None else parse_lsn(redo),
                    "replayed_at": None if replayed is None else datetime.fromisoformat(replayed),
                },
                dirs=tuple((str(path), int(mode)) for path, mode in content["dirs"]),
                packs=tuple(Pack(*row) for row in content["packs"]),
                packed=tuple(PackedFile(*row) for row in content["packed"]),
                chunked=tuple(
                    ChunkedFile(path, size_bytes, mode, stored_bytes, tuple(chunks))
                    for path, size_bytes, mode, stored_bytes, chunks in content["chunked"]
                ),
            )
            for path in [*(path for path, _ in manifest.dirs), *(file.path for file in manifest.files)]:
                _require_inside(path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged("The manifest of the image cannot be read.") from error
        return manifest


_TABLES: Final = ("dirs", "packs", "packed", "chunked")
_RECOVERED: Final = ("redo_lsn", "replayed_at")


def _require_inside(path: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise ValueError(f"{path!r} is not a path in a data folder")


def checked_part(text: str) -> str:
    """The text, if it can be one part of a key. Raises BadRequest."""
    if not _ID.fullmatch(text):
        raise BadRequest(f"'{text[:80]}' is not an id.")
    return text


def chunk_key(tenant_id: str, name: str) -> str:
    """Where a chunk or pack lies."""
    return f"tenants/{tenant_id}/chunks/{name[:2]}/{name}"


def timeline_prefix(tenant_id: str, timeline_id: str) -> str:
    """Before the keys of all that is kept of a timeline."""
    return f"tenants/{checked_part(tenant_id)}/timelines/{checked_part(timeline_id)}/"


def images_prefix(tenant_id: str, timeline_id: str) -> str:
    """Before the keys of all images of a timeline."""
    return timeline_prefix(tenant_id, timeline_id) + "images/"


def wake_set_key(tenant_id: str, timeline_id: str) -> str:
    """Where it is noted what a timeline's last wakes used."""
    return f"tenants/{checked_part(tenant_id)}/timelines/{checked_part(timeline_id)}/wake_set"


def image_key(manifest: Manifest) -> str:
    """Where the manifest lies."""
    prefix = images_prefix(manifest.tenant_id, manifest.timeline_id)
    return f"{prefix}{manifest.writer_term:016x}-{manifest.lsn:016x}-{manifest.image_id}"


@dataclass(frozen=True, order=True)
class ImageRef:
    """An image as its key says it: in the order of keys."""

    term: int
    lsn: int
    image_id: str
    key: str


def parse_image_key(key: str) -> ImageRef:
    """ValueError for any other key."""
    if not (found := _IMAGE.fullmatch(key)):
        raise ValueError(f"not the key of an image: {key!r}")
    return ImageRef(int(found[1], 16), int(found[2], 16), found[3], key)


def template_key(tenant_id: str, name: str) -> str:
    """Where the manifest of a template lies."""
    return f"tenants/{checked_part(tenant_id)}/templates/{checked_part(name)}"


def seal_manifest(manifest: Manifest, key: TenantKey, object_key: str) -> bytes:
    """As it is stored."""
    return key.seal(json.dumps(manifest.to_json(), separators=(",", ":")).encode(), object_key)


async def load_manifest(objects: ObjectStore, key: TenantKey, object_key: str) -> Manifest:
    """The manifest under this key. Raises NotFound, Damaged, Forbidden."""
    raw = key.open((await objects.get(object_key)).content, object_key)
    try:
        return Manifest.from_json(json.loads(raw))
    except ValueError as error:
        raise Damaged(f"The manifest {object_key} cannot be read.") from error


async def load_if_there(objects: ObjectStore, key: TenantKey, object_key: str) -> Manifest | None:
    """The same; None when there is none."""
    try:
        return await load_manifest(objects, key, object_key)
    except NotFound:
        return None


async def images_of(objects: ObjectStore, tenant_id: str, timeline_id: str) -> list[ImageRef]:
    """All images of a timeline, in the order of keys: the highest term's highest LSN at the end."""
    found = []
    async for entry in objects.entries(images_prefix(tenant_id, timeline_id)):
        try:
            found.append(parse_image_key(entry.key))
        except ValueError:
            continue
    return found


async def latest_image(objects: ObjectStore, tenant_id: str, timeline_id: str) -> str | None:
    """The key of the timeline's latest image: of the highest term the highest LSN. None when there is none."""
    last = None
    async for entry in objects.entries(images_prefix(tenant_id, timeline_id)):
        last = entry.key
    return last
