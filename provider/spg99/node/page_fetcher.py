"""Brings chunks of lazily laid out folders when a server touches them, and those that it will want before that. Here: the sockets on which servers ask, what is
fetched ahead, who shares a fetch. Not here: putting a chunk into its file (lazy_folder.py), the map (lazy_map.py), the library inside the server
(provider/lazy_pages), when a folder is laid out so (materialise.py).

A server asks with the number of a chunk of its own map, four bytes, and hears one letter when the chunk is in its file ("y"), will never be ("n"), or is not now ("l"):
it has no key, and cannot ask for what is not its own. An agent that is killed and comes back goes on where it was; servers wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from spg99 import faults, log
from spg99.errors import Damaged, Forbidden, NotFound, Spg99Error
from spg99.images import TenantKey
from spg99.images.manifest import chunk_key
from spg99.node import wake_set
from spg99.node.chunk_cache import ChunkCache
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.lazy_folder import LazyFolder
from spg99.node.lazy_map import ABSENT
from spg99.node.libraries import shared_library
from spg99.node.runs import Runs
from spg99.node.wake_set import WakeSet
from spg99.objects import ObjectStore
from spg99.postgres import Account
from spg99.postgres.accounts import make_folder
from spg99.postgres.preload import Preload
from spg99.processes import SingleFlight

LIBRARY: Final = Path(__file__).with_name("libspg99_lazy_pages.so")
"""Built at set-up by provider/lazy_pages/build where there is a C compiler."""
FETCHES_AHEAD: Final = 16
"""At once, beside those that a server waits for."""
WAKE_SECONDS: Final = 10.0
"""What is used for the first time after this belongs to the work, not to the wake."""
_THREADS: Final = 4
_SOCKET: Final = "pages"
_FOLDER_SIGN: Final = "l"
"""No id has this letter (ids.py), so the folder is in the way of no other socket's; and the path is no longer."""
_BACKLOG: Final = 512
_QUESTION: Final = struct.Struct("<I")
HERE, NEVER, LATER = b"y", b"n", b"l"

_T = TypeVar("_T")

_log = log.get("node")


@dataclass
class Served:
    """A folder whose chunks are fetched."""

    timeline_id: str
    folder: LazyFolder
    objects: ObjectStore
    key: TenantKey
    wake_set: WakeSet
    runs: Runs = field(default_factory=Runs)
    demanded: dict[int, None] = field(default_factory=dict)
    """Chunks that a server has waited for, in this order."""
    flights: SingleFlight[int, bytes] = field(default_factory=SingleFlight)
    ahead: set[asyncio.Task[None]] = field(default_factory=set)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES_AHEAD))
    server: asyncio.Server | None = None
    compute_id: str | None = None
    socket_dir: Path | None = None
    puts: set[asyncio.Future[bool]] = field(default_factory=set)
    """Those that are writing into a file right now."""
    is_over: bool = False
    wake_ends: asyncio.TimerHandle | None = None
    used: WakeSet | None = None

    def note_use(self) -> None:
        """The wake is over: what was used by now is what a wake uses."""
        if self.used is None:
            numbers = self.folder.chunk_numbers
            self.used = wake_set.used(numbers, self.folder.map.used(), self.demanded, self.wake_set)


@dataclass
class Counts:
    """What the fetcher of one node has done since its start."""

    demanded: int = 0
    fetched: int = 0
    cached: int = 0
    failed: int = 0


class PageFetcher:
    """That of one node."""

    def __init__(
        self,
        folder: NodeFolder,
        account: Account | None,
        *,
        library: Path | None = LIBRARY,
        cache_bytes: int = 0,
    ) -> None:
        self._folder, self._account = folder, account
        self._library = shared_library(library, folder, "lazy_pages") if library is not None else None
        self._cache = ChunkCache(folder.chunks_dir, cache_bytes)
        self._served: dict[str, Served] = {}
        self._getting: SingleFlight[str, bytes] = SingleFlight()
        """By the name of a chunk, which no two tenants share: several databases may want the same at once."""
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="pages")
        self.lost: set[str] = set()
        """Timelines of which a chunk is not in the store any more: their files are of no use (reconcile in keeping.py)."""
        self.counts = Counts()

    @property
    def can_serve(self) -> bool:
        """Whether servers here can run on a folder whose files are not here yet."""
        return self._library is not None

    @property
    def served(self) -> list[str]:
        """Timelines whose chunks are fetched now."""
        return list(self._served)

    async def begin(
        self,
        timeline_id: str,
        folder: LazyFolder,
        objects: ObjectStore,
        key: TenantKey,
        past: WakeSet,
        *,
        has_server: bool = False,
    ) -> None:
        """Fetches for this folder from now on, and at once what a start needs; it may be renamed meanwhile. `has_server`: a former agent's, which goes on."""
        await self.end(timeline_id)  # of a server whose end nobody has noticed yet
        served = self._served[timeline_id] = Served(timeline_id, folder, objects, key, past)
        if not has_server:
            folder.map.forget_use()
            self._ahead(served, past.for_start.chunks_of(folder.chunk_numbers))
            later = asyncio.get_running_loop().call_later
            served.wake_ends = later(WAKE_SECONDS, served.note_use)

    def fetch_ahead(self, timeline_id: str) -> None:
        """All else that the last wakes used, now that nobody waits for the folder itself any more."""
        if (served := self._served.get(timeline_id)) is not None:
            self._ahead(served, served.wake_set.chunks_of(served.folder.chunk_numbers))

    async def listen(self, timeline: TimelineFolder, compute_id: str) -> Preload | None:
        """Lets the server of this compute ask; answers what its start has to load. None: nothing is served."""
        served = self._served.get(timeline.timeline_id)
        if served is None or self._library is None:
            return None
        served.compute_id = compute_id
        socket_dir = self._folder.socket_dir(compute_id)
        served.socket_dir = socket_dir.with_name(_FOLDER_SIGN + socket_dir.name[1:])
        make_folder(served.socket_dir, mode=0o700, owner=self._account, durable=False)
        path = served.socket_dir / _SOCKET
        path.unlink(missing_ok=True)  # a former agent's
        served.server = await asyncio.start_unix_server(
            lambda reader, writer: self._answer(served, reader, writer), path, backlog=_BACKLOG
        )
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)
        environment = {
            "SPG99_LAZY_ROOT": str(timeline.data_dir.resolve()),
            "SPG99_LAZY_MAP": str(timeline.map_file.resolve()),
            "SPG99_LAZY_SOCKET": str(path),
        }
        return Preload((self._library,), environment)

    async def end(self, timeline_id: str, compute_id: str | None = None) -> WakeSet | None:
        """The server (of this compute, or whichever) has ended: nothing is fetched for it any more. Answers what this wake used; None when nothing was served, or it was another agent's."""
        served = self._served.get(timeline_id)
        if served is None or compute_id not in (None, served.compute_id):
            return None
        del self._served[timeline_id]
        if served.server is not None:
            served.server.close()
        served.is_over = True
        for task in served.ahead:
            task.cancel()
        if served.puts:  # nobody writes into the folder any more once this returns
            await asyncio.wait(served.puts)
        if served.socket_dir is not None:
            with contextlib.suppress(OSError):
                (served.socket_dir / _SOCKET).unlink(missing_ok=True)
                served.socket_dir.rmdir()
        if served.wake_ends is not None:
            served.wake_ends.cancel()
            served.note_use()
        served.folder.close()
        return served.used

    async def leave(self) -> None:
        """This agent ends; servers go on and wait for the next one."""
        for timeline_id in list(self._served):
            served = self._served[timeline_id]
            served.socket_dir = None  # its socket's file stays where the servers know it
            await self.end(timeline_id)
        self._threads.shutdown(wait=False)

    # What follows is how.

    async def _answer(self, served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            (chunk,) = _QUESTION.unpack(await reader.readexactly(_QUESTION.size))
            writer.write(await self._asked(served, chunk))
            await writer.drain()
        writer.close()

    async def _asked(self, served: Served, chunk: int) -> bytes:
        if chunk >= served.folder.map.chunks:
            return NEVER
        self.counts.demanded += 1
        served.demanded[chunk] = None
        asked = asyncio.ensure_future(self._bring(served, chunk))  # before those that come ahead of it
        self._ahead(served, served.runs.after(chunk, served.folder.end_of_file(chunk)))
        return await asked

    def _ahead(self, served: Served, chunks: list[int] | range) -> None:
        if self._served.get(served.timeline_id) is not served or not chunks:
            return
        task = asyncio.create_task(self._bring_all(served, list(chunks)), name=f"ahead-{served.timeline_id}")
        served.ahead.add(task)
        task.add_done_callback(served.ahead.discard)

    async def _bring_all(self, served: Served, chunks: list[int]) -> None:
        todo = iter(chunks)
        goes_on = True

        async def one_by_one() -> None:
            nonlocal goes_on
            for chunk in todo:
                if not goes_on:
                    return
                if not served.is_over and served.folder.map.state(chunk) == ABSENT:
                    async with served.slots:
                        # When the store is away: who wants one asks again, and nobody waits for these.
                        goes_on = await self._bring(served, chunk) != LATER and goes_on

        await asyncio.gather(*(one_by_one() for _ in range(min(FETCHES_AHEAD, len(chunks)))))

    async def _bring(self, served: Served, chunk: int) -> bytes:
        if served.is_over:
            return LATER
        if served.folder.map.state(chunk) != ABSENT:
            return HERE
        return await served.flights.call(chunk, lambda: self._fetch(served, chunk))

    async def _fetch(self, served: Served, chunk: int) -> bytes:
        name = served.folder.name_of(chunk)
        try:
            if name is None:
                raise Damaged(f"Chunk {chunk} of {served.timeline_id} is in no image that this node knows.")
            return await self._put(served, chunk, await self._raw(served, name))
        except (NotFound, Damaged, Forbidden) as error:
            self.counts.failed += 1
            _log.error("a chunk cannot be had", timeline_id=served.timeline_id, chunk=name, reason=str(error))
            if isinstance(error, NotFound):
                self.lost.add(served.timeline_id)
            return NEVER
        except (Spg99Error, OSError) as error:
            self.counts.failed += 1
            _log.warning("a chunk cannot be had now", timeline_id=served.timeline_id, chunk=name, reason=str(error))
            return LATER

    async def _raw(self, served: Served, name: str) -> bytes:
        """Decrypted, and compared with the hash that names it."""
        sealed, is_cached = await self._sealed(served, name)
        try:
            return await self._in_thread(served.key.open_chunk, sealed, name)
        except Damaged:
            if not is_cached:
                raise
        await self._in_thread(self._cache.drop, served.key.tenant_id, name)
        return await self._in_thread(served.key.open_chunk, (await self._sealed(served, name))[0], name)

    async def _put(self, served: Served, chunk: int, raw: bytes) -> bytes:
        faults.point("pages.before_put")
        if served.is_over:
            return LATER
        putting = asyncio.get_running_loop().run_in_executor(self._threads, served.folder.put, chunk, raw)
        served.puts.add(putting)
        putting.add_done_callback(served.puts.discard)
        return HERE if await putting else NEVER

    async def _sealed(self, served: Served, name: str) -> tuple[bytes, bool]:
        """The chunk as it is stored, and whether it was here."""
        tenant_id = served.key.tenant_id
        if (found := await self._in_thread(self._cache.get, tenant_id, name)) is not None:
            self.counts.cached += 1
            return found, True

        async def get() -> bytes:
            content = (await served.objects.get(chunk_key(tenant_id, name))).content
            self.counts.fetched += 1
            await self._in_thread(self._cache.put, tenant_id, name, content)
            return content

        return await self._getting.call(name, get), False

    async def _in_thread(self, call: Callable[..., _T], *parts: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *parts)
