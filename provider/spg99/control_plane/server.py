"""The Control Plane as a process: an app made of its parts, served until a signal ends it.

Here: wiring, start and end. Not here: what the parts do. `create_app` serves tests and other servers, `run` the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from spg99 import __version__, log
from spg99.clock import Clock, SystemClock
from spg99.config import ControlPlaneSettings
from spg99.control_plane import background, bootstrap, routes, storage
from spg99.control_plane.catalogue import EmbeddedCatalogue, short_of_disk
from spg99.control_plane.databases import rows
from spg99.control_plane.databases.deletion_requests import OfTenants, Questions
from spg99.control_plane.databases.lifecycle import Lifecycle
from spg99.control_plane.fleet import nodes
from spg99.control_plane.identity.known_keys import KnownKeys
from spg99.control_plane.records import secret_box
from spg99.control_plane.records.secret_box import SecretBox
from spg99.control_plane.serving import http_server
from spg99.control_plane.serving.app import App
from spg99.control_plane.serving.dispatch import Dispatch
from spg99.control_plane.serving.edge import Edge
from spg99.control_plane.serving.feed import Feed
from spg99.control_plane.serving.http_server import HttpsCertificate
from spg99.control_plane.serving.interfaces import Missing
from spg99.control_plane.serving.metrics import Metrics
from spg99.control_plane.serving.plane import Plane
from spg99.control_plane.store import Store, Transaction, Wakeups, migrate
from spg99.control_plane.tenants import passwords, visible
from spg99.errors import Spg99Error, Unavailable
from spg99.processes import Loops, WatchedClock
from spg99.processes.listening import is_loopback
from spg99.tls import certificates
from spg99.tls.context import ServedCertificate, server_context

_log = log.get("control-plane")

LAST_WORDS_SECONDS = 1


def create_app(
    settings: ControlPlaneSettings, store: Store, clock: Clock | None = None, *, box: SecretBox | None = None
) -> FastAPI:
    """The Control Plane as an ASGI app; its lifespan opens the store and runs the loops.

    `store` names a catalogue that is migrated and bootstrapped.
    """
    watched = _watched(clock)
    box = box or secret_box.secret_box(secret_key_file(settings))
    wakeups = Wakeups(store)
    known_keys = KnownKeys(store, watched)
    wakeups.call("spg99_keys", known_keys.forget_all)
    metrics = Metrics()
    loops = Loops(failures=metrics.loop_failures, clock=watched)
    plane = Plane(
        settings=settings,
        store=store,
        clock=watched,
        box=box,
        wakeups=wakeups,
        feed=Feed(store, wakeups),
        metrics=metrics,
        keys=known_keys,
        tenant_of=visible.named,
        databases_of_tenants=OfTenants(Questions(store, wakeups)),
        missing=(nodes.missing, nodes.short_of_disk, _catalogue_disk(settings)),
        databases_by_state=rows.count_by_state,
        metrics_in_api=settings.metrics_address is None and is_loopback(settings.host),
        databases_by_storage_state=rows.count_by_storage_state,
        disks=nodes.disks,
        loops=loops,
        essential_loops=background.ESSENTIAL,
    )
    life = Lifecycle(store, watched, settings, wakeups, on_failure=metrics.database_failures.inc)
    access = storage.StoreAccess(settings)
    background.add(loops, plane, known_keys, life, access)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await store.open()
        await _check_key(store, box)
        try:
            async with loops:
                yield
        finally:
            plane.close()
            # Worth a moment, not the pool's patience: the catalogue may have ended before us.
            with contextlib.suppress(Spg99Error, TimeoutError):
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    await known_keys.write_last_used()
            await store.close()

    app = App(
        title="SPG99 Control Plane",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/v2/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.plane, app.state.store_access = plane, access
    routes.install(app)
    routes.install_internal(app, life, box)
    app.add_middleware(Dispatch, routes=routes.public())
    app.add_middleware(Edge, metrics=plane.metrics, body_bytes_max=settings.body_bytes_max)
    return app


def _watched(clock: Clock | None) -> WatchedClock:
    """The clock of a process; one that is handed in moves as its owner says, and is never found to have stepped."""
    if clock is None:
        return WatchedClock(SystemClock())
    return clock if isinstance(clock, WatchedClock) else WatchedClock(clock, lambda: clock.now().timestamp())


def secret_key_file(settings: ControlPlaneSettings) -> Path:
    """Where the key is that encrypts credentials in the catalogue."""
    return settings.secret_key_file or settings.data_dir / "secrets" / "catalogue.key"


def run(settings: ControlPlaneSettings) -> None:
    """Serves until SIGTERM or SIGINT; prints one line of JSON when ready."""
    certificate = served_certificate(settings)
    if certificate is None and not is_loopback(settings.host):
        _log.warning(
            "serves plain HTTP to others: API keys and passwords go over the network readable, unless something in front adds TLS",
            host=settings.host,
        )
    with (
        http_server.listening(settings.host, settings.port) as listeners,
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        runner.run(_run(settings, listeners, certificate))


def served_certificate(settings: ControlPlaneSettings) -> HttpsCertificate | None:
    """What HTTPS shows: the operator's certificate, else one of our own; None for plain HTTP, which is for loopback
    addresses unless the operator says otherwise (`tls`).

    Raises BadRequest when the files cannot be used.
    """
    is_given = settings.tls_cert_file is not None or settings.tls_key_file is not None
    wants = settings.tls if settings.tls is not None else is_given or not is_loopback(settings.host)
    if not wants:
        return None

    def files() -> certificates.CertificateFiles:
        return certificates.given_or_made(
            settings.tls_cert_file,
            settings.tls_key_file,
            folder=settings.data_dir / "control-plane" / "tls",
            names=settings.tls_names,
            now=SystemClock().now(),
            subject="SPG99 Control Plane",
        )

    return ServedCertificate(files, partial(server_context, protocols=["http/1.1"]))


async def _run(
    settings: ControlPlaneSettings, listeners: list[socket.socket], certificate: HttpsCertificate | None
) -> None:
    async with _catalogue(settings) as (url, keep):
        await asyncio.to_thread(migrate.up, url)
        store = Store(url, pool_size=settings.pool_size)
        await store.open()
        try:
            token, is_new = bootstrap.admin_token(settings.data_dir)
            await bootstrap.bootstrap(store, admin_token=token, is_new=is_new)
            # Here too, because the server would turn its sentence into a traceback.
            async with store.transaction() as tx:
                box = await passwords.box_of(tx, secret_key_file(settings))
            app = create_app(settings, store, box=box)
            plane: Plane = app.state.plane
            if keep is not None:
                plane.loops.keep("catalogue", keep)
            metrics = http_server.metrics_listeners(settings.metrics_address) if settings.metrics_address else []
            await http_server.serve(app, listeners, ending=plane.close, certificate=certificate, metrics=metrics)
        finally:
            await store.close()


@asynccontextmanager
async def _catalogue(settings: ControlPlaneSettings) -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]] | None]]:
    """The catalogue's URL, and for an embedded one the loop that keeps it running."""
    if settings.catalogue_url is not None:
        yield settings.catalogue_url, None
        return
    catalogue = EmbeddedCatalogue(settings.data_dir)
    url = await catalogue.start()
    try:
        yield url, partial(_keep, catalogue)
    finally:
        await catalogue.stop()


async def _keep(catalogue: EmbeddedCatalogue) -> None:
    """Sees to it that it runs, until it ends; the loop begins anew, with its pauses. Raises Unavailable saying how it ended."""
    await catalogue.start()
    raise Unavailable(f"The catalogue ended: {await catalogue.wait_end()}")


def _catalogue_disk(settings: ControlPlaneSettings) -> Missing:
    async def missing(_: Transaction, __: datetime) -> str | None:
        return await asyncio.to_thread(short_of_disk, settings.data_dir)

    return missing


async def _check_key(store: Store, box: SecretBox) -> None:
    """Raises when this process has another secret key than the catalogue's contents were encrypted with."""
    async with store.transaction() as tx:
        await passwords.check_box(tx, box)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # not on every machine
    except ImportError:  # Windows, PyPy
        return None
    return uvloop.new_event_loop
