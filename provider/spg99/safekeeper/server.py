"""The safekeeper's process: its folder, its identity, its address, its loops. Here: putting together. Not here: what it is
asked (routes.py), what it keeps (kept_timeline.py)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uvicorn
from prometheus_client import CollectorRegistry

from spg99 import log
from spg99.atomic_write import make_folders
from spg99.client import InternalClient
from spg99.clock import SystemClock
from spg99.config import SafekeeperSettings
from spg99.errors import BadRequest, Unauthorized, Unavailable
from spg99.postgres import socket_folder
from spg99.postgres.accounts import make_folder
from spg99.postgres.locks import locked
from spg99.processes import Loops, loop_failures, say_ready, serve_probes, stop_ordered
from spg99.processes.addresses import listen_on
from spg99.processes.health import Unhealthy
from spg99.processes.identity import Applicant, introduce
from spg99.processes.own_certificate import OwnCertificate
from spg99.protocol.safekeeper import SafekeeperHeartbeat
from spg99.safekeeper import routes
from spg99.safekeeper.follower import Followers
from spg99.safekeeper.health import Health, SafekeeperMetrics, health
from spg99.safekeeper.kept_timelines import KeptTimelines
from spg99.safekeeper.network import OnlyAgentsOrder, serve_agents

REPORT_ALL_BEATS: Final = 12
"""All timelines are told with each of so many heartbeats: one that belongs to nothing any more is removed some time."""
KEEP_ALIVE_SECONDS: Final = 300
"""An agent's connection outlives the pauses between its databases' starts."""

BESIDE_SECONDS: Final = 5.0
"""For what runs in the same process to come to its end."""

_log = log.get("safekeeper")


def run(
    settings: SafekeeperSettings, *, beside: Callable[[asyncio.Event], Coroutine[Any, Any, None]] | None = None
) -> None:
    """Runs the safekeeper until SIGTERM or SIGINT. Prints one line of JSON once the Control Plane has heard of it. `beside`: what runs in the same
    process until the event that it is given."""
    asyncio.run(_run(settings, beside))


async def _run(
    settings: SafekeeperSettings, beside: Callable[[asyncio.Event], Coroutine[Any, Any, None]] | None
) -> None:
    stop = stop_ordered()
    root = settings.data_dir.expanduser().resolve() / "safekeeper" / settings.name
    try:
        make_folders(root, mode=0o700)
    except OSError as error:
        raise BadRequest(f"The data folder {root} cannot be used: {error.strerror} ({error.filename}).") from error
    socket = _address(settings)
    busy = f"Another safekeeper works in {root} already. Give this one another --name or --data-dir."
    async with (
        locked(root / "safekeeper.lock", timeout_seconds=10, busy=busy),
        InternalClient(settings.cp_url, None, ca_file=settings.ca_file) as client,
    ):
        other = asyncio.create_task(beside(stop)) if beside is not None else None
        try:
            await Safekeeper(settings, root, socket, client).run(stop)
        finally:
            if other is not None:
                stop.set()
                await asyncio.wait({other}, timeout=BESIDE_SECONDS)
                other.cancel()
                await asyncio.gather(other, return_exceptions=True)


def _address(settings: SafekeeperSettings) -> Path:
    """The path of its socket, in a folder that only our own user can enter."""
    word = hashlib.sha256(settings.name.encode()).hexdigest()[:8]
    folder = socket_folder.socket_folder(settings.data_dir) / f"sk-{word}"
    make_folder(folder, mode=0o700, durable=False)
    return folder / "http"


class Safekeeper:
    """One safekeeper."""

    def __init__(self, settings: SafekeeperSettings, root: Path, socket: Path, client: InternalClient) -> None:
        self._settings = settings
        self._root = root
        self._socket = socket
        self._client = client
        self._beats = 0
        self._timelines: KeptTimelines | None = None
        self._certificate: OwnCertificate | None = None
        self._network_address: str | None = None
        self._registry = CollectorRegistry()
        failures = loop_failures(self._registry)
        self._metrics = SafekeeperMetrics(self._registry)
        self._unwell_since: datetime | None = None
        self._followers = Followers(failures=failures)
        self._loops = Loops(failures=failures, fatal=(Unauthorized,))
        self._loops.repeat("heartbeat", self._beat)
        self._applicant = Applicant(
            kind="safekeeper",
            name=settings.name,
            file=root / "identity.json",
            enrolment_token=settings.enrolment_token,
            enrol=client.enroll_safekeeper,
            authenticate=client.authenticate,
            greet=self._beat,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set. Raises Unauthorized when the Control Plane does not know it (any more)."""
        # Who it is stands in what it keeps: it is known first. One that was known before goes on without a Control Plane.
        stopped = asyncio.ensure_future(stop.wait())
        introduced = asyncio.ensure_future(introduce(self._applicant, must_be_heard=False))
        await asyncio.wait({stopped, introduced}, return_when=asyncio.FIRST_COMPLETED)
        if not introduced.done():
            introduced.cancel()
            stopped.cancel()
            return
        identity = introduced.result()
        if self._settings.listen is not None:
            await self._get_certificate(identity.identity_id)
        timelines = self._timelines = await asyncio.to_thread(
            KeptTimelines, self._root / "timelines", identity.identity_id
        )
        server = _Server(uvicorn.Config(
            OnlyAgentsOrder(routes.app(timelines, self._followers)), uds=str(self._socket), lifespan="off", log_config=None,
            access_log=False, server_header=False, date_header=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
        ))  # fmt: skip
        serving = asyncio.create_task(server.serve())
        probes: asyncio.Server | None = None
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0.001)
            if self._certificate is not None and self._settings.listen is not None:
                listeners, self._network_address = listen_on(self._settings.listen, self._settings.advertise)
                serve_agents(server, listeners, self._certificate)
            for timeline in timelines.all():
                self._followers.begin(timeline)
            try:
                await self._beat()
            except Unavailable as error:  # computes go on without a Control Plane, and so does this
                _log.warning("the Control Plane does not answer yet", reason=error.message)
            facts: dict[str, Any] = {"safekeeper_id": identity.identity_id, "address": str(self._socket)}
            if self._network_address is not None:
                facts["network_address"] = self._network_address
            if (port := self._settings.metrics_port) is not None:
                probes = await serve_probes(
                    "127.0.0.1", port, self._registry, collect=self._collect, unhealthy=self._unhealthy
                )
                facts["metrics_port"] = probes.sockets[0].getsockname()[1]
            async with self._loops:
                say_ready("safekeeper", **facts)
                failing = asyncio.create_task(self._loops.wait())
                await asyncio.wait({stopped, serving, failing}, return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    failing.result()
                failing.cancel()
        finally:
            stopped.cancel()
            if probes is not None:
                probes.close()
            server.should_exit = True
            await asyncio.wait({serving})
            await self._followers.end()
            for timeline in timelines.all():
                timeline.close()
            shutil.rmtree(self._socket.parent, ignore_errors=True)
            socket_folder.release(self._settings.data_dir)
            _log.info("safekeeper ended")

    def _health(self) -> Health:
        disk, kept = shutil.disk_usage(self._root), self._timelines
        return health(
            [timeline.seen().trouble for timeline in kept.all()] if kept is not None else [],
            disk_total_bytes=disk.total,
            disk_free_bytes=disk.free,
            damaged=len(kept.damaged) if kept is not None else 0,
        )

    def _unhealthy(self) -> list[Unhealthy]:
        """Its loops, and itself: why `/readyz` says no."""
        complaints = self._health().complaints()
        if not complaints:
            self._unwell_since = None
        elif self._unwell_since is None:
            self._unwell_since = datetime.now(UTC)
        itself = [Unhealthy("safekeeper", self._unwell_since or datetime.now(UTC), said) for said in complaints]
        return [*self._loops.unhealthy(), *itself]

    async def _collect(self) -> None:
        self._metrics.show(self._health())

    def _promised_terms(self) -> dict[str, int]:
        kept = self._timelines
        return {one.timeline_id: one.keeper.promised_term for one in kept.all()} if kept is not None else {}

    def _all_ids(self) -> list[str]:
        """Also of those that are damaged: they belong to nothing some time, as all do."""
        kept = self._timelines
        return [*(timeline.timeline_id for timeline in kept.all()), *kept.damaged] if kept is not None else []

    async def _get_certificate(self, safekeeper_id: str) -> None:
        file = self._root / "certificate.json"
        self._certificate = OwnCertificate(safekeeper_id, file, self._client.safekeeper_certificate, SystemClock())
        with contextlib.suppress(Unavailable):  # then the loop asks again
            await self._certificate.turn()
        self._loops.repeat("certificate", self._certificate.turn)
        self._followers.certificate = self._certificate

    async def _beat(self) -> float:
        report_all = self._beats % REPORT_ALL_BEATS == 0
        seen = self._health()
        self._metrics.show(seen)
        answer = await self._client.safekeeper_heartbeat(
            SafekeeperHeartbeat(
                address=str(self._socket),
                network_address=self._network_address,
                disk_total_bytes=seen.disk_total_bytes,
                disk_free_bytes=seen.disk_free_bytes,
                disk_is_short=seen.disk_is_short,
                damaged=seen.damaged,
                troubles=dict(seen.troubles),
                timelines=self._all_ids() if report_all else [],
                promised_terms=self._promised_terms() if report_all else {},
            )
        )
        self._beats += 1
        if self._certificate is not None:
            self._certificate.revoked = frozenset(answer.revoked_ids)
        if self._timelines is not None:
            for timeline_id in answer.forget_timeline_ids:
                self._timelines.remove(timeline_id)
            if report_all:
                self._timelines.drop_replaced(time.time())
        return float(answer.heartbeat_seconds)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are heard by `stop_ordered`
