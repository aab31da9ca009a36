"""The agent of a node: pulls orders, tells results, tells what runs. It only asks; nobody connects to it.

Here: the loops, and what they do while the Control Plane is away (go on). Not here: carrying orders out (handlers.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections.abc import Coroutine
from typing import Any

from spg99 import log
from spg99.client import InternalClient
from spg99.clock import Clock, SystemClock
from spg99.config import AgentSettings
from spg99.errors import Spg99Error, TooManyRequests, Unauthorized, Unavailable
from spg99.node import identity as identities
from spg99.node.computes import Computes
from spg99.node.folder import NodeFolder
from spg99.node.handlers import Handlers
from spg99.node.observation import Observer
from spg99.node.template import prepare_extensions, prepare_template, require_version
from spg99.node.timelines import Timelines
from spg99.postgres import find_binaries, service_account
from spg99.postgres.locks import locked
from spg99.protocol import Identity
from spg99.protocol.node import HeartbeatAnswer, LeaseTasks, Task, TaskResult

TASKS_MAX = 16
"""Orders in work at once; more would only make each of them slower."""
LEASE_WAIT_SECONDS = 30
MEASURE_PAUSE_SECONDS = 2.0
DRAIN_SECONDS = 5.0
PAUSE_SECONDS_MAX = 5.0

_log = log.get("node")


def run(settings: AgentSettings) -> None:
    """Runs the agent until SIGTERM or SIGINT. Prints one line of JSON once the Control Plane has heard of this node."""
    asyncio.run(_run(settings))


async def _run(settings: AgentSettings) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    account = service_account(settings.run_as)
    folder = NodeFolder.prepare(settings.data_dir, settings.name, account)
    busy = f"Another agent works in {folder.root} already. Give this one another --name or --data-dir."
    async with locked(folder.lock_file, timeout_seconds=10, busy=busy):
        binaries = await asyncio.to_thread(find_binaries, settings.pg_bin, copy_to=folder.pg_dir, account=account)
        require_version(binaries)
        template = await prepare_template(folder, binaries, account)
        extensions_dir = await asyncio.to_thread(prepare_extensions, folder, binaries)
        timelines = Timelines(folder, template, binaries, account)
        computes = Computes(folder, binaries, account, extensions_dir=extensions_dir)
        await timelines.sweep()
        adopted = await computes.adopt()
        _log.info("agent started", node=settings.name, postgres=binaries.version, adopted=adopted)
        observer = Observer(folder, computes)
        async with InternalClient(settings.cp_url, None) as client:
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
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._client = client
        self._computes = computes
        self._handlers = handlers
        self._observer = observer
        self._clock = clock or SystemClock()
        self._identity: Identity | None = None
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._attempts: dict[int, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set. Raises Unauthorized when the Control Plane does not know this node (any more)."""
        stopped = asyncio.create_task(stop.wait())
        try:
            await _first(stopped, asyncio.create_task(self._introduce()))
            if not stop.is_set():
                assert self._identity is not None
                print(
                    json.dumps({"ready": True, "process": "agent", "node_id": self._identity.identity_id}), flush=True
                )
                loops = [asyncio.create_task(loop) for loop in (self._beat(), self._pull(), self._measure())]
                await _first(stopped, *loops)
        finally:
            stopped.cancel()
            await self._finish()

    async def _introduce(self) -> None:
        """Enrols if need be, and is heard once."""
        enrolled_now = False
        pause = _Pause()
        while True:
            try:
                if self._identity is None:
                    self._identity = identities.read(self._folder)
                if self._identity is None:
                    self._identity, enrolled_now = await identities.enrol(self._folder, self._settings), True
                    _log.info("enrolled", node_id=self._identity.identity_id)
                self._client.authenticate(self._identity.bearer_token)
                return await self._tell()
            except Unauthorized:
                if enrolled_now or self._identity is None:
                    raise
                # The Control Plane has forgotten us, or its catalogue is a new one: a token in our settings is a way back.
                self._identity, enrolled_now = await identities.enrol(self._folder, self._settings), True
            except (Unavailable, TooManyRequests) as error:
                _log.warning("waiting for the Control Plane", reason=error.message)
                await pause.take(error)

    async def _beat(self) -> None:
        """Tells what runs here, every few seconds and at once when something has ended by itself."""
        pause = _Pause()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._computes.ended.wait(), self._heartbeat_seconds)
            try:
                await self._tell()
                pause.reset()
            except Unauthorized as error:
                raise Unauthorized(f"The Control Plane no longer knows this node. {identities.HOW_TO_ENROL}") from error
            except Spg99Error as error:
                _log.warning("heartbeat not answered", reason=error.message)
                self._computes.ended.set()  # what was not told is told as soon as possible
                await pause.take(error)

    async def _tell(self) -> None:
        self._computes.ended.clear()
        beat = self._observer.heartbeat()
        answer = await self._client.heartbeat(beat)
        self._computes.told(beat.computes)
        self._observer.told(beat)
        self._obey(answer)

    def _obey(self, answer: HeartbeatAnswer) -> None:
        self._heartbeat_seconds = min(self._settings.heartbeat_seconds, float(answer.heartbeat_seconds))
        for compute_id in answer.stop_compute_ids:
            self._begin(f"stop {compute_id}", self._quietly(self._handlers.stop_by_id(compute_id)))
        for timeline_id in answer.forget_timeline_ids:
            self._begin(f"forget {timeline_id}", self._quietly(self._handlers.forget(timeline_id)))

    async def _pull(self) -> None:
        """Takes orders as they come and carries them out side by side."""
        pause = _Pause()
        while True:
            free = TASKS_MAX - len(self._jobs)
            if free <= 0:
                await asyncio.wait(self._jobs.values(), return_when=asyncio.FIRST_COMPLETED)
                continue
            try:
                held = sorted(self._attempts)
                ask = LeaseTasks(wait_seconds=LEASE_WAIT_SECONDS, max_tasks=free, held_task_ids=held)
                tasks = await self._client.lease_tasks(ask)
                pause.reset()
            except Unauthorized as error:
                raise Unauthorized(f"The Control Plane no longer knows this node. {identities.HOW_TO_ENROL}") from error
            except Spg99Error as error:
                _log.warning("no orders", reason=error.message)
                await pause.take(error)
                continue
            for task in tasks:
                # One that is in work comes again when its lease runs out: its one result answers the newest attempt.
                self._attempts[task.task_id] = task.attempt
                self._begin(f"task {task.task_id}", self._carry_out(task))

    async def _carry_out(self, task: Task) -> None:
        assert self._identity is not None
        if task.request_id is not None:
            log.bind_request(task.request_id)  # of this job only: it is a task of its own
        try:
            result = await self._handlers.carry_out(
                task, bearer_token=self._identity.bearer_token, now=self._clock.now()
            )
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

    async def _measure(self) -> None:
        while True:
            try:
                await self._observer.measure()
            except OSError as error:
                _log.warning("cannot measure", reason=str(error))
            await asyncio.sleep(MEASURE_PAUSE_SECONDS)

    def _begin(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        if name in self._jobs:
            job.close()
            return
        task = self._jobs[name] = asyncio.create_task(job, name=name)
        task.add_done_callback(lambda _: self._jobs.pop(name, None))

    async def _quietly(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except (Spg99Error, OSError) as error:
            _log.warning("could not do what the Control Plane wants; it will ask again", reason=str(error))

    async def _finish(self) -> None:
        """Ends the work in hand; then everything goes on without us, or stops, as the settings say."""
        jobs = list(self._jobs.values())
        if jobs:
            await asyncio.wait(jobs, timeout=DRAIN_SECONDS)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        if self._settings.stop_computes_on_exit:
            await self._computes.stop_all("The agent of its node was told to stop.")
            with contextlib.suppress(Spg99Error, TimeoutError):
                await asyncio.wait_for(self._tell(), 2.0)
        await self._computes.leave()
        _log.info("agent ended")


class _Pause:
    """Growing pauses with jitter, so that a hundred agents do not come back in the same moment."""

    def __init__(self) -> None:
        self._seconds = 0.1

    def reset(self) -> None:
        self._seconds = 0.1

    async def take(self, error: Spg99Error) -> None:
        asked = float(error.retry_after_seconds or 0)
        await asyncio.sleep(asked + self._seconds * random.uniform(0.5, 1.0))  # noqa: S311  spreads load, guards nothing
        self._seconds = min(self._seconds * 2, PAUSE_SECONDS_MAX)


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
