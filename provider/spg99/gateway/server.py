"""The gateway process: puts the parts together and runs them until it is asked to end.

Here: wiring. Not here: any of the parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from typing import Final

from spg99 import log
from spg99.client import InternalClient
from spg99.clock import SystemClock
from spg99.config import GatewaySettings
from spg99.errors import Spg99Error, Unauthorized
from spg99.gateway import tls
from spg99.gateway.changes import ChangeFeed
from spg99.gateway.checkouts import ANSWER_SECONDS, ASK_SECONDS_MAX, Checkouts
from spg99.gateway.credentials import CredentialsCache
from spg99.gateway.event_loop import run_loop
from spg99.gateway.leases import Leases
from spg99.gateway.metrics import Metrics
from spg99.gateway.registry import SessionRegistry
from spg99.gateway.standing import NotKnownAnyMore, Standing
from spg99.gateway.worker import PreforkedWorker, prefork, raise_file_limit
from spg99.gateway.worker_processes import WorkerProcesses
from spg99.processes import Jobs, Loops, loop_failures
from spg99.processes.identity import Applicant, introduce
from spg99.processes.own_certificate import OwnCertificate
from spg99.processes.probes import serve_probes
from spg99.processes.ready import say_ready
from spg99.processes.signals import stop_ordered
from spg99.protocol.gateway import LeaseReport
from spg99.tls import certificates
from spg99.tls.context import ServedCertificate
from spg99.wire.scram import mac

CERTIFICATE_CHECK_SECONDS: Final = 1.0
NETWORK_TURN_SECONDS: Final = 60.0

_log = log.get("gateway")


def run(settings: GatewaySettings, *, forked: Callable[[], None] = lambda: None) -> None:
    """Runs a gateway until SIGTERM or SIGINT; prints one line of JSON on stdout when it serves. `forked` is called when
    threads may begin."""
    log.configure("gateway", level=settings.log_level, json=settings.log_json)
    raise_file_limit()
    workers = prefork(settings.workers)
    forked()
    run_loop(_Gateway(settings, workers).run())


class _Gateway:
    def __init__(self, settings: GatewaySettings, preforked: list[PreforkedWorker]) -> None:
        self._settings = settings
        self._preforked = preforked
        self._clock = SystemClock()
        self._figures = Metrics()
        failures = loop_failures(self._figures.registry)
        self._loops = Loops(failures=failures, fatal=(NotKnownAnyMore,))
        self._jobs = Jobs(failures=failures)
        self._workers: WorkerProcesses | None = None
        self._killing = False

    def _stop_requested_again(self) -> None:
        """The first time it drains; whoever says it twice does not want to wait."""
        if self._workers is not None and not self._killing:
            self._killing = True
            self._jobs.begin("kill", self._workers.kill())

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        stop = stop_ordered(again=self._stop_requested_again)
        ca_file = self._settings.ca_file
        # The feed must see every break of its stream, so its client does not retry by itself.
        async with (
            InternalClient(self._settings.cp_url, None, ca_file=ca_file) as api,
            InternalClient(self._settings.cp_url, None, max_attempts=1, ca_file=ca_file) as feed_api,
        ):
            serving = loop.create_task(self._serve(api, feed_api))
            stopping = loop.create_task(stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    async def _serve(self, api: InternalClient, feed_api: InternalClient) -> None:
        settings, figures = self._settings, self._figures
        served = ServedCertificate(self._certificates, tls.load)  # said here, once, rather than by every worker
        checkouts = Checkouts(
            api,
            monotonic=time.monotonic,
            ask_seconds=min(
                ASK_SECONDS_MAX, max(settings.connect_seconds - ANSWER_SECONDS, settings.connect_seconds / 2)
            ),
            on_wake=figures.woke,
        )
        passwords = CredentialsCache(api, monotonic=time.monotonic)
        registry = SessionRegistry(
            passwords, checkouts, figures, time.monotonic, worker_connections_max=settings.connections_max
        )
        leases = registry.leases = Leases(api, checkouts, time.monotonic, registry.collect)
        applicant = Applicant(
            kind="gateway",
            name=settings.name,
            file=settings.data_dir / "gateway" / f"{settings.name}.json",
            enrolment_token=settings.enrolment_token,
            enrol=api.enroll_gateway,
            authenticate=api.authenticate,
            greet=lambda: api.report_leases(LeaseReport(leases=[])),
        )
        me = await introduce(applicant, must_be_heard=False)
        feed_api.authenticate(me.bearer_token)
        workers = self._workers = WorkerProcesses(
            settings,
            registry,
            mock_secret=mac(me.bearer_token.encode(), b"mock credentials"),
            clock=self._clock,
            preforked=self._preforked,
        )
        port = workers.bind()
        registry.api = api
        certificate = OwnCertificate(
            me.identity_id,
            settings.data_dir / "gateway" / f"{settings.name}-certificate.json",
            api.gateway_certificate,
            self._clock,
        )

        async def reach_network() -> None:
            if workers.network is None:
                await renew_network()

        async def renew_network() -> float:
            seconds = await certificate.turn()
            if workers.network is not certificate.tls.credentials:
                await workers.show_network(certificate.tls.credentials)
            return seconds

        async def keep_network() -> float:
            # Only who has reached another machine once needs one.
            return await renew_network() if workers.network is not None else NETWORK_TURN_SECONDS

        registry.reach_network = reach_network
        self._loops.repeat("network-certificate", keep_network)
        cancels = itertools.count()  # not the hash: it would be in the log

        def on_cancel(key_hash: str) -> None:
            self._jobs.begin(f"cancel {next(cancels)}", registry.cancel_forwarded(key_hash))

        feed = ChangeFeed(feed_api, passwords, checkouts, time.monotonic, on_cancel)
        # A stream that nobody answers takes longer to fail than a loop to settle.
        feed.on_open = self._loops.keep("changes", feed.run, says_when_well=True)
        standing = Standing(applicant, leases.turn, time.monotonic)
        self._loops.repeat("leases", standing.turn, wakeup=leases.due)
        self._loops.repeat("slowed-logins", registry.report_slowed, wakeup=registry.slowed_wakeup)
        shown = served.pair

        async def take_up_certificate() -> float:
            nonlocal shown
            await asyncio.to_thread(served.current)
            if served.pair is not shown:
                await workers.renew_tls(served.pair)
                shown = served.pair
            return CERTIFICATE_CHECK_SECONDS

        self._loops.repeat("certificate", take_up_certificate)
        probes: asyncio.Server | None = None
        try:
            if settings.metrics_port is not None:
                probes = await serve_probes(
                    "127.0.0.1",
                    settings.metrics_port,
                    figures.registry,
                    collect=registry.collect,
                    unhealthy=lambda: self._loops.unhealthy() + workers.unhealthy(),
                )
            await workers.start(served.pair)
            self._loops.start()
            metrics_port = probes.sockets[0].getsockname()[1] if probes else None
            say_ready("gateway", host=settings.host, port=port, metrics_port=metrics_port)
            _log.info("gateway serves", host=settings.host, port=port, workers=settings.workers)
            await self._loops.wait()
        except NotKnownAnyMore as refused:
            raise Unauthorized(refused.sentence) from refused
        finally:
            await self._end(workers, leases, probes)

    async def _end(self, workers: WorkerProcesses, leases: Leases, probes: asyncio.Server | None) -> None:
        """Sessions drain while their leases are still renewed; the last report releases them all."""
        await workers.drain()
        await self._loops.stop()
        await self._jobs.finish(within_seconds=1.0)
        with contextlib.suppress(Spg99Error):
            # The first may have to repeat bytes whose report was cut off; what came after them goes in the second.
            for _ in range(2):
                await leases.report(release_all=True)
        if probes is not None:
            probes.close()
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
