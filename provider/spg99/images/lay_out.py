"""Lays an image out as the folder of a stopped cluster. Here: fetching, checking and writing its files. Not here: starting it, chunks
that are fetched when they are touched."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spg99 import faults
from spg99.atomic_write import install_folder
from spg99.errors import BadRequest, Damaged, NotFound
from spg99.images.folder_state import Seen, see
from spg99.images.keys import TenantKey
from spg99.images.known import Known
from spg99.images.manifest import CHUNK_BYTES, ChunkedFile, Manifest, PackedFile, chunk_key
from spg99.objects import ObjectStore
from spg99.postgres import Account
from spg99.postgres.accounts import make_folder
from spg99.postgres.control_file import LAZY_NAME, NAME, read_control_file

FETCHES: Final = 16
"""At once: a store answers in tens of milliseconds, whoever asks."""


@dataclass(frozen=True)
class _Piece:
    """A part of an object that goes into a file."""

    file: PackedFile | ChunkedFile
    at: int
    offset: int
    length: int


async def lay_out(
    manifest: Manifest,
    objects: ObjectStore,
    key: TenantKey,
    data_dir: Path,
    account: Account | None,
    *,
    durable: bool = True,
    absent: frozenset[str] = frozenset(),
    made: Callable[[Path], Awaitable[None]] | None = None,
) -> Known:
    """Makes `data_dir`, owned by `account` (None = ourselves), with all files of the image; answers what is known of it for `build`.

    Whole or not there: files are written into a draft beside it. `durable`: also after a power cut; a cache need not be. `absent`: large files whose content
    is left out; where there are some, the control file has the name that only a server finds which knows of that. `made`: called with the draft when these
    are there, before the others. Raises BadRequest when the
    folder is there, Damaged when a chunk is missing or not what was stored, Forbidden when the key is another one.
    """
    draft = data_dir.with_name(f".draft-{data_dir.name}")
    await asyncio.to_thread(_clear_the_way, data_dir, draft)
    try:
        await asyncio.to_thread(_make, manifest, draft, account)
        filling = asyncio.create_task(_fill(manifest, objects, key, draft, account, absent))
        try:
            if made is not None:
                await made(draft)
            await filling
        finally:
            filling.cancel()
            await asyncio.wait([filling])
        if absent:
            (draft / NAME).rename(draft / LAZY_NAME)
        known = Known(manifest, await asyncio.to_thread(_checked, manifest, draft))
        faults.point("images.lay_out.before_rename")
        if durable:
            await asyncio.to_thread(install_folder, draft, data_dir)
        else:
            draft.rename(data_dir)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(_remove, draft))
        raise
    return known


async def _fill(
    manifest: Manifest,
    objects: ObjectStore,
    key: TenantKey,
    draft: Path,
    account: Account | None,
    absent: frozenset[str],
) -> None:
    todo = iter(_pieces(manifest, absent).items())
    goes_on = True

    async def fetch() -> None:
        for name, pieces in todo:
            if not goes_on:
                return
            try:
                sealed = (await objects.get(chunk_key(manifest.tenant_id, name))).content
            except NotFound as error:
                raise Damaged(
                    f"The image {manifest.image_id} cannot be laid out: its chunk {name} is missing."
                ) from error
            await asyncio.to_thread(_write, draft, account, key, name, sealed, pieces)

    tasks = [asyncio.create_task(fetch()) for _ in range(FETCHES)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        goes_on = False
        await asyncio.wait(tasks)  # nobody writes into the draft any more


def _pieces(manifest: Manifest, absent: frozenset[str]) -> Mapping[str, list[_Piece]]:
    """Where each object's content goes. A chunk that is in many files, or many times in one, is fetched once."""
    found: dict[str, list[_Piece]] = defaultdict(list)
    for file in manifest.packed:
        if file.stored_bytes:
            found[manifest.packs[file.pack].name].append(_Piece(file, 0, file.offset, file.stored_bytes))
    for chunked in manifest.chunked:
        if chunked.path in absent:
            continue
        for number, name in enumerate(chunked.chunks):
            at = number * CHUNK_BYTES
            found[name].append(_Piece(chunked, at, 0, min(CHUNK_BYTES, chunked.stored_bytes - at)))
    return found


# What follows runs in threads.


def _clear_the_way(data_dir: Path, draft: Path) -> None:
    if data_dir.exists():
        raise BadRequest(f"{data_dir} is there already: no image is laid out over it.")
    _remove(draft)


def _make(manifest: Manifest, draft: Path, account: Account | None) -> None:
    """Folders, and files of their full length that hold zeros: all but those that have their content at once."""
    make_folder(draft, mode=0o700, owner=account, durable=False)
    for path, mode in manifest.dirs:
        folder = draft / path
        folder.mkdir(mode=mode)
        folder.chmod(mode)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
    for file in manifest.files:
        if isinstance(file, ChunkedFile) or not file.stored_bytes:
            os.close(_create(draft, account, file))


def _create(draft: Path, account: Account | None, file: PackedFile | ChunkedFile) -> int:
    """A file of its full length, open."""
    fd = os.open(f"{draft}/{file.path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if file.mode != 0o600:
            os.fchmod(fd, file.mode)
        if account is not None:
            os.fchown(fd, account.uid, account.gid)
        if isinstance(file, ChunkedFile) or file.size_bytes != file.stored_bytes:
            os.ftruncate(fd, file.size_bytes)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _write(
    draft: Path, account: Account | None, key: TenantKey, name: str, sealed: bytes, pieces: list[_Piece]
) -> None:
    raw = memoryview(key.open_chunk(sealed, name))
    for piece in pieces:
        part = raw[piece.offset : piece.offset + piece.length]
        if len(part) != piece.length:
            raise Damaged(f"The image cannot be laid out: {name} is shorter than {piece.file.path} wants.")
        if isinstance(piece.file, PackedFile):
            fd = _create(draft, account, piece.file)
        else:
            fd = os.open(f"{draft}/{piece.file.path}", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            at = piece.at
            while part:
                written = os.pwrite(fd, part, at)
                part, at = part[written:], at + written
        finally:
            os.close(fd)


def _checked(manifest: Manifest, draft: Path) -> Seen:
    control = read_control_file(draft)
    if (control.system_identifier, control.checkpoint_lsn) != (manifest.system_identifier, manifest.checkpoint_lsn):
        raise Damaged(f"The image {manifest.image_id} is not of the cluster and the LSN that its manifest names.")
    return see(draft)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
