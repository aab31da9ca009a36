"""The worker processes: started, watched, replaced when one dies, drained, ended.

Here: processes and their sockets. Not here: what a worker does (worker.py), what it may ask (registry.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from spg99 import log
from spg99.clock import Clock
from spg99.config import GatewaySettings
from spg99.errors import BadRequest, Spg99Error, Unavailable
from spg99.gateway.channel import Channel
from spg99.gateway.registry import SessionRegistry
from spg99.gateway.worker import LocalWorker, PreforkedWorker
from spg99.processes import Unhealthy
from spg99.processes.forking import Forked
from spg99.processes.health import SETTLED_SECONDS, UNHEALTHY_AFTER_SECONDS, pause_seconds
from spg99.processes.listening import listen
from spg99.tls.authority import Credentials
from spg99.tls.context import CertificatePair

BACKLOG: Final = 1024
START_SECONDS_MAX: Final = 30.0
END_SECONDS: Final = 3.0
"""Beyond the drain: then a worker is killed."""

_log = log.get("gateway")


class WorkerProcesses:
    """All workers of one gateway. The parent keeps the listening sockets, so that clients who queue at a worker that died
    are served by its successor."""

    def __init__(
        self,
        settings: GatewaySettings,
        registry: SessionRegistry,
        *,
        mock_secret: bytes,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        preforked: list[PreforkedWorker] | None = None,
    ) -> None:
        """`preforked`: workers that wait for their sockets; those that follow them are started by their command line."""
        self._settings = settings
        self._registry = registry
        self._mock_secret = mock_secret
        self._clock = clock
        self._monotonic = monotonic
        self._down_since: dict[int, float] = {}
        """By worker, since when it does not serve. Monotonic: a wall clock that is set back would hide it for hours."""
        self._listeners: list[list[socket.socket]] = []
        """Of each worker: one for each address of the host."""
        self._preforked = preforked or []
        self._processes: dict[int, Forked | Process | LocalWorker] = {}
        self._supervisors: list[asyncio.Task[None]] = []
        self._stopping = False
        self._certificate: CertificatePair | None = None
        self.network: Credentials | None = None
        """What connections to other machines show."""

    def bind(self) -> int:
        """Takes the port; answers which. Raises BadRequest when it cannot be had."""
        port = self._settings.port
        try:
            for _ in range(max(1, self._settings.workers)):
                listeners = listen(self._settings.host, port, backlog=BACKLOG, reuse_port=True)
                self._listeners.append(listeners)
                port = listeners[0].getsockname()[1]
        except OSError as error:
            self._close_listeners()
            raise BadRequest(
                f"The gateway cannot listen on {self._settings.host}:{port}: {error.strerror or error}. "
                "Choose another --port (0 takes a free one) or --host."
            ) from error
        return port

    async def start(self, certificate: CertificatePair) -> None:
        """Starts all workers and returns when all serve."""
        self._certificate = certificate
        started = [asyncio.get_running_loop().create_future() for _ in self._listeners]
        for index, ready in enumerate(started):
            self._supervisors.append(asyncio.get_running_loop().create_task(self._supervise(index, ready)))
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                await asyncio.gather(*started)
        except TimeoutError:
            raise Unavailable(f"The gateway's workers did not start within {START_SECONDS_MAX:.0f} s.") from None

    async def _supervise(self, index: int, ready: asyncio.Future[None]) -> None:
        """Keeps one worker alive."""
        failures = 0
        while not self._stopping:
            began = self._monotonic()
            try:
                await self._run_once(index, ready)
            except Exception as error:  # noqa: BLE001 - a loop that must not end: whatever a life ended by, another begins
                if not ready.done():
                    ready.set_exception(error)
                    return
                _log.error("a worker could not be started", worker=index, exc_info=error)
            if self._stopping:
                return
            now = self._monotonic()
            self._down_since.setdefault(index, now)
            failures = 1 if now - began >= SETTLED_SECONDS else failures + 1
            self._registry.metrics.worker_restarts.inc()
            await asyncio.sleep(pause_seconds(failures, chance=random.random()))  # noqa: S311  spreads load, guards nothing

    async def _run_once(self, index: int, ready: asyncio.Future[None]) -> None:
        numbers = [listener.fileno() for listener in self._listeners[index]]
        channel = Channel(self._registry.open_for(index))
        process, ours = await self._begun(index, numbers)
        self._processes[index] = process
        await channel.open(ours)
        serving = asyncio.get_running_loop().create_task(channel.serve())
        try:
            assert self._certificate is not None, "none runs before start()"
            # The pair itself and not its files: those may be broken when a worker is replaced.
            await channel.call(
                "begin",
                settings=self._settings.model_dump(mode="json", exclude={"enrolment_token"}),
                mock_secret=self._mock_secret.hex(),
                certificate=dataclasses.asdict(self._certificate),
                network=dataclasses.asdict(self.network) if self.network is not None else None,
            )
            self._registry.workers[index] = channel
            self._down_since.pop(index, None)
            if not ready.done():
                ready.set_result(None)
            await serving
        finally:
            serving.cancel()
            channel.close()
            self._registry.worker_ended(index)
            with contextlib.suppress(ProcessLookupError):
                if not self._stopping:
                    process.kill()
            code = await (asyncio.to_thread(process.wait) if isinstance(process, Forked) else process.wait())
            self._processes.pop(index, None)
            if not self._stopping:
                _log.error("a worker ended", worker=index, exit_code=code)

    async def _begun(self, index: int, numbers: list[int]) -> tuple[Forked | Process | LocalWorker, socket.socket]:
        """A worker with its sockets, and our end of its channel."""
        if self._settings.workers == 0:
            local = LocalWorker(numbers)
            return local, local.control
        return await self._preforked_with(index, numbers) or await _executed(numbers)

    async def _preforked_with(self, index: int, numbers: list[int]) -> tuple[Forked, socket.socket] | None:
        """A worker that waited, with its sockets; None when none is left."""
        while self._preforked:
            worker = self._preforked.pop()
            try:
                worker.hand_over(index, numbers)
            except OSError:  # somebody killed it
                await asyncio.to_thread(worker.end)
                continue
            return worker.process, worker.control
        return None

    def unhealthy(self) -> list[Unhealthy]:
        """Workers that do not serve, and have not for longer than a restart takes."""
        now = self._monotonic()
        return [
            Unhealthy(
                f"worker {index}",
                self._clock.now() - timedelta(seconds=now - since),
                "ended and does not serve again yet",
            )
            for index, since in self._down_since.items()
            if now - since > UNHEALTHY_AFTER_SECONDS
        ]

    async def renew_tls(self, certificate: CertificatePair) -> None:
        """New connections get this certificate."""
        self._certificate = certificate
        for channel in list(self._registry.workers.values()):
            with contextlib.suppress(Spg99Error):
                await channel.call("tls", certificate=dataclasses.asdict(certificate))

    async def show_network(self, credentials: Credentials) -> None:
        """What connections to other machines show from now on."""
        self.network = credentials
        for channel in list(self._registry.workers.values()):
            with contextlib.suppress(Spg99Error):
                await channel.call("network", credentials=dataclasses.asdict(credentials))

    async def drain(self) -> None:
        """No new clients; those that are here get `drain_seconds`. Returns when no worker is left."""
        self._stopping = True
        self._close_listeners()
        for channel in list(self._registry.workers.values()):
            channel.notify("drain")
        if self._supervisors:
            await asyncio.wait(self._supervisors, timeout=self._settings.drain_seconds + END_SECONDS)
        await self.kill()

    def _close_listeners(self) -> None:
        for listeners in self._listeners:
            for listener in listeners:
                listener.close()

    async def kill(self) -> None:
        """Ends every worker that is left, at once."""
        self._stopping = True
        for process in list(self._processes.values()):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)


async def _executed(numbers: list[int]) -> tuple[Process, socket.socket]:
    """A worker that is started by its command line, with its sockets; and our end of its channel."""
    ours, theirs = socket.socketpair()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "spg99.gateway.worker",
            str(theirs.fileno()), ",".join(map(str, numbers)), str(os.getpid()),
            pass_fds=(theirs.fileno(), *numbers), stdin=DEVNULL, stdout=DEVNULL,
        )  # fmt: skip
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours
