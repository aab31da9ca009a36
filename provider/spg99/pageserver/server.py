"""The pageserver's process: its folder, its identity, its loops. Here: putting together. Not here: what a round does (rounds.py).

It asks (Control Plane, safekeepers, object store); nobody connects to it. What it remembers it can find out anew: it may be killed at any
moment, and run beside a safekeeper in one process (`beside`).
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from prometheus_client import CollectorRegistry

from spg99 import images, log
from spg99.atomic_write import make_folders
from spg99.client import InternalClient
from spg99.clock import SystemClock
from spg99.config import PageserverSettings
from spg99.errors import BadRequest, Unauthorized
from spg99.objects import open_store, require_installation
from spg99.pageserver.building import Sandbox
from spg99.pageserver.rounds import BUILD_SECONDS, Metrics, Rounds
from spg99.postgres import find_binaries, prepare_account
from spg99.postgres.locks import locked
from spg99.postgres.replay import REPLAY_SECONDS_MAX, end_all
from spg99.processes import Loops, loop_failures, retried, say_ready, serve_probes, stop_ordered
from spg99.processes.identity import Applicant, introduce
from spg99.processes.own_certificate import OwnCertificate
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol.pageserver import PageserverAnswer, PageserverHeartbeat

_log = log.get("pageserver")


def run(settings: PageserverSettings) -> None:
    """Runs the pageserver until SIGTERM or SIGINT. Prints one line of JSON once the Control Plane has heard of it."""

    async def until_stopped() -> None:
        await serve(settings, stop_ordered(), says_ready=True)

    asyncio.run(until_stopped())


async def beside(settings: PageserverSettings, stop: asyncio.Event) -> None:
    """The same in the process of another role, whose end is `stop`: what goes wrong is logged and tried again, and ends nobody else."""

    async def again() -> None:
        await serve(settings, stop, says_ready=False)

    await retried("pageserver", again)


async def serve(settings: PageserverSettings, stop: asyncio.Event, *, says_ready: bool) -> None:
    """One life of it. Raises Unauthorized when the Control Plane does not know it (any more)."""
    root = settings.data_dir.expanduser().resolve() / "pageserver" / settings.name
    try:
        make_folders(root, mode=0o755)
    except OSError as error:
        raise BadRequest(f"The data folder {root} cannot be used: {error.strerror} ({error.filename}).") from error
    busy = f"Another pageserver works in {root} already. Give this one another --name or --data-dir."
    async with (
        locked(root / "pageserver.lock", timeout_seconds=10, busy=busy),
        InternalClient(settings.cp_url, None, ca_file=settings.ca_file) as client,
    ):
        await Pageserver(settings, root, client).run(stop, says_ready=says_ready)


class Pageserver:
    """One pageserver."""

    def __init__(self, settings: PageserverSettings, root: Path, client: InternalClient) -> None:
        self._settings = settings
        self._root = root
        self._client = client
        self._registry = CollectorRegistry()
        failures = loop_failures(self._registry)
        self._answer: PageserverAnswer | None = None
        self._rounds: Rounds | None = None
        self._clients = SafekeeperClients()
        self._loops = Loops(failures=failures, fatal=(Unauthorized,))
        self._loops.repeat("heartbeat", self._beat)
        self._loops.repeat("certificate", self._keep_certificate)
        self._loops.repeat("archive", self._archive, turn_seconds_max=600.0)
        self._loops.repeat("garbage", self._sweep, turn_seconds_max=3600.0)
        self._loops.repeat("images", self._build, turn_seconds_max=REPLAY_SECONDS_MAX)
        self._applicant = Applicant(
            kind="pageserver",
            name=settings.name,
            file=root / "identity.json",
            enrolment_token=settings.enrolment_token,
            enrol=client.enroll_pageserver,
            authenticate=client.authenticate,
            greet=self._beat,
        )

    async def run(self, stop: asyncio.Event, *, says_ready: bool) -> None:
        """Works until `stop` is set."""
        stopped = asyncio.ensure_future(stop.wait())
        introduced = asyncio.ensure_future(introduce(self._applicant, must_be_heard=True))
        await asyncio.wait({stopped, introduced}, return_when=asyncio.FIRST_COMPLETED)
        if not introduced.done():
            introduced.cancel()
            stopped.cancel()
            return
        identity = introduced.result()
        self._clients.certificate = OwnCertificate(
            identity.identity_id, self._root / "certificate.json", self._client.pageserver_certificate, SystemClock()
        )
        probes: asyncio.Server | None = None
        try:
            facts: dict[str, object] = {"pageserver_id": identity.identity_id}
            if (port := self._settings.metrics_port) is not None:
                probes = await serve_probes("127.0.0.1", port, self._registry, unhealthy=self._loops.unhealthy)
                facts["metrics_port"] = probes.sockets[0].getsockname()[1]
            async with self._loops:
                if says_ready:
                    say_ready("pageserver", **facts)
                failing = asyncio.create_task(self._loops.wait())
                await asyncio.wait({stopped, failing}, return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    failing.result()
                failing.cancel()
        finally:
            stopped.cancel()
            end_all()
            await self._clients.aclose()
            if probes is not None:
                probes.close()
            if self._rounds is not None:
                await self._rounds.aclose()
                await self._rounds.objects.close()
            _log.info("pageserver ended")

    async def _beat(self) -> float:
        rounds = self._rounds
        histories = rounds.unreported() if rounds is not None else []
        verified = list(rounds.verifications.results.values()) if rounds is not None else []
        beat = PageserverHeartbeat(histories=histories, verified=verified)
        answer = self._answer = await self._client.pageserver_heartbeat(beat)
        if self._rounds is not None:
            self._rounds.heard(histories)
            self._rounds.verifications.heard(verified)
            self._rounds.learn(answer.timelines)
            self._rounds.verifications.learn(answer.verify)
        return float(answer.heartbeat_seconds)

    async def _keep_certificate(self) -> float:
        """Where all safekeepers are of this machine none is asked for."""
        certificate = self._clients.certificate
        assert self._answer is not None and certificate is not None, "the loops begin when it is known who this is"
        if not any(timeline.kept.network_addresses for timeline in self._answer.timelines):
            return BUILD_SECONDS
        return await certificate.turn()

    async def _archive(self) -> float:
        rounds = self._rounds or await self._open()
        return await rounds.round() if rounds is not None else BUILD_SECONDS

    async def _build(self) -> float:
        return await self._rounds.build() if self._rounds is not None else BUILD_SECONDS

    async def _sweep(self) -> float:
        return await self._rounds.sweep() if self._rounds is not None else BUILD_SECONDS

    def _sandbox(self) -> Sandbox:
        """Where PostgreSQL replays: as the account of computes, and what a killed process left is removed."""
        account = prepare_account(self._settings.run_as)
        binaries = find_binaries(self._settings.pg_bin, copy_to=self._root / "pg", account=account)
        root = self._root / "sandbox"
        shutil.rmtree(root, ignore_errors=True)
        make_folders(root, mode=0o755)
        return Sandbox(root, binaries, account)

    async def _open(self) -> Rounds | None:
        """Opens the store, once it is known whose it must be. None: nothing was ever stored, and the file of master keys is made by the agent who does it
        first, here or on another machine. Raises ForeignStore, StoreUnavailable, Forbidden: then the loop comes back."""
        answer = self._answer
        assert answer is not None, "the loops begin when the Control Plane has answered"
        objects = await asyncio.to_thread(open_store, self._settings.object_store_place)
        try:
            await require_installation(objects, answer.installation_id)
            path = self._settings.master_keys_path
            if not await asyncio.to_thread(path.exists) and not [one async for one in images.tenants_in(objects)]:
                await objects.close()
                return None
            keys = await images.open_keys(objects, path, makes_file=False)
        except BaseException:
            await objects.close()
            raise
        sandbox = await asyncio.to_thread(self._sandbox)
        self._rounds = Rounds(objects, keys, Metrics(self._registry), sandbox=sandbox, clients=self._clients)
        self._rounds.learn(answer.timelines)
        return self._rounds
