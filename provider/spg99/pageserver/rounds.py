"""The pageserver's round over all timelines: who has new WAL, what of it is archived next, who may let go of what. Here: one round, and what is
remembered between rounds. Not here: one timeline's turn (archiving.py), the process (server.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from spg99 import images, log
from spg99.archive import Archive, Live
from spg99.client.safekeeper import SafekeeperClient
from spg99.errors import NotFound, Spg99Error
from spg99.images.condemned import GRACE_SECONDS
from spg99.images.manifest import ImageRef, Manifest, images_of
from spg99.objects import ObjectStore
from spg99.pageserver.archiving import IDLE_SECONDS, Archived, archive_turn, trim
from spg99.pageserver.building import Sandbox, build_image
from spg99.pageserver.garbage import Collector, Owned
from spg99.pageserver.verifying import Verifications, verify
from spg99.processes.health import pause_seconds
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol import safekeeper as said
from spg99.protocol.pageserver import TimelineHistory, TimelineToKeep
from spg99.wal import archived
from spg99.wal.lsn import segment_begin, segment_number

ROUND_SECONDS: Final = 2.0
TIMELINES_AT_ONCE: Final = 4
IMAGES_SECONDS: Final = 30.0
"""Between two lists of a timeline's images: nodes make some, too."""
BUILD_SECONDS: Final = 5.0
SWEEP_SECONDS: Final = 3600.0
BUILD_FAILED_FACTOR: Final = 10.0
"""An image that failed is tried again later than anything else: it is dear, and WAL waits."""

_log = log.get("pageserver")


@dataclass
class Care:
    """One timeline that is cared for."""

    ordered: TimelineToKeep
    archived: Archived = field(default_factory=Archived)
    seen: dict[str, said.KeeperSeen] = field(default_factory=dict)
    image: Manifest | None = None
    """The newest one of the life that safekeepers have."""
    images_read_at: float | None = None
    was_running: bool = False
    problem: str | None = None
    failures: int = 0
    retry_at: float = 0.0
    oldest: Manifest | None = None
    """Of those from which there is all WAL up to now."""
    verified_at: datetime | None = None
    is_swept: bool = False
    """It is gone, and the store has nothing of it."""
    build_problem: str | None = None
    build_failures: int = 0
    build_at: float = 0.0
    build_after_lsn: int = 0
    """An image was tried, and would have been no newer: not before there is more WAL."""
    reported: TimelineHistory | None = None

    @property
    def timeline_id(self) -> str:
        """Its id."""
        return self.ordered.timeline_id

    @property
    def is_running(self) -> bool:
        """Whether a compute writes it."""
        return any(seen.following_term is not None for seen in self.seen.values())

    def history(self) -> TimelineHistory:
        """What is known of it, for the Control Plane."""
        return TimelineHistory(
            timeline_id=self.timeline_id,
            archived_lsn=self.archived.stored_lsn,
            image_lsn=self.image.lsn if self.image is not None else 0,
            recoverable_from=self.oldest.as_of if self.oldest is not None else None,
            last_verified_at=self.verified_at,
            problem=self.problem or self.build_problem,
            is_swept=self.is_swept,
        )

    @property
    def segment_bytes(self) -> int:
        """Of its WAL; 0: no safekeeper has said it yet."""
        return next((seen.segment_bytes for seen in self.seen.values()), 0)

    @property
    def wal_bytes(self) -> int:
        """Of WAL behind the newest image."""
        begin = max(self.image.lsn if self.image is not None else self.archived.flush_lsn, self.build_after_lsn)
        return self.archived.flush_lsn - begin


class Metrics:
    """What a pageserver counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stored_bytes = Counter(
            "spg99_pageserver_archived_bytes", "Bytes of WAL put into the store.", registry=registry
        )
        self.waiting_bytes = Gauge(
            "spg99_pageserver_waiting_bytes", "Bytes of WAL that only safekeepers have.", registry=registry
        )
        self.built = Counter("spg99_pageserver_images", "Images made by recovery.", registry=registry)
        self.removed = Counter("spg99_pageserver_removed_objects", "Objects that nobody needed.", registry=registry)
        self.failing = Gauge(
            "spg99_pageserver_failing_timelines", "Timelines whose history cannot be kept.", registry=registry
        )


class Rounds:
    """All timelines of one pageserver."""

    def __init__(
        self,
        objects: ObjectStore,
        keys: images.TenantKeys,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        idle_seconds: float = IDLE_SECONDS,
        sandbox: Sandbox | None = None,
        clients: SafekeeperClients | None = None,
        grace_seconds: float = GRACE_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`sandbox`: where images are made by recovery; None: none are. `clients`: by which safekeepers are reached; None: those of this machine only.
        `grace_seconds`: between the mark of what nobody needs and its removal."""
        self._collector = Collector(objects, grace_seconds=grace_seconds)
        self._now = now
        self._sandbox = sandbox
        self.objects, self.keys = objects, keys
        self._metrics = metrics
        self._monotonic = monotonic
        self._idle_seconds = idle_seconds
        self.cares: dict[str, Care] = {}
        self.verifications = Verifications(monotonic)
        self.clients = clients or SafekeeperClients()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self.clients.aclose()

    def learn(self, timelines: list[TimelineToKeep]) -> None:
        """What to care for from now on."""
        wanted = {timeline.timeline_id: timeline for timeline in timelines}
        for timeline_id in self.cares.keys() - wanted.keys():
            del self.cares[timeline_id]
        for timeline_id, timeline in wanted.items():
            if (care := self.cares.get(timeline_id)) is None:
                self.cares[timeline_id] = Care(timeline)
            else:
                care.ordered = timeline

    def unreported(self) -> list[TimelineHistory]:
        """What the Control Plane has not heard yet; `heard` once it has."""
        found = [care.history() for care in self.cares.values()]
        return [history for history in found if self.cares[history.timeline_id].reported != history]

    def heard(self, histories: list[TimelineHistory]) -> None:
        """The Control Plane knows these."""
        for history in histories:
            if (care := self.cares.get(history.timeline_id)) is not None:
                care.reported = history

    async def round(self) -> float:
        """Archives what is new; answers after how many seconds to begin again."""
        await self._see()
        places = asyncio.Semaphore(TIMELINES_AT_ONCE)

        async def turn(care: Care) -> None:
            async with places:
                await self._turn(care)

        now = self._monotonic()
        due = [care for care in self.cares.values() if care.seen and not care.ordered.is_gone and care.retry_at <= now]
        await asyncio.gather(*map(turn, due))
        self._metrics.waiting_bytes.set(sum(care.archived.waiting_bytes for care in self.cares.values()))
        self._metrics.failing.set(sum(care.problem is not None for care in self.cares.values()))
        return ROUND_SECONDS

    async def _see(self) -> None:
        """Asks each safekeeper once for all that it has."""
        clients = {
            client for care in self.cares.values() for client in self.clients.of_kept(care.ordered.kept).values()
        }
        await self.clients.close_others(clients)
        seen: dict[str, dict[str, said.KeeperSeen]] = {}

        async def ask(client: SafekeeperClient) -> None:
            try:
                answer = await client.all()
            except Spg99Error:
                return  # what only others have is archived from them
            for one in answer.timelines:
                seen.setdefault(one.timeline_id, {})[one.safekeeper_id] = one

        await asyncio.gather(*map(ask, clients))
        for care in self.cares.values():
            its = seen.get(care.timeline_id, {})
            care.seen = {name: one for name, one in its.items() if name in care.ordered.kept.addresses}

    async def _turn(self, care: Care) -> None:
        now = self._monotonic()
        try:
            await self._archive(care, now)
        except (Spg99Error, OSError) as error:
            reason = error.message if isinstance(error, Spg99Error) else str(error)
            care.failures += 1
            care.retry_at = now + pause_seconds(care.failures, chance=1.0)
            if care.problem is None:
                _log.warning("history is not kept", timeline_id=care.timeline_id, reason=reason)
            care.problem = (
                f"{care.archived.waiting_bytes >> 20} MB of WAL wait on the database's safekeepers, because it cannot be put into the "
                f"object store: {reason}"
            )
        else:
            care.failures, care.problem = 0, None

    async def _archive(self, care: Care, now: float) -> None:
        key = await self.keys.get(care.ordered.kept.tenant_id)
        clients = self.clients.of_kept(care.ordered.kept)
        live = Live(care.timeline_id, care.ordered.kept, clients)
        live.seen = dict(care.seen)
        before = care.archived.bytes_stored
        try:
            await archive_turn(
                care.archived, live, Archive(self.objects, key, care.timeline_id), now, idle_seconds=self._idle_seconds
            )
        finally:
            self._metrics.stored_bytes.inc(care.archived.bytes_stored - before)
        await self._read_image(care, key, now)
        size = next(iter(care.seen.values())).segment_bytes
        if care.image is not None and size:
            await trim(care.archived, care.timeline_id, clients, care.image.wal_lsn, size)

    async def _read_image(self, care: Care, key: images.TenantKey, now: float) -> None:
        """The newest image, when there may be another one: a compute has stopped, or it was long ago, and something has been written."""
        has_stopped = care.was_running and not care.is_running
        care.was_running = care.is_running
        if care.images_read_at is not None and not has_stopped:
            idle = not care.is_running and care.image is not None and care.image.lsn >= care.archived.flush_lsn
            if idle or now - care.images_read_at < IMAGES_SECONDS:
                return
        refs = await images_of(self.objects, key.tenant_id, care.timeline_id)
        care.images_read_at = now
        fit = [
            ref
            for ref in refs
            if archived.holds(care.archived.history, ref.term, ref.lsn) and ref.lsn <= care.archived.flush_lsn
        ]
        newest = max(fit, key=lambda ref: ref.lsn, default=None)
        if care.oldest is None or all(ref.image_id != care.oldest.image_id for ref in fit):
            care.oldest = await self._oldest(care, key, fit)
        if newest is not None and (care.image is None or care.image.image_id != newest.image_id):
            care.image = await images.load_manifest(self.objects, key, newest.key)

    async def _oldest(self, care: Care, key: images.TenantKey, fit: list[ImageRef]) -> Manifest | None:
        """The oldest image from which all WAL is there, in the store or on safekeepers."""
        if not fit:
            return None
        size = next(iter(care.seen.values())).segment_bytes
        pieces = await Archive(self.objects, key, care.timeline_id).pieces()
        kept_from = min(seen.first_lsn for seen in care.seen.values())
        for ref in sorted(fit, key=lambda one: one.lsn):
            manifest = await images.load_manifest(self.objects, key, ref.key)
            begin = segment_begin(segment_number(manifest.wal_lsn, size), size)
            if archived.stored_until(pieces, care.archived.history, begin, size) >= kept_from:
                return manifest
        return None

    async def sweep(self) -> float:
        """Removes what nobody needs any more, tenant by tenant; answers after how many seconds to begin again."""
        by_tenant: dict[str, list[Care]] = {}
        for care in self.cares.values():
            by_tenant.setdefault(care.ordered.kept.tenant_id, []).append(care)
        for tenant_id, cares in by_tenant.items():
            try:
                key = await self.keys.get(tenant_id)
            except (
                NotFound
            ):  # nothing was ever stored, or its key was destroyed with the tenant, and all objects are removed
                for care in cares:
                    care.is_swept = care.ordered.is_gone
                continue
            owned = [Owned(care.ordered, care.archived.history, care.segment_bytes) for care in cares]
            try:
                turn = await self._collector.collect(key, owned, self._now())
            except (Spg99Error, OSError) as error:
                reason = error.message if isinstance(error, Spg99Error) else str(error)
                _log.warning("no garbage is removed", tenant_id=tenant_id, reason=reason)
                continue
            self._metrics.removed.inc(turn.removed)
            for care in cares:
                care.is_swept = care.timeline_id in turn.swept
        return SWEEP_SECONDS

    async def build(self) -> float:
        """Makes an image of the running database that has written most since its last one, if that is enough; answers after how many seconds
        to begin again. Where there is none to make, a kept moment is verified. One at a time, and none is begun while a compute starts: this is idle work."""
        if self._sandbox is None:
            return BUILD_SECONDS
        if any(
            seen.following_term is not None and not seen.caught_up
            for care in self.cares.values()
            for seen in care.seen.values()
        ):
            return 1.0
        now = self._monotonic()
        due = [
            care
            for care in self.cares.values()
            if care.seen
            and not care.ordered.is_gone
            and care.build_at <= now
            and 0 < care.ordered.image_wal_bytes <= care.wal_bytes
        ]
        if not due:
            return 0.0 if await self.verify_one(self._sandbox) else BUILD_SECONDS
        await self.build_one(max(due, key=lambda care: care.wal_bytes), self._sandbox)
        return 0.0

    async def build_one(self, care: Care, sandbox: Sandbox) -> None:
        """Makes one image now; what goes wrong is the timeline's problem from then on."""
        try:
            key = await self.keys.get(care.ordered.kept.tenant_id)
            image = await build_image(care.timeline_id, care.ordered.kept, self.clients, sandbox, self.objects, key)
        except (Spg99Error, OSError) as error:
            reason = error.message if isinstance(error, Spg99Error) else str(error)
            care.build_failures += 1
            care.build_at = self._monotonic() + BUILD_FAILED_FACTOR * pause_seconds(care.build_failures, chance=1.0)
            care.build_problem = f"No image can be made by replaying the database's WAL: {reason}"
            _log.error("no image can be made by recovery", timeline_id=care.timeline_id, reason=reason)
            return
        care.build_failures, care.build_problem = 0, None
        if image is None:
            care.build_after_lsn = care.archived.flush_lsn
            return
        care.image, care.verified_at = image.manifest, image.manifest.created_at
        self._metrics.built.inc()

    async def verify_one(self, sandbox: Sandbox) -> bool:
        """Verifies the kept moment whose turn it is; answers whether there was one."""
        moment = self.verifications.next()
        if moment is None or (care := self.cares.get(moment.origin.timeline_id)) is None:
            return False
        failure: Spg99Error | OSError | None = None
        try:
            key = await self.keys.get(care.ordered.kept.tenant_id)
            await verify(moment, care.ordered.kept, self.clients, sandbox, self.objects, key)
        except (Spg99Error, OSError) as error:
            failure = error
        self.verifications.ended(moment, failure)
        return True
