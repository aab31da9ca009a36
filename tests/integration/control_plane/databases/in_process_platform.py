"""One Control Plane's lifecycle on a real catalogue, behind its internal API. Not here: agents and Gateways (scripted.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
from fastapi import FastAPI
from psycopg.rows import dict_row

from kit.waits import until
from spg99.client import InternalClient
from spg99.config import ControlPlaneSettings
from spg99.control_plane import bootstrap, routes
from spg99.control_plane.databases import deletion_requests, requests, restoring, rows
from spg99.control_plane.databases.branch_points import Wanted
from spg99.control_plane.databases.branching import Branching, hold, unchanged
from spg99.control_plane.databases.deletion_requests import OfTenants, Questions
from spg99.control_plane.databases.lifecycle import Lifecycle
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.identity.organizations import DEFAULT_ORG_ID
from spg99.control_plane.records import outbox, policies
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.records.secret_box import KEY_BYTES, SecretBox
from spg99.control_plane.serving import problems
from spg99.control_plane.store import Store, Transaction, Wakeups
from spg99.control_plane.tenants import AskedTenant
from spg99.control_plane.tenants import rows as tenants
from spg99.control_plane.tenants.passwords import new_password
from spg99.control_plane.tenants.rows import TenantRow
from spg99.errors import Spg99Error, Unavailable
from spg99.processes import Loops, WatchedClock
from spg99.resources import DatabaseSpec, TenantSpec

DEADLINE_SECONDS = 15.0


class MovableClock:
    """The machine's clocks, moved by the test: time passes on both, a step is seen on the wall only."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.stepped = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead + self.stepped

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead.total_seconds()

    def advance(self, *, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)

    def step(self, *, seconds: float) -> None:
        self.stepped += timedelta(seconds=seconds)


class CuttableStore(Store):
    """A store whose n-th transaction is lost, or committed without anybody hearing of it."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        super().__init__(url, pool_size=pool_size)
        self._cut_in = 0
        self._commits = False

    def cut(self, nth: int, *, commits: bool) -> None:
        """From now on the n-th transaction ends in an outage, once."""
        self._cut_in, self._commits = nth, commits

    @property
    def was_cut(self) -> bool:
        return self._cut_in <= 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self._cut_in -= 1
        mine = self._cut_in == 0
        async with super().transaction() as tx:
            yield tx
            if mine and not self._commits:
                raise Unavailable("Cut before the commit.")
        if mine:
            raise Unavailable("Cut after the commit.")


class Plane:
    """One Control Plane process, as far as databases' lives go."""

    def __init__(self, url: str, data_dir: Path, clock: MovableClock, tick_seconds: float = 30.0) -> None:
        # The tick is long on purpose: what the tests see comes from notifications and timers.
        self.settings = ControlPlaneSettings(data_dir=data_dir, tick_seconds=tick_seconds)
        self.store = CuttableStore(url, pool_size=10)
        self.wakeups = Wakeups(self.store)
        self.life = Lifecycle(self.store, WatchedClock(clock, clock.monotonic), self.settings, self.wakeups)
        self.app = FastAPI()
        routes.install_internal(self.app, self.life, SecretBox(bytes(KEY_BYTES)))
        problems.install(self.app)
        self.loops = Loops(clock=clock)
        self.loops.keep("wakeups", self.wakeups.run)
        self.loops.repeat("outbox-relay", self._relay, wakeup=self.wakeups.waiter(("spg99_outbox", None)))

    async def begin(self) -> None:
        await self.store.open()
        self.loops.start()
        await asyncio.wait_for(self.wakeups.listening.wait(), 10)
        self.loops.repeat(
            "reconciler", self.life.reconciler.turn, wakeup=self.wakeups.waiter(("spg99_reconcile", None))
        )

    async def end(self) -> None:
        self.wakeups.close()
        await self.loops.stop()
        await self.store.close()

    async def _relay(self) -> float:
        await outbox.relay(self.store)
        return 1.0

    def client(self, bearer_token: str | None = None) -> InternalClient:
        """A door to this Control Plane."""
        transport = httpx.ASGITransport(app=self.app)
        return InternalClient("http://plane/v2", bearer_token, transport=transport, max_attempts=1, timeout_seconds=40)


class InProcessPlatform:
    """A Control Plane, a tenant, and what a test may ask about the catalogue."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.url = url
        self.data_dir = data_dir
        self.clock = MovableClock()
        self.plane = Plane(url, data_dir, self.clock)
        self.store = Store(url, pool_size=4)
        self.tenant: TenantRow
        self._planes = [self.plane]

    async def __aenter__(self) -> Self:
        await self.store.open()
        await self.plane.begin()
        await bootstrap.bootstrap(self.store, admin_token="spg99_key_test_0000")
        self.box = SecretBox(bytes(32))
        self.tenant = await self.create_tenant("acme")
        return self

    async def __aexit__(self, *_: object) -> None:
        for plane in self._planes:
            await plane.end()
        await self.store.close()

    async def another_plane(self, *, tick_seconds: float = 30.0) -> Plane:
        """A second Control Plane on the same catalogue."""
        plane = Plane(self.url, self.data_dir, self.clock, tick_seconds)
        await plane.begin()
        self._planes.append(plane)
        return plane

    async def create_tenant(self, name: str) -> TenantRow:
        async with self.store.transaction() as tx:
            return await tenants.create(tx, DEFAULT_ORG_ID, TenantSpec(name=name), new_password(), self.box, SYSTEM)

    async def set_policy(self, key: str, value: int) -> None:
        async with self.store.transaction() as tx:
            await policies.set_value(tx, key, value, SYSTEM)

    async def enrolment_token(self, kind: Any) -> str:
        return await bootstrap.new_enrolment_token(self.store, kind, self.clock)

    async def create(self, name: str = "app", *, branch: requests.BranchOf | None = None, **spec: Any) -> DatabaseRow:
        async with self.store.transaction() as tx:
            held = await tenants.ask_held(tx, self.tenant.org_id, self.tenant.name)
            tenant = AskedTenant(self.tenant.name, held, lambda _: True)
            asked = await requests.ask_for_create(tx, tenant, org_id=self.tenant.org_id)
            declared = DatabaseSpec(tenant=self.tenant.name, name=name, **spec)
            _, row = await requests.create(tx, asked, declared, SYSTEM, branch=branch)
            return row

    async def branch(self, name: str, source: str, **spec: Any) -> DatabaseRow:
        """As `POST /tenants/{tenant}/dbs` with a source."""
        wanted = DatabaseSpec(tenant=self.tenant.name, name=name, source_database=source, **spec)

        async def source_of(tx: Transaction) -> DatabaseRow:
            row = await rows.find(tx, self.tenant.tenant_id, source)
            assert row is not None
            return row

        branching = Branching(self.plane.store, self.plane.wakeups, self.clock)
        its, found = await branching.find(source_of, Wanted.of(wanted.source_time, wanted.source_lsn))
        branch = requests.BranchOf(partial(hold, source=its), found, self.clock.now())
        return await self.create(name, branch=branch, source_database=source, **spec)

    async def restore(self, db_id: str, **point: Any) -> str:
        """As `POST /tenants/{tenant}/dbs/{db}/restore`; answers the operation."""

        async def itself(tx: Transaction) -> DatabaseRow:
            row = await rows.by_id(tx, db_id)
            assert row is not None
            return row

        branching = Branching(self.plane.store, self.plane.wakeups, self.clock)
        source, found = await branching.find(itself, Wanted.to_restore(point.get("time"), point.get("lsn")))
        async with self.locked(db_id) as (tx, row):
            unchanged(row, source)
            return await restoring.request(tx, row, found, SYSTEM)

    async def create_used(self, name: str = "app", **spec: Any) -> DatabaseRow:
        """A database that was started once and sleeps: its files lie on a node. Some agent works."""
        row = await self.create(name, **spec)
        await self.want_running(row.db_id)
        await self.reaches(row.db_id, "ready", "idle")
        await self.want_stopped(row.db_id)
        return await self.reaches(row.db_id, "stopped")

    @asynccontextmanager
    async def locked(self, db_id: str) -> AsyncIterator[tuple[Any, DatabaseRow]]:
        """A transaction that holds the row of a database, as the API's calls do."""
        async with self.store.transaction() as tx:
            row = await rows.lock(tx, db_id)
            assert row is not None
            yield tx, row

    async def delete(self, db_id: str, *, force: bool = False, answer_seconds: float = 10.0) -> str:
        """As `DELETE /tenants/{tenant}/dbs/{db}`: what runs is asked first."""
        questions = Questions(self.plane.store, self.plane.wakeups)
        refused: Spg99Error | None = None
        deadline = time.monotonic() + answer_seconds
        while True:
            async with self.locked(db_id) as (tx, row):
                if refused is not None:
                    raise refused
                asked = await questions.ask(tx, [row], force=force, actor=SYSTEM, now=self.clock.now())
                if not asked:
                    now = self.clock.now()
                    return await deletion_requests.begin_delete(tx, row, force=force, actor=SYSTEM, now=now)
            refused = await questions.refusal(asked, until=deadline)

    async def delete_all(self, *, force: bool = False, answer_seconds: float = 10.0) -> None:
        """As `DELETE /tenants/{tenant}?cascade=true` does with the databases."""
        of_tenants = OfTenants(Questions(self.plane.store, self.plane.wakeups))
        refused: Spg99Error | None = None
        deadline = time.monotonic() + answer_seconds
        while True:
            async with self.store.transaction() as tx:
                if refused is not None:
                    raise refused
                asked = await of_tenants.begin_delete(
                    tx, self.tenant.tenant_id, force=force, actor=SYSTEM, now=self.clock.now()
                )
            if not asked:
                return
            refused = await of_tenants.refusal(asked, until=deadline)

    async def want_running(self, db_id: str) -> str:
        async with self.locked(db_id) as (tx, row):
            return await requests.want_running(tx, row, SYSTEM, now=self.clock.now())

    async def want_stopped(self, db_id: str) -> str:
        async with self.locked(db_id) as (tx, row):
            return await requests.want_stopped(tx, row, SYSTEM)

    async def change(self, db_id: str, **changes: Any) -> DatabaseRow:
        async with self.locked(db_id) as (tx, row):
            return await requests.change(tx, row, changes, SYSTEM)

    async def advance(self, seconds: float) -> None:
        """Moves the clock and has every loop look at it."""
        self.clock.advance(seconds=seconds)
        await self.sql("notify spg99_reconcile")

    async def row(self, db_id: str) -> DatabaseRow | None:
        async with self.store.transaction() as tx:
            return await rows.by_id(tx, db_id)

    async def reaches(self, db_id: str, *states: str, seconds: float = DEADLINE_SECONDS) -> DatabaseRow:
        """The row once the database is in one of these states."""
        last: list[str] = []

        async def there() -> DatabaseRow | None:
            row = await self.row(db_id)
            last[:] = [row.state if row else "gone"]
            return row if row is not None and row.state in states else None

        try:
            found: DatabaseRow = await until("", there, seconds=seconds)
        except AssertionError:
            raise AssertionError(f"{db_id} is {last} and not {states} after {seconds} s") from None
        return found

    async def is_gone(self, db_id: str) -> None:
        async def gone() -> bool:
            return await self.row(db_id) is None

        await until(f"{db_id} is gone", gone)

    async def sql(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Rows straight from the catalogue, as its owner."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True, row_factory=dict_row) as connection:
            cursor = await connection.execute(query, values)
            return await cursor.fetchall() if cursor.description else []
