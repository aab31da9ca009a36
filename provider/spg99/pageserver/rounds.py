"""The pageserver's round over all timelines: who has new WAL, what of it is archived next, who may let go of what. Here: one round, and what is
remembered between rounds. Not here: one timeline's turn (archiving.py), the process (server.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from spg99 import images, log
from spg99.archive import Archive, Live
from spg99.client.safekeeper import SafekeeperClient
from spg99.errors import Spg99Error
from spg99.images.manifest import Manifest, images_of
from spg99.objects import ObjectStore
from spg99.pageserver.archiving import IDLE_SECONDS, Archived, archive_turn, trim
from spg99.processes.health import pause_seconds
from spg99.protocol import safekeeper as said
from spg99.protocol.pageserver import TimelineHistory, TimelineToKeep
from spg99.wal import archived

ROUND_SECONDS: Final = 2.0
TIMELINES_AT_ONCE: Final = 4
IMAGES_SECONDS: Final = 30.0
"""Between two lists of a timeline's images: nodes make some, too."""
WAITING_BYTES_MAX: Final = 64 << 20
"""More WAL than this that only safekeepers have is worth a sentence."""

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
    verified: TimelineHistory | None = None
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
        known = self.verified or TimelineHistory(timeline_id=self.timeline_id)
        return known.model_copy(
            update={
                "archived_lsn": self.archived.stored_lsn,
                "image_lsn": self.image.lsn if self.image is not None else 0,
                "problem": self.problem,
            }
        )


class Metrics:
    """What a pageserver counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stored_bytes = Counter(
            "spg99_pageserver_archived_bytes", "Bytes of WAL put into the store.", registry=registry
        )
        self.waiting_bytes = Gauge(
            "spg99_pageserver_waiting_bytes", "Bytes of WAL that only safekeepers have.", registry=registry
        )
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
    ) -> None:
        self.objects, self.keys = objects, keys
        self._metrics = metrics
        self._monotonic = monotonic
        self._idle_seconds = idle_seconds
        self.cares: dict[str, Care] = {}
        self._clients: dict[str, SafekeeperClient] = {}

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

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

    def clients_of(self, care: Care) -> dict[str, SafekeeperClient]:
        """Of its safekeepers, by id."""
        return {name: self._client(address) for name, address in care.ordered.kept.addresses.items()}

    async def _see(self) -> None:
        """Asks each safekeeper once for all that it has."""
        addresses = {address for care in self.cares.values() for address in care.ordered.kept.addresses.values()}
        for gone in self._clients.keys() - addresses:
            await self._clients.pop(gone).aclose()
        seen: dict[str, dict[str, said.KeeperSeen]] = {}

        async def ask(address: str) -> None:
            try:
                answer = await self._client(address).all()
            except Spg99Error:
                return  # what only others have is archived from them
            for one in answer.timelines:
                seen.setdefault(one.timeline_id, {})[one.safekeeper_id] = one

        await asyncio.gather(*map(ask, addresses))
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
        clients = self.clients_of(care)
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
        if newest is not None and (care.image is None or care.image.image_id != newest.image_id):
            care.image = await images.load_manifest(self.objects, key, newest.key)

    def _client(self, address: str) -> SafekeeperClient:
        return self._clients.setdefault(address, SafekeeperClient(address))
