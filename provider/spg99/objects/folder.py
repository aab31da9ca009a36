"""The object store in a folder of this machine: one file an object. Here: its files, threads and locks. Not here: the order of
write, sync and rename (atomic_write.py has it for one file; `put_contents` keeps the same order for many).

    <root>/<key>              the object
    <root>/.drafts/           what is being written; what a killed writer left there is swept by its age
    <root>/.locks/00 .. ff    held while a key is replaced, so that "still the tag I read" and the rename are one step

No key begins with a dot, so none of these is an object.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from spg99 import faults
from spg99.atomic_write import create_file, make_folders, sync_folder, write_file
from spg99.errors import BadRequest, NotFound, PreconditionFailed, Spg99Error, StoreFull, StoreUnavailable
from spg99.objects.contract import Entry, Stored, checked_key, checked_prefix

_THREADS: Final = 16
"""Syncs that wait at the same time share commits of the file system's journal; so do not lack threads that wait."""
_PAGE: Final = 1000
DRAFT_SECONDS_MAX: Final = 3600
"""No write takes this long: a draft that is older is of a writer that was killed."""
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_T = TypeVar("_T")


class FolderStore:
    """The contract of `ObjectStore` in the folder `root`, which is made where it is missing. Several processes may use it."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self._drafts, self._locks = self.root / ".drafts", self.root / ".locks"
        with _errors(f"make {self.root}"):
            for folder in (self.root, self._drafts, self._locks):
                make_folders(folder, mode=0o700)
            self._folders_seen = {self.root}
            self.sweep()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")

    async def put(self, key: str, content: bytes) -> str:
        """As the contract says."""
        return await self._run(self._put, checked_key(key), content)

    async def put_if_absent(self, key: str, content: bytes) -> str | None:
        """As the contract says."""
        return await self._run(self._put_if_absent, checked_key(key), content)

    async def put_if_tag(self, key: str, content: bytes, tag: str | None) -> str:
        """As the contract says. The tag is a hash of the content."""
        return await self._run(self._put_if_tag, checked_key(key), content, tag)

    async def put_contents(self, objects: Mapping[str, bytes]) -> None:
        """As the contract says. All drafts are synced side by side, then all get their names, then the folders are synced."""
        missing = {checked_key(key): content for key, content in objects.items()}
        for key in await self._run(self._present, list(missing)):
            del missing[key]
        # Also of what was there: who wrote it may not have come so far as to sync the name.
        folders = {self._path(key).parent for key in objects}
        drafts: dict[str, Path] = {key: self._draft_path() for key in missing}
        try:
            await self._all([(self._write_draft, drafts[key], content) for key, content in missing.items()])
            await self._run(self._install, drafts)
            await self._all([(_sync_folder, folder) for folder in folders])
        except BaseException:
            await asyncio.shield(self._run(_discard, list(drafts.values())))
            raise

    async def get(self, key: str) -> Stored:
        """As the contract says."""
        return await self._run(self._get, checked_key(key))

    async def get_range(self, key: str, first: int, length: int) -> bytes:
        """As the contract says."""
        return await self._run(self._get_range, checked_key(key), first, length)

    async def head(self, key: str) -> Entry | None:
        """As the contract says."""
        return await self._run(self._head, checked_key(key))

    async def entries(self, prefix: str, *, after: str = "") -> AsyncIterator[Entry]:
        """As the contract says."""
        found = self._walk(checked_prefix(prefix), after)
        while page := await self._run(lambda: list(islice(found, _PAGE))):
            for entry in page:
                yield entry

    async def delete(self, key: str) -> None:
        """As the contract says."""
        await self._run(self._delete, checked_key(key))

    async def close(self) -> None:
        """As the contract says."""
        await asyncio.to_thread(self._threads.shutdown)

    def sweep(self) -> None:
        """Removes what killed writers left. Called at the beginning; a process that lives long calls it now and then."""
        oldest = time.time() - DRAFT_SECONDS_MAX
        for path in self._drafts.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    # What follows runs in threads.

    async def _run(self, work: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _all(self, calls: list[tuple[Callable[..., object], *tuple[object, ...]]]) -> None:
        """Runs all at once; raises the first error after all have ended, so that nobody writes on behind the caller's back."""
        for result in await asyncio.gather(*(self._run(*call) for call in calls), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    def _path(self, key: str) -> Path:
        return self.root / key

    def _draft_path(self) -> Path:
        return self._drafts / f"{os.getpid()}-{secrets.token_hex(8)}"

    def _put(self, key: str, content: bytes) -> str:
        with _errors(f"put {key}"), self._locked(key):
            self._replace(key, content)
        return _tag(content)

    def _put_if_absent(self, key: str, content: bytes) -> str | None:
        with _errors(f"put {key}"), self._locked(key):
            self._make_folder(key)
            return (
                _tag(content) if create_file(self._path(key), content, mode=0o600, draft_folder=self._drafts) else None
            )

    def _put_if_tag(self, key: str, content: bytes, tag: str | None) -> str:
        with _errors(f"put {key}"), self._locked(key):
            try:
                found: str | None = _tag(self._path(key).read_bytes())
            except FileNotFoundError:
                found = None
            if found != tag:
                raise PreconditionFailed(f"The object {key} has changed since it was read.")
            self._replace(key, content)
        return _tag(content)

    def _replace(self, key: str, content: bytes) -> None:
        self._make_folder(key)
        write_file(
            self._path(key), content, mode=0o600, draft_folder=self._drafts,
            before_rename=lambda: faults.point("objects.put.before_rename"),
        )  # fmt: skip

    def _present(self, keys: list[str]) -> list[str]:
        with _errors("read the folder"):
            return [key for key in keys if self._path(key).is_file()]

    def _write_draft(self, draft: Path, content: bytes) -> None:
        with _errors("write"):
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb", buffering=0) as file:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
                os.fsync(fd)

    def _install(self, drafts: Mapping[str, Path]) -> None:
        with _errors("write"):
            faults.point("objects.put_contents.before_rename")
            for key, draft in drafts.items():
                self._make_folder(key)
                os.replace(draft, self._path(key))
                faults.point("objects.put_contents.between_renames")

    def _make_folder(self, key: str) -> None:
        folder = self._path(key).parent
        if folder not in self._folders_seen:
            make_folders(folder, mode=0o700)
            self._folders_seen.add(folder)  # no folder is ever removed from a store

    def _get(self, key: str) -> Stored:
        with _reading(key):
            content = self._path(key).read_bytes()
        return Stored(content, _tag(content))

    def _get_range(self, key: str, first: int, length: int) -> bytes:
        with _reading(key), open(self._path(key), "rb", buffering=0) as file:
            parts = []
            while length > 0 and (part := os.pread(file.fileno(), length, first)):
                parts.append(part)
                first, length = first + len(part), length - len(part)
            return b"".join(parts)

    def _head(self, key: str) -> Entry | None:
        try:
            with _reading(key):
                status = self._path(key).stat()
            return _entry(key, status) if stat.S_ISREG(status.st_mode) else None
        except NotFound:
            return None

    def _walk(self, prefix: str, after: str) -> Iterator[Entry]:
        """All entries in the order of keys, one folder in memory at a time."""
        top = prefix.rpartition("/")[0]
        yield from self._walk_folder(f"{top}/" if top else "", prefix, after)

    def _walk_folder(self, above: str, prefix: str, after: str) -> Iterator[Entry]:
        with _errors("list"):
            try:
                with os.scandir(self.root / above) as found:
                    # A folder stands in the order of keys where its keys do: behind `a.b`, since `.` comes before `/`.
                    names = sorted(e.name + ("/" if e.is_dir() else "") for e in found if not e.name.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in names:
            key = above + name
            if name.endswith("/"):
                if (key.startswith(prefix) or prefix.startswith(key)) and not key < after[: len(key)]:
                    yield from self._walk_folder(key, prefix, after)
            elif key.startswith(prefix) and key > after and (entry := self._head(key)) is not None:
                yield entry

    def _delete(self, key: str) -> None:
        with _errors(f"delete {key}"), self._locked(key):
            path = self._path(key)
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            sync_folder(path.parent)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """One writer of a key at a time, among all processes. The system frees the lock when its holder dies."""
        import fcntl  # not on Windows, where this module must still import

        stripe = hashlib.blake2b(key.encode(), digest_size=1).hexdigest()
        fd = os.open(self._locks / stripe, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _tag(content: bytes) -> str:
    # Of the content, not of inode and time: a file system gives both a second time within one tick of its clock.
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _entry(key: str, status: os.stat_result) -> Entry:
    return Entry(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _sync_folder(folder: Path) -> None:
    with _errors("sync"):
        sync_folder(folder)


def _discard(drafts: list[Path]) -> None:
    for draft in drafts:
        with contextlib.suppress(OSError):
            draft.unlink()


@contextlib.contextmanager
def _errors(what: str) -> Iterator[None]:
    """Says an error of the file system in the contract's words."""
    try:
        yield
    except Spg99Error:
        raise
    except (IsADirectoryError, NotADirectoryError) as error:
        raise BadRequest(f"The object store cannot {what}: the key of another object is its beginning.") from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull(f"The object store cannot {what}: its disk is full.") from error
        raise StoreUnavailable(f"The object store cannot {what}: {error.strerror}.") from error


@contextlib.contextmanager
def _reading(key: str) -> Iterator[None]:
    """The same where what is not there is an answer, not a fault."""
    try:
        with _errors(f"read {key}"):
            yield
    except (StoreUnavailable, BadRequest) as error:
        # Of a key that begins with another object's, or is the beginning of some, nothing is there either.
        if isinstance(error.__cause__, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            raise NotFound(f"The object store has no {key}.") from error
        raise
