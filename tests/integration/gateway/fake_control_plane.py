"""A small real Control Plane for the gateway's tests: HTTP in front of real PostgreSQL 18 computes, as protocol/gateway.py says.

Here: answering gateways, waking computes, being broken on demand. Not here: the real one's rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from kit.servers import Server
from spg99.errors import CannotWake, NotFound, Spg99Error, Unauthorized
from spg99.postgres import Cluster, find_binaries, service_account
from spg99.protocol import INTERNAL_PREFIX
from spg99.protocol.gateway import (
    CancelForward,
    Change,
    Checkout,
    ConnectRequest,
    Credentials,
    CredentialsQuery,
    LeaseAnswer,
    LeaseReport,
    SlowedLogin,
    SlowedLogins,
)
from spg99.wire.scram import build_verifier

SETTINGS = {
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "wal_level": "replica",
    "io_method": "sync",
    "jit": "off",
    "huge_pages": "off",
    "max_wal_senders": "4",
}
T = TypeVar("T")
KEEPALIVE_SECONDS = 3.0


@dataclass
class Tenant:
    """A tenant and its password."""

    name: str
    pg_user: str
    password: str
    max_connections: int = 50
    max_connections_of_database: int = 600
    version: int = 1

    @property
    def tenant_id(self) -> str:
        return f"ten_{self.name}"

    def credentials(self) -> Credentials:
        return Credentials(
            tenant_id=self.tenant_id,
            tenant=self.name,
            pg_user=self.pg_user,
            scram_verifier=build_verifier(self.password),
            credential_version=self.version,
            max_connections=self.max_connections,
            max_connections_of_database=self.max_connections_of_database,
        )


@dataclass
class Database:
    """A database, its files, and its compute while one runs."""

    db_id: str
    tenant: Tenant
    name: str
    cluster: Cluster
    term: int = 0
    running: bool = False
    starts: int = 0
    broken: str | Spg99Error | None = None
    """A reason why it cannot be started."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class FakeControlPlane:
    """Runs in a thread of its own; everything a test does to it goes through here."""

    def __init__(self, data_dir: Path, *, lease_seconds: int = 4, grace_seconds: int = 60) -> None:
        self.data_dir = data_dir
        self.lease_seconds = lease_seconds
        self.grace_seconds = grace_seconds
        self.tenants: dict[str, Tenant] = {}
        self.databases: dict[tuple[str, str], Database] = {}
        self.calls: list[str] = []
        self.reports: list[LeaseReport] = []
        self._batches: dict[tuple[str, int], dict[str, int]] = {}
        self.slowed: list[SlowedLogin] = []
        self.connects: list[ConnectRequest] = []
        self.enrolments = 0
        self.feed_open = True
        self.connect_delay_seconds = 0.0
        self._tokens: set[str] = set()
        self._changes: list[Change] = []
        self._listeners: set[asyncio.Queue[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.account = service_account(None)
        for name in ("pg", "run"):
            (data_dir / name).mkdir(mode=0o711, exist_ok=True)
        self.binaries = find_binaries(None, copy_to=data_dir / "bin", account=self.account)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v2"

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs in the Control Plane's thread and waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    # What a test does.

    def start(self) -> None:
        self.do(self._start())

    def stop(self) -> None:
        """The Control Plane goes away; computes go on."""
        self.do(self._stop())

    def close(self) -> None:
        self.stop()
        for database in self.databases.values():
            self.do(database.cluster.stop("immediate"))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    def counted_bytes(self) -> int:
        """What was sent to clients in all, each batch once."""
        return sum(sum(sent.values()) for sent in self._batches.values())

    def add_tenant(self, name: str, password: str, *, max_connections: int = 50) -> Tenant:
        tenant = self.tenants[f"tnt_{name}"] = Tenant(name, f"tnt_{name}", password, max_connections)
        return tenant

    def add_database(self, tenant: Tenant, name: str, *, template: Database | None = None) -> Database:
        """Makes its files; the role may replicate so that replication connections can be tried."""
        number = len(self.databases)
        cluster = Cluster(
            self.data_dir / "pg" / str(number), self.data_dir / "run" / str(number), self.binaries, self.account
        )
        database = Database(f"db_{number}", tenant, name, cluster)
        self.do(self._make(database, template))
        self.databases[tenant.tenant_id, name] = database
        return database

    def kill_compute(self, database: Database) -> None:
        """kill -9 of everything, as a crash would."""
        self.do(self._kill(database))

    def stop_compute(self, database: Database) -> None:
        self.do(self._sleep(database))

    def rotate(self, tenant: Tenant, password: str, *, announce: bool = True) -> None:
        tenant.password, tenant.version = password, tenant.version + 1
        if announce:
            self.announce(Change(kind="tenant", tenant_id=tenant.tenant_id, reason="credentials.rotated"))

    def announce(self, change: Change) -> None:
        async def tell() -> None:
            self._changes.append(change)
            for queue in self._listeners:
                queue.put_nowait(None)

        self.do(tell())

    def count(self, call: str) -> int:
        return self.calls.count(call)

    # How it does it.

    async def _make(self, database: Database, template: Database | None) -> None:
        cluster = database.cluster
        if template is not None:
            await cluster.create_from(template.cluster.data_dir)
            return
        await cluster.init()
        await cluster.single_user(
            [
                f"create role {database.tenant.pg_user} login replication",
                f'create database "{database.name}" owner {database.tenant.pg_user}',
            ]
        )

    async def _kill(self, database: Database) -> None:
        # Still believed to run, as by a Control Plane that has not heard of it yet.
        await asyncio.to_thread(_kill_tree, database.cluster)

    async def _sleep(self, database: Database) -> None:
        async with database.lock:
            await database.cluster.stop("fast")
            database.running = False

    async def _start(self) -> None:
        app = Starlette(
            routes=[
                Route(INTERNAL_PREFIX + path, self._answering(handler), methods=[method])
                for method, path, handler in (
                    ("POST", "/gateways/enroll", self._enroll),
                    ("POST", "/gateways/credentials", self._credentials),
                    ("POST", "/gateways/connect", self._connect),
                    ("POST", "/gateways/leases", self._leases),
                    ("POST", "/gateways/cancel", self._cancel),
                    ("POST", "/gateways/slowed-logins", self._slowed_logins),
                    ("GET", "/gateways/changes", self._follow),
                )
            ]
        )
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.port, log_level="critical", timeout_graceful_shutdown=0, lifespan="off"
        )
        self._server = Server(config)
        self._serving = self._loop.create_task(self._server._serve())
        while not self._server.started:
            await asyncio.sleep(0.01)

    async def _stop(self) -> None:
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = self._server.force_exit = True
        for queue in self._listeners:
            queue.put_nowait(None)
        await self._serving
        self._server = None

    def _answering(self, handler: Any) -> Any:
        async def answer(request: Request) -> Response:
            self.calls.append(request.url.path.rsplit("/", 1)[-1])
            try:
                if (
                    not request.url.path.endswith("/enroll")
                    and request.headers.get("authorization", "")[7:] not in self._tokens
                ):
                    raise Unauthorized
                return await handler(request)
            except Spg99Error as error:
                return JSONResponse(error.envelope(), status_code=error.http_status)

        return answer

    async def _enroll(self, request: Request) -> Response:
        body = await request.json()
        if body["enrolment_token"] != "enrol-me":
            raise Unauthorized("The enrolment token is used up or unknown.")
        self.enrolments += 1
        token = f"gateway-token-{self.enrolments}"
        self._tokens.add(token)
        return JSONResponse({"identity_id": f"gw_{self.enrolments}", "bearer_token": token})

    async def _credentials(self, request: Request) -> Response:
        query = CredentialsQuery.model_validate(await request.json())
        if (tenant := self.tenants.get(query.pg_user)) is None:
            raise NotFound
        return JSONResponse(tenant.credentials().model_dump(mode="json"))

    async def _connect(self, request: Request) -> Response:
        ask = ConnectRequest.model_validate(await request.json())
        self.connects.append(ask)
        if (database := self.databases.get((ask.tenant_id, ask.database))) is None:
            raise NotFound(f"Database '{ask.database}' does not exist.")
        if self.connect_delay_seconds:
            await asyncio.sleep(self.connect_delay_seconds)
        woke = await self._wake(database)
        checkout = Checkout(
            db_id=database.db_id,
            tenant_id=ask.tenant_id,
            database=database.name,
            pg_user=database.tenant.pg_user,
            compute_id=f"cmp_{database.db_id}_{database.term}",
            backend_addr=str(database.cluster.socket_dir),
            backend_port=5432,
            writer_term=database.term,
            lease_control_epoch=database.term,
            lease_seconds=self.lease_seconds,
            grace_seconds=self.grace_seconds,
            woke=woke,
        )
        return JSONResponse(checkout.model_dump(mode="json"))

    async def _wake(self, database: Database) -> bool:
        async with database.lock:
            if isinstance(database.broken, Spg99Error):
                raise database.broken
            if database.broken is not None:
                raise CannotWake(database.broken)
            if database.cluster.adopt() is not None:
                return False
            await database.cluster.start(SETTINGS)
            database.term += 1
            database.starts += 1
            database.running = True
            return True

    async def _leases(self, request: Request) -> Response:
        report = LeaseReport.model_validate(await request.json())
        if report.egress is not None:
            self._batches[report.egress.run_id, report.egress.batch] = report.egress.sent_bytes
        if report.leases:
            self.reports.append(report)
        known = {database.db_id for database in self.databases.values()}
        renewed = [use.db_id for use in report.leases if use.db_id in known and use.active_connections]
        lost = [use.db_id for use in report.leases if use.db_id not in known]
        answer = LeaseAnswer(renewed=renewed, lost=lost, renew_seconds=max(1, self.lease_seconds // 3))
        return JSONResponse(answer.model_dump(mode="json"))

    async def _slowed_logins(self, request: Request) -> Response:
        self.slowed += SlowedLogins.model_validate(await request.json()).logins
        return Response(status_code=204)

    async def _cancel(self, request: Request) -> Response:
        forward = CancelForward.model_validate(await request.json())
        self._changes.append(Change(kind="cancel", reason="cancel.forwarded", cancel_key_hash=forward.key_hash))
        for queue in self._listeners:
            queue.put_nowait(None)
        return Response(status_code=204)

    async def _follow(self, request: Request) -> Response:
        if not self.feed_open:
            return JSONResponse({"error": "Unavailable", "message": "no feed", "details": {}}, status_code=503)
        after = int(request.query_params.get("after") or len(self._changes))
        return StreamingResponse(self._events(after), media_type="text/event-stream")

    async def _events(self, position: int) -> AsyncIterator[str]:
        queue: asyncio.Queue[None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield ": hello\n\n"
            while self.feed_open and self._server is not None and not self._server.should_exit:
                for change in self._changes[position:]:
                    position += 1
                    yield f"id: {position}\ndata: {json.dumps(change.model_dump(mode='json'))}\n\n"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(queue.get(), KEEPALIVE_SECONDS)
                yield ": still here\n\n"
        finally:
            self._listeners.discard(queue)

    def close_feed(self) -> None:
        async def shut() -> None:
            self.feed_open = False
            for queue in self._listeners:
                queue.put_nowait(None)

        self.do(shut())


def _kill_tree(cluster: Cluster) -> None:
    import psutil

    running = cluster.adopt()
    assert running is not None, "nothing to kill"
    postmaster = psutil.Process(running.pid)
    family = [postmaster, *postmaster.children(recursive=True)]
    for strike in ("suspend", "kill"):  # all at once: nobody has time for last words
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(process, strike)()
    psutil.wait_procs(family, timeout=10)
