"""The computes of this node: start, stop, adopt, notice their end. Here: which one may run on which files.
Not here: PostgreSQL's processes (spg99.postgres), orders and answers (handlers.py)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from prometheus_client import Counter

from spg99 import faults, log, spans
from spg99.atomic_write import write_file
from spg99.errors import CannotWake, Spg99Error
from spg99.node import access, in_use, time_travel, writer
from spg99.node.compute import NOTICE_SECONDS, Compute, confine, dies, started
from spg99.node.confinement import Confinement, memory_bounds, oom_environment
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.following import BACKEND_PORT
from spg99.node.in_use import Use
from spg99.node.keeping import Keeping, Start
from spg99.node.kept_files import boot_id, distrust
from spg99.node.memory import Eater, MemoryWatch
from spg99.node.profiles import TENANT_RULES_NAME, compute_settings
from spg99.node.storage import Storage
from spg99.node.storage_page import Footprint, measure
from spg99.node.writer import Writer
from spg99.postgres import Account, Binaries, Cluster, Exit, Running
from spg99.postgres.cluster import StopMode
from spg99.postgres.logfile import cause_of_end, read_since
from spg99.processes import Wakeup, retried
from spg99.protocol.node import ComputeSeen
from spg99.protocol.tasks import ComputeStart, ComputeStarted, ComputeStopped, is_moment

_log = log.get("node")


class Computes:
    """All computes of one node. Callers hold the timeline's lock for `start`, `stop` and `end_all_of`."""

    def __init__(
        self,
        folder: NodeFolder,
        binaries: Binaries,
        account: Account | None,
        *,
        extensions_dir: Path,
        storage: Storage | None = None,
        confinement: Confinement | None = None,
        failures: Counter | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self.keeping = keeping
        self._folder = folder
        self._binaries = binaries
        self._account = account
        self.extensions_dir = extensions_dir
        self.storage = storage or Storage(folder, account)
        self.confinement = confinement or Confinement(folder.root.name)
        self._memory = MemoryWatch()
        self._running: dict[str, Compute] = {}
        self._ended: dict[str, ComputeSeen] = {}
        self.failures = failures
        """Counts what failed while computes were watched."""
        self.ended = Wakeup()
        """Rings when a compute has ended by itself, for whoever tells the Control Plane."""

    @property
    def places(self) -> list[Path]:
        """Folders of this node of which nobody needs to know who only uses a database on it."""
        return [self._folder.root, self._folder.run_dir, self._binaries.bin_dir]

    @property
    def tenant_rules_are_held(self) -> bool:
        """Whether servers started from now on refuse what rights cannot (ALTER ROLE ... PASSWORD)."""
        return (self.extensions_dir / TENANT_RULES_NAME).is_file()

    async def start(self, order: ComputeStart) -> ComputeStarted:
        """Starts a compute. The same one running is a success; a writer of a lower term on these files is stopped first."""
        timeline = self._folder.timeline(order.timeline_id)
        if (known := self._running.get(order.compute_id)) is not None:
            with contextlib.suppress(CannotWake):
                return started(known, await known.cluster.wait_ready())
            self._retire(known)  # it has ended a moment ago, and the watch has not told yet
        if not timeline.root.is_dir() and order.kept is None:
            raise CannotWake(f"The files of timeline {order.timeline_id} are not on this node.")
        last = writer.read(timeline)
        writer.admit(last, order)
        if last is not None and last.compute_id != order.compute_id and not last.stopped:
            await self._end(timeline, last, "fast")
        if order.kept is None:
            return await self._start_on(order, timeline, None)
        if self.keeping is None:
            raise CannotWake("This agent has no object store, and the database's images are in one.")
        return await self.keeping.start(order, order.kept, timeline, last, partial(self._start_on, order, timeline))

    async def _start_on(self, order: ComputeStart, timeline: TimelineFolder, kept: Start | None) -> ComputeStarted:
        """Starts it on the files that are there."""
        record = Writer(
            compute_id=order.compute_id,
            db_id=order.db_id,
            writer_term=order.writer_term,
            profile=order.profile,
            backend_addr=str(self._folder.socket_dir(order.compute_id)),
            backend_port=BACKEND_PORT,
            kept=order.kept,
            boot_id=boot_id() if kept is not None else None,
        )
        writer.write_begun(timeline, record)
        # Two syncs, which take as long as half a start of PostgreSQL: beside it. Nobody hears of the compute before they are done.
        fence = asyncio.create_task(asyncio.to_thread(writer.write_fence, timeline, record))
        # So is the look at all its files, which nobody changes yet.
        measured = asyncio.create_task(asyncio.to_thread(measure, timeline.data_dir))
        try:
            return await self._start(order, timeline, record, fence, measured, kept)
        finally:
            await asyncio.gather(fence, measured, return_exceptions=True)

    async def _start(
        self,
        order: ComputeStart,
        timeline: TimelineFolder,
        record: Writer,
        fence: asyncio.Task[None],
        measured: asyncio.Task[Footprint],
        kept: Start | None,
    ) -> ComputeStarted:
        rules = access.hba_rules(
            database_name=order.database_name,
            pg_user=order.pg_user,
            may_replicate=not is_moment(order.timeline_id) and (kept is None or self.tenant_rules_are_held),
        )
        write_file(timeline.hba_file, rules, mode=0o644, durable=False)
        settings = compute_settings(
            order.profile, compute_id=order.compute_id, hba_file=timeline.hba_file, extensions_dir=self.extensions_dir,
            within=self.storage.bounds(order.profile, order.storage_limit_bytes),
        ) | time_travel.settings(timeline)  # fmt: skip
        preload = self.storage.prepare(timeline, order.profile, order.storage_limit_bytes)
        if kept is not None:
            settings, preload = settings | kept.settings, kept.preload_after(preload)
        faults.point("compute.start.before_process")
        spans.mark("agent.begins")
        compute = self._compute(timeline, record)
        running = await compute.cluster.start(
            settings,
            port=BACKEND_PORT,
            environment=oom_environment(),
            preload=preload,
            data_bytes_max=memory_bounds(order.profile).session_bytes,
            has_wal_socket=kept is not None,
        )
        try:
            await fence
            if kept is not None and self.keeping is not None:
                await self.keeping.serves(kept)
            await self.storage.begin(timeline, order.profile, running.pid, measured=await measured)
        except BaseException:
            await asyncio.shield(compute.cluster.stop("immediate"))  # nobody was let in
            raise
        faults.point("compute.start.before_result")
        self._register(compute, running)
        return started(compute, running)

    async def stop(
        self, compute_id: str, timeline_id: str, mode: StopMode, *, only_if_unused: bool = False
    ) -> ComputeStopped:
        """Stops a compute and sees to it that it is not started again. One that does not run is a success.

        With `only_if_unused` it runs on when somebody uses it or nobody can tell; the answer says why.
        """
        timeline = self._folder.timeline(timeline_id)
        last = writer.read(timeline)
        if last is None or last.compute_id != compute_id:
            return ComputeStopped()
        faults.point("compute.stop.before_signal")
        if not only_if_unused:
            await self._end(timeline, last, mode)
        elif (use := await self._end_if_unused(timeline, last, mode)) is not None:
            _log.info("compute is in use and runs on", compute_id=compute_id, reason=use.reason)
            return ComputeStopped(stopped=False, sessions=use.sessions, reason=use.reason)
        faults.point("compute.stop.before_result")
        return ComputeStopped()

    async def _end_if_unused(self, timeline: TimelineFolder, last: Writer, mode: StopMode) -> Use | None:
        compute = self._running.get(last.compute_id) or self._compute(timeline, last)
        if (running := compute.cluster.adopt()) is None:
            await self._end(timeline, last, mode)
            return None
        database, user = access.allowed_by(timeline.hba_file.read_text())
        with in_use.closed_socket(compute.cluster.socket_dir, last.backend_port) as socket:
            faults.point("compute.stop.door_closed")
            use = await in_use.use_of(socket, running.pid, user=user, database=database)
            if use is None or (not use.sessions and await dies(compute, running.pid)):
                await self._end(timeline, last, mode)
                return None
            return use

    async def end_all_of(self, timeline_id: str) -> None:
        """Ends whatever runs on these files, before they are removed."""
        timeline = self._folder.timeline(timeline_id)
        if timeline.root.is_dir() and (last := writer.read(timeline)) is not None:
            await self._end(timeline, last, "immediate")

    async def adopt(self) -> int:
        """Takes over what a former agent left running; what has ended meanwhile will be told. Starts nothing."""
        for timeline in await asyncio.to_thread(self._folder.timelines):
            try:
                record = writer.read(timeline)
            except Spg99Error as error:
                _log.error("cannot adopt", timeline_id=timeline.timeline_id, reason=error.message)
                continue
            if record is None or record.stopped or record.compute_id in self._running:
                continue
            compute = self._compute(timeline, record)
            running = compute.cluster.adopt()
            if running is not None and record.kept is not None and record.pid is None:
                # Nobody was let in yet, and nobody knows how far its start has come: whether it may write was perhaps not asked.
                await compute.cluster.stop("immediate")
            elif running is not None:
                await self.storage.begin(timeline, record.profile, running.pid)
                # A former agent may have died while it asked whether somebody is in there.
                in_use.open_socket(compute.cluster.socket_dir, record.backend_port)
                self._register(compute, running)
                if self.keeping is not None:
                    self.keeping.pages.adopt(timeline, record)
            elif record.pid is not None:
                reason = cause_of_end(read_since(timeline.log_file, 0)) or "PostgreSQL ended while no agent was there."
                self._note_end(compute, reason)
        self.confinement.sweep(set(self._running))
        return len(self._running)

    async def notice_ends(self) -> None:
        """Tells the end of every compute whose process is gone, also where no watch has: a heartbeat asks before it speaks."""
        for compute in self.running():
            pid = compute.record.pid
            try:
                if pid is None or compute.cluster.lives(pid):
                    continue
                if compute.watch is not None:  # which knows best how it ended: a moment for it
                    await asyncio.wait({compute.watch}, timeout=NOTICE_SECONDS)
            except OSError as error:
                _log.warning(
                    "cannot tell whether a compute runs", compute_id=compute.record.compute_id, reason=str(error)
                )
                continue
            if self._running.get(compute.record.compute_id) is compute:
                await self._has_ended(compute, Exit(None))

    def seen(self, connections: dict[str, int]) -> list[ComputeSeen]:
        """Everything that runs, and what has ended and is not told yet. `connections`: socket folder -> clients."""
        running = [
            compute.record.seen(
                compute.timeline.timeline_id, connections=connections.get(compute.record.backend_addr, 0)
            ).model_copy(update={"storage": self.storage.seen(compute.timeline.timeline_id)})
            for compute in self._running.values()
        ]
        return running + list(self._ended.values())

    def acknowledged(self, seen: list[ComputeSeen]) -> None:
        """The Control Plane has answered: ends among these need not be told again, also not by a later agent."""
        for compute in seen:
            if not compute.running and self._ended.pop(compute.compute_id, None) is not None:
                timeline = self._folder.timeline(compute.timeline_id)
                with contextlib.suppress(OSError, Spg99Error):
                    last = writer.read(timeline)
                    if last is not None and last.compute_id == compute.compute_id:
                        writer.write_life(timeline, last.model_copy(update={"stopped": True}))

    def find(self, compute_id: str) -> Compute | None:
        """One that runs."""
        return self._running.get(compute_id)

    def running(self) -> list[Compute]:
        """Those that run."""
        return list(self._running.values())

    async def hold(self, connections: Callable[[], dict[str, int]]) -> float:
        """One look at what the computes take of the node; answers after how many seconds the next is due.

        `connections`: socket folder -> clients. One without clients takes no memory worth a look.
        """
        seconds = await self.storage.check()
        clients = connections() if self._running else {}
        eaters = [
            Eater(compute.record.compute_id, compute.record.profile, compute.record.pid)
            for compute in self._running.values()
            if clients.get(compute.record.backend_addr) and compute.record.pid is not None
        ]
        await asyncio.to_thread(self._memory.check, eaters)
        return seconds

    async def stop_all(self, reason: str) -> None:
        """Stops everything. It counts as ended by itself, so that the Control Plane hears of it now or at the next start."""
        await asyncio.gather(*(self._end_by_itself(compute, "fast", reason) for compute in self.running()))

    async def end_stale(self, compute: Compute, reason: str) -> None:
        """Ends a compute whose files are of no use any more. It counts as ended by itself."""
        if self._running.get(compute.record.compute_id) is compute:
            await asyncio.to_thread(distrust, compute.timeline)
            await self._end_by_itself(compute, "immediate", reason)

    async def leave(self) -> None:
        """Stops watching; everything keeps running."""
        watches = [compute.watch for compute in self._running.values() if compute.watch is not None]
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        if self.keeping is not None:
            await self.keeping.aclose()

    # What follows is how.

    def _compute(self, timeline: TimelineFolder, record: Writer) -> Compute:
        cluster = Cluster(
            timeline.data_dir, Path(record.backend_addr), self._binaries, self._account, log_file=timeline.log_file
        )
        size = timeline.log_file.stat().st_size if timeline.log_file.exists() else 0
        return Compute(timeline, record, cluster, log_begin=size)

    def _register(self, compute: Compute, running: Running) -> None:
        known = {"pid": running.pid, "started_at": running.started_at}
        compute.record = compute.record.model_copy(update=known)
        writer.write_life(compute.timeline, compute.record)
        self._ended.pop(compute.record.compute_id, None)
        self._running[compute.record.compute_id] = compute
        compute.watch = asyncio.create_task(self._watch(compute), name=f"watch-{compute.record.compute_id}")
        self.confinement.rank(compute.record.compute_id, running.pid)
        later = asyncio.get_running_loop().call_later
        compute.confines_later = later(self.confinement.after_seconds, self._begin_confining, compute, running.pid)

    def _begin_confining(self, compute: Compute, pid: int) -> None:
        compute.confining = asyncio.create_task(confine(self.confinement, compute, pid, self.failures))

    async def _watch(self, compute: Compute) -> None:
        end = await retried(
            "watch",
            lambda: compute.cluster.wait_end(compute.record.pid),
            failures=self.failures,
            compute_id=compute.record.compute_id,
        )
        await self._has_ended(compute, end)

    async def _has_ended(self, compute: Compute, end: Exit) -> None:
        """Tells an end, whatever else fails: of one that is not told the database would be ready for ever."""
        said = None
        try:
            said = cause_of_end(read_since(compute.timeline.log_file, compute.log_begin))
        except Exception as error:  # noqa: BLE001 - then how it ended must do
            _log.error("cannot read why a compute ended", exc_info=error, compute_id=compute.record.compute_id)
        try:
            self._retire(compute)
            await self._release(compute)
            compute.cluster.remove_sockets()
            if self.keeping is not None:
                await self.keeping.ended(compute.timeline, compute.record, end.code)
        except Exception as error:  # noqa: BLE001 - what is left behind is no reason to keep the end to ourselves
            _log.error("cannot tidy up after a compute", exc_info=error, compute_id=compute.record.compute_id)
        self._note_end(compute, said or end.sentence())

    def _retire(self, compute: Compute) -> None:
        """No longer counted as running, and its end is nobody's business any more."""
        if self._running.get(compute.record.compute_id) is compute:
            del self._running[compute.record.compute_id]
            self.storage.forget(compute.timeline.timeline_id)
        if compute.watch is not None and compute.watch is not asyncio.current_task():
            compute.watch.cancel()

    async def _end_by_itself(self, compute: Compute, mode: StopMode, reason: str) -> None:
        self._retire(compute)
        await compute.cluster.stop(mode, timeout_seconds=20)
        await self._release(compute)
        if self.keeping is not None:
            await self.keeping.ended(compute.timeline, compute.record)
        self._note_end(compute, reason)

    async def _release(self, compute: Compute) -> None:
        if compute.confines_later is not None:
            compute.confines_later.cancel()
        if compute.confining is not None:
            await compute.confining
        self.confinement.release(compute.record.compute_id)

    def _note_end(self, compute: Compute, reason: str) -> None:
        _log.warning("compute ended by itself", compute_id=compute.record.compute_id, reason=reason)
        self._ended[compute.record.compute_id] = compute.record.seen(compute.timeline.timeline_id, exit_reason=reason)
        self.ended.wake()

    async def _end(self, timeline: TimelineFolder, last: Writer, mode: StopMode) -> None:
        compute = self._running.get(last.compute_id) or self._compute(timeline, last)
        self._retire(compute)
        await compute.cluster.stop(mode)
        await self._release(compute)
        self._ended.pop(last.compute_id, None)
        writer.write_life(timeline, last.model_copy(update={"stopped": True}))
        if self.keeping is not None:
            await self.keeping.ended(timeline, last)
            if mode == "fast":
                self.keeping.build_image(timeline, last)
