"""The gateway process: puts the parts together and runs them until it is asked to end.

Here: wiring, the ready line, signals. Not here: any of the parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Final

from spg99 import log
from spg99.client import InternalClient
from spg99.clock import SystemClock
from spg99.config import GatewaySettings
from spg99.errors import Spg99Error
from spg99.gateway import identity, metrics, tls
from spg99.gateway.changes import ChangeFeed
from spg99.gateway.checkouts import ASK_SECONDS_MAX, Checkouts
from spg99.gateway.credentials import CredentialsCache
from spg99.gateway.event_loop import run_loop
from spg99.gateway.leases import Leases
from spg99.gateway.metrics import Metrics
from spg99.gateway.registry import SessionRegistry
from spg99.gateway.worker import raise_file_limit
from spg99.gateway.worker_processes import WorkerProcesses
from spg99.tls import certificates
from spg99.wire.scram import mac

CERTIFICATE_CHECK_SECONDS: Final = 3600.0

_log = log.get("gateway")


def run(settings: GatewaySettings) -> None:
    """Runs a gateway until SIGTERM or SIGINT; prints one line of JSON on stdout when it serves."""
    log.configure("gateway", level=settings.log_level, json=settings.log_json)
    raise_file_limit()
    run_loop(_Gateway(settings).run())


class _Gateway:
    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._stop = asyncio.Event()
        self._background_tasks: list[asyncio.Task[None]] = []
        self._workers: WorkerProcesses | None = None
        self._killing: asyncio.Task[None] | None = None

    def _stop_requested(self) -> None:
        """Once: drain. Twice: whoever says it again does not want to wait."""
        if self._stop.is_set() and self._workers is not None and self._killing is None:
            self._killing = asyncio.get_running_loop().create_task(self._workers.kill())
        self._stop.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_requested)
        ca_file = self._settings.ca_file
        # The feed must see every break of its stream, so its client does not retry by itself.
        async with (
            InternalClient(self._settings.cp_url, None, ca_file=ca_file) as api,
            InternalClient(self._settings.cp_url, None, max_attempts=1, ca_file=ca_file) as feed_api,
        ):
            serving = loop.create_task(self._serve(api, feed_api))
            stopping = loop.create_task(self._stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    async def _serve(self, api: InternalClient, feed_api: InternalClient) -> None:
        settings = self._settings
        files = self._certificates()
        tls.load(files.cert, files.key)  # said here, once, rather than by every worker
        checkouts = Checkouts(
            api,
            monotonic=time.monotonic,
            ask_seconds=min(ASK_SECONDS_MAX, settings.connect_seconds),
            on_wake=lambda seconds: figures.woke(seconds),
        )
        figures = Metrics()
        passwords = CredentialsCache(api, monotonic=time.monotonic)
        registry = SessionRegistry(passwords, checkouts, figures, time.monotonic)
        leases = registry.leases = Leases(api, checkouts, self._clock, time.monotonic, registry.collect)
        me = await identity.ensure(
            api,
            settings.data_dir / "gateway" / f"{settings.name}.json",
            name=settings.name,
            enrolment_token=settings.enrolment_token,
            waiting=lambda: _log.warning("waiting for the Control Plane to enrol", url=settings.cp_url),
        )
        feed_api.authenticate(me.bearer_token)
        workers = self._workers = WorkerProcesses(
            settings, registry, mock_secret=mac(me.bearer_token.encode(), b"mock credentials")
        )
        port = workers.bind()
        feed = ChangeFeed(feed_api, passwords, checkouts, time.monotonic)
        shown: asyncio.Server | None = None
        try:
            if settings.metrics_port is not None:
                shown = await metrics.serve(figures, settings.metrics_port, collect=registry.collect)
            await workers.start(files.cert, files.key)
            self._background_tasks = [
                asyncio.get_running_loop().create_task(task)
                for task in (feed.run(), leases.run(), self._keep_certificates(files, workers))
            ]
            metrics_port = shown.sockets[0].getsockname()[1] if shown else None
            _print_ready_line(settings.host, port, metrics_port)
            _log.info("gateway serves", host=settings.host, port=port, workers=settings.workers)
            done, _ = await asyncio.wait(self._background_tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # they run for ever: one that ended has failed
        finally:
            await self._end(workers, leases, shown)

    async def _end(self, workers: WorkerProcesses, leases: Leases, shown: asyncio.Server | None) -> None:
        """Sessions drain while their leases are still renewed; the last report releases them all."""
        await workers.drain()
        for task in self._background_tasks:
            task.cancel()
        await asyncio.gather(*self._background_tasks, return_exceptions=True)
        with contextlib.suppress(Spg99Error):
            # The first may have to repeat bytes whose report was cut off; what came after them goes in the second.
            for _ in range(2):
                await leases.report(release_all=True)
        if shown is not None:
            shown.close()
        _log.info("gateway has ended")

    def _certificates(self) -> certificates.CertificateFiles:
        settings = self._settings
        return certificates.given_or_made(
            settings.tls_cert_file,
            settings.tls_key_file,
            folder=settings.data_dir / "gateway" / "tls",
            names=settings.tls_names,
            now=self._clock.now(),
            subject="SPG99 gateway",
        )

    async def _keep_certificates(self, files: certificates.CertificateFiles, workers: WorkerProcesses) -> None:
        """Renews ours in time; takes up the operator's own when the files have changed."""
        seen = _changed_at(files.cert)
        while True:
            await asyncio.sleep(CERTIFICATE_CHECK_SECONDS)
            try:
                files = await asyncio.to_thread(self._certificates)
                if _changed_at(files.cert) != seen:
                    tls.load(files.cert, files.key)
                    await workers.renew_tls(files.cert, files.key)
                    seen = _changed_at(files.cert)
                    _log.info("new TLS certificate in use")
            except (Spg99Error, OSError) as error:
                _log.error("the TLS certificate could not be renewed", error=str(error))


def _changed_at(path: Path) -> int:
    return path.stat().st_mtime_ns


def _print_ready_line(host: str, port: int, metrics_port: int | None) -> None:
    line = {"ready": True, "process": "gateway", "host": host, "port": port, "metrics_port": metrics_port}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
