"""The agent of a node: pulls orders, delivers results, reports what runs. It only asks. Who connects to it (with --listen) is let through to a
compute and no further (network.py).

Here: the loops, and what they do while the Control Plane is away (go on). Not here: carrying orders out (handlers.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from spg99 import log, spans
from spg99.client import InternalClient
from spg99.clock import Clock, SystemClock
from spg99.config import AgentSettings
from spg99.errors import Spg99Error, Unauthorized, Unavailable
from spg99.node.cache import Cache
from spg99.node.cache_rules import CacheLimits
from spg99.node.computes import Computes
from spg99.node.folder import NodeFolder
from spg99.node.following import Reached
from spg99.node.handlers import Handlers
from spg99.node.keeping import Keeping
from spg99.node.metrics import NodeMetrics
from spg99.node.network import Network
from spg99.node.observation import Observer
from spg99.node.page_fetcher import LIBRARY, PageFetcher
from spg99.node.template import prepare_extensions, prepare_template, require_version
from spg99.node.timelines import Timelines
from spg99.objects.places import is_remote
from spg99.postgres import find_binaries, prepare_account, socket_folder
from spg99.postgres.locks import locked
from spg99.processes import ClockSteps, Jobs, Loops, loop_failures, say_ready, serve_probes, stop_ordered
from spg99.processes.addresses import listen_on
from spg99.processes.health import pause_seconds
from spg99.processes.identity import Applicant, introduce
from spg99.processes.own_certificate import OwnCertificate
from spg99.protocol import Identity
from spg99.protocol.node import HeartbeatAnswer, LeasedTasks, LeaseTasks, Task, TaskResult

TASKS_MAX = 16
"""Orders in work at once; more would only make each of them slower."""
LEASE_WAIT_SECONDS = 30
MEASURE_PAUSE_SECONDS = 2.0
DRAIN_SECONDS = 5.0
PULL_SECONDS_MAX = 660.0
"""All hands may be full of starts that replay a lot of WAL (postgres/cluster.py)."""

_log = log.get("node")


def run(settings: AgentSettings) -> None:
    """Runs the agent until SIGTERM or SIGINT. Prints one line of JSON once the Control Plane has heard of this node."""
    asyncio.run(_run(settings))


async def _run(settings: AgentSettings) -> None:
    stop = stop_ordered()
    account = prepare_account(settings.run_as)
    folder = NodeFolder.prepare(settings.data_dir, settings.name, account)
    busy = f"Another agent works in {folder.root} already. Give this one another --name or --data-dir."
    async with locked(folder.lock_file, timeout_seconds=10, busy=busy):
        binaries = await asyncio.to_thread(find_binaries, settings.pg_bin, copy_to=folder.pg_dir, account=account)
        require_version(binaries)
        template = await prepare_template(folder, binaries, account)
        extensions_dir = await asyncio.to_thread(prepare_extensions, folder, binaries)
        timelines = Timelines(folder, template, binaries, account)
        keeping = Keeping(
            folder,
            account,
            object_store=settings.object_store_place,
            master_key_file=settings.master_keys_path,
            template_dir=template,
            pages=PageFetcher(
                folder,
                account,
                library=LIBRARY if settings.lazy_pages else None,
                # What lies in a folder is as near as the cache would be.
                cache_bytes=settings.chunk_cache_bytes if is_remote(settings.object_store_place) else 0,
            ),
        )
        computes = Computes(folder, binaries, account, extensions_dir=extensions_dir, keeping=keeping)
        await timelines.sweep()
        adopted = await computes.adopt()
        await timelines.sweep_moments({compute.timeline.timeline_id for compute in computes.running()})
        _log.info("agent started", node=settings.name, postgres=binaries.version, adopted=adopted)
        observer = Observer(folder, computes)
        async with InternalClient(settings.cp_url, None, ca_file=settings.ca_file) as client:
            agent = Agent(settings, folder, client, computes, Handlers(computes, timelines, observer), observer)
            await agent.run(stop)


class Agent:
    """The loops of one agent."""

    def __init__(
        self,
        settings: AgentSettings,
        folder: NodeFolder,
        client: InternalClient,
        computes: Computes,
        handlers: Handlers,
        observer: Observer,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._client = client
        self._computes = computes
        self._handlers = handlers
        self._observer = observer
        self._clock = clock or SystemClock()
        self._monotonic = monotonic
        self._clock_steps = ClockSteps(self._clock.now(), monotonic())
        self._identity: Identity | None = None
        self._applicant = Applicant(
            kind="node",
            name=settings.name,
            file=folder.identity_file,
            enrolment_token=settings.enrolment_token,
            enrol=client.enroll_node,
            authenticate=client.authenticate,
            greet=self._send_heartbeat,
        )
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._attempts: dict[int, int] = {}
        self._registry = CollectorRegistry()
        failures = loop_failures(self._registry)
        self._metrics = NodeMetrics(self._registry)
        self._jobs = Jobs(failures=failures)
        self._loops = Loops(failures=failures, fatal=(Unauthorized,), clock=self._clock)
        computes.failures = failures
        self._loops.repeat("heartbeat", self._beat, wakeup=computes.ended)
        self._loops.repeat("orders", self._pull, turn_seconds_max=PULL_SECONDS_MAX)
        self._loops.repeat("sizes", self._measure)
        self._loops.repeat("bounds", self._hold)
        self._loops.repeat("spares", handlers.timelines.prepare)
        self._loops.repeat("safekeepers", handlers.reconcile_safekeepers)
        limits = CacheLimits(settings.cache_bytes, settings.cache_seconds)
        cache = Cache(folder, computes, observer, limits, self._clock, handlers.only_one)
        self._loops.repeat("cache", cache.keep)
        if computes.keeping is not None:
            computes.keeping.safekeepers.is_archived = self._is_archived
        self._listeners: list[socket.socket] = []
        self._network: Network | None = None
        self._network_address: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set. Raises Unauthorized when the Control Plane does not know this node (any more)."""
        stopped = asyncio.create_task(stop.wait())
        probes: asyncio.Server | None = None
        try:
            if self._settings.listen is not None:
                self._listeners, self._network_address = listen_on(self._settings.listen, self._settings.advertise)
            await _first(stopped, asyncio.create_task(self._introduce()))
            if not stop.is_set():
                assert self._identity is not None
                facts: dict[str, Any] = {"node_id": self._identity.identity_id}
                if self._network_address is not None:
                    await self._open_network(self._identity.identity_id, self._network_address)
                    facts["network_address"] = self._network_address
                if (port := self._settings.metrics_port) is not None:
                    probes = await serve_probes("127.0.0.1", port, self._registry, unhealthy=self._loops.unhealthy)
                    facts["metrics_port"] = probes.sockets[0].getsockname()[1]
                async with self._loops:
                    say_ready("agent", **facts)
                    await _first(stopped, asyncio.create_task(self._loops.wait()))
        finally:
            stopped.cancel()
            if probes is not None:
                probes.close()
            await self._finish()

    async def _introduce(self) -> None:
        """Enrols if need be, and is heard once."""
        self._identity = await introduce(self._applicant, must_be_heard=True)

    async def _open_network(self, node_id: str, address: str) -> None:
        """Lets other machines in, and reaches those that keep this node's WAL."""
        certificate = OwnCertificate(node_id, self._folder.certificate_file, self._client.node_certificate, self._clock)
        with contextlib.suppress(Unavailable):  # then the loop asks again
            await certificate.turn()
        self._loops.repeat("certificate", certificate.turn)
        self._network = Network(self._folder, self._computes, certificate)
        self._network.begin(self._listeners)
        if (keeping := self._computes.keeping) is not None:
            keeping.reached = Reached(node_id, address)
            keeping.safekeepers.clients.certificate = certificate

    async def _beat(self) -> float:
        """Tells what runs here, every few seconds and at once when something has ended by itself."""
        if (step := self._clock_steps.step(self._clock.now(), self._monotonic())) is not None:
            # Nothing here hangs on it: deadlines run on the monotonic clock, or on the Control Plane's.
            _log.warning("the wall clock of this node has stepped", by_seconds=round(step.total_seconds(), 1))
        with self._known():
            await self._send_heartbeat()
        return self._heartbeat_seconds

    async def _send_heartbeat(self) -> None:
        await self._computes.notice_ends()
        beat = self._observer.heartbeat().model_copy(update={"network_address": self._network_address})
        answer = await self._client.heartbeat(beat)
        self._computes.acknowledged(beat.computes)
        self._observer.acknowledged(beat)
        self._apply(answer)

    def _apply(self, answer: HeartbeatAnswer) -> None:
        self._heartbeat_seconds = min(self._settings.heartbeat_seconds, float(answer.heartbeat_seconds))
        if self._network is not None:
            self._network.revoke(answer.revoked_ids)
        for timeline_id, limit_bytes in answer.storage_limits_bytes.items():
            self._computes.storage.configure(timeline_id, limit_bytes)
        for compute_id in answer.stop_compute_ids:
            self._jobs.begin(f"stop {compute_id}", self._handlers.stop_by_id(compute_id))
        for timeline_id in answer.forget_timeline_ids:
            self._jobs.begin(f"forget {timeline_id}", self._handlers.forget(timeline_id))

    async def _pull(self) -> float:
        """Takes orders as they come and carries them out side by side."""
        free = TASKS_MAX - len(self._jobs)
        if free <= 0:
            await self._jobs.wait_for_one()
            return 0.0
        held = sorted(self._attempts)
        ask = LeaseTasks(wait_seconds=LEASE_WAIT_SECONDS, max_tasks=free, held_task_ids=held)
        with self._known():
            answer = await self._client.lease_tasks(ask)
        if answer.tasks:
            spans.mark("agent.has_order")
        now_there = self._clock_of(answer)
        for task in answer.tasks:
            # One that is in work comes again when its lease runs out: its one result answers the newest attempt.
            self._attempts[task.task_id] = task.attempt
            self._jobs.begin(f"task {task.task_id}", self._carry_out(task, now_there))
        return 0.0

    def _clock_of(self, answer: LeasedTasks) -> Callable[[], datetime]:
        """The clock by which these orders expire: the Control Plane's, carried on by our monotonic one. The wall clock of
        a node may be hours off, and every order would come too late. A Control Plane that does not tell leaves us ours."""
        if answer.now is None:
            return self._clock.now
        cp_now, heard_at = answer.now, self._monotonic()
        return lambda: cp_now + timedelta(seconds=self._monotonic() - heard_at)

    async def _carry_out(self, task: Task, now_there: Callable[[], datetime]) -> None:
        assert self._identity is not None
        if task.request_id is not None:
            log.bind_request(task.request_id)  # of this job only: it is a task of its own
        try:
            result = await self._handlers.carry_out(task, bearer_token=self._identity.bearer_token, now=now_there())
            spans.mark("agent.tells")
            await self._deliver(task, result)
        finally:
            self._attempts.pop(task.task_id, None)

    async def _deliver(self, task: Task, result: TaskResult) -> None:
        """Tells a result until it is answered, through any outage."""
        pause = _Pause()
        while True:
            attempt = self._attempts.get(task.task_id, task.attempt)
            try:
                return await self._client.finish_task(task.task_id, result.model_copy(update={"attempt": attempt}))
            except Spg99Error as error:
                if not error.retryable and error.http_status < 500:
                    # Superseded or no longer ours: the heartbeat tells the truth in any case.
                    _log.warning("result refused", task_id=task.task_id, reason=error.message)
                    return None
                _log.warning("result not answered", task_id=task.task_id, reason=error.message)
                await pause.take(error)

    async def _is_archived(self) -> bool:
        """Also while the Control Plane does not answer: WAL waits in the safekeepers then, and the next image has it let go of."""
        try:
            return (await self._client.archiving()).is_on
        except Spg99Error:
            return True

    async def _measure(self) -> float:
        await self._observer.measure()
        return MEASURE_PAUSE_SECONDS

    async def _hold(self) -> float:
        """Keeps what runs here within its bounds."""
        pause_seconds = await self._computes.hold(self._observer.connections)
        keeping = self._computes.keeping
        self._metrics.show(
            self._computes.storage,
            tenant_rules_are_held=self._computes.tenant_rules_are_held,
            images_unstored=len(keeping.unstored) if keeping is not None else 0,
        )
        if keeping is not None:
            self._metrics.show_pages(keeping.pages.fetcher)
        return pause_seconds

    @contextlib.contextmanager
    def _known(self) -> Iterator[None]:
        """Says what to do when the Control Plane does not know this node any more: no other try can help."""
        try:
            yield
        except Unauthorized as error:
            raise Unauthorized(
                f"The Control Plane no longer knows this node. {self._applicant.how_to_enrol()}"
            ) from error

    async def _finish(self) -> None:
        """Ends the work in hand; then everything goes on without us, or stops, as the settings say."""
        await self._jobs.finish(within_seconds=DRAIN_SECONDS)
        if self._settings.stop_computes_on_exit:
            await self._computes.stop_all("The agent of its node was told to stop.")
            with contextlib.suppress(Spg99Error, TimeoutError):
                await asyncio.wait_for(self._send_heartbeat(), 2.0)
        if self._network is not None:
            await self._network.end()
        for listener in self._listeners:
            listener.close()
        await self._computes.leave()
        socket_folder.release(self._settings.data_dir)
        _log.info("agent ended")


class _Pause:
    """Growing pauses between two tries of the same thing."""

    def __init__(self) -> None:
        self._failures = 0

    async def take(self, error: Spg99Error) -> None:
        self._failures += 1
        asked = float(error.retry_after_seconds or 0)
        await asyncio.sleep(pause_seconds(self._failures, chance=random.random(), asked_seconds=asked))  # noqa: S311


async def _first(*tasks: asyncio.Task[Any]) -> None:
    """Waits for the first to end, cancels all but the first one named, and raises what the ended one raised."""
    keep, *others = tasks
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    for task in done - {keep}:
        task.result()
