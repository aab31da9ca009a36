"""Every resource of a node that one tenant can take from the others: the greedy one meets a bound, the neighbour goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from integration.node.conftest import Node
from integration.node.limits import MB, Tenant, held
from kit.waits import until
from spg99.node.confinement import NICE, OOM_SERVER, OOM_SESSION, memory_bounds
from spg99.node.observation import trim_log
from spg99.node.storage import LIBRARY, LOG_GROWN_BYTES_MAX
from spg99.resources import Size

exactly = pytest.mark.skipif(not LIBRARY.exists(), reason="the library was not built: no C compiler at set-up")
on_linux = pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="only Linux has these bounds")

LATE_SECONDS = 10.0
"""The tests share two cores with much else; a neighbour who is shut out waits for minutes."""


class Neighbour:
    """Logs in, writes and reads all the time, from a thread of its own."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.rounds = 0
        self.slowest_seconds = 0.0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live)
        with tenant.connect() as session:
            session.execute("CREATE TABLE rows (id serial, body text)")

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(60)

    def _live(self) -> None:
        while not self._over.wait(0.02):
            began = time.monotonic()
            try:
                with self.tenant.connect() as session:
                    session.execute("INSERT INTO rows (body) SELECT repeat('x', 100) FROM generate_series(1, 100)")
                    session.execute("SELECT count(*) FROM (SELECT body FROM rows ORDER BY random() LIMIT 1000) s")
            except psycopg.Error as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.rounds += 1
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)


@asynccontextmanager
async def beside_a_neighbour(node: Node) -> AsyncIterator[Neighbour]:
    """A neighbour on the same node, who must not notice anything."""
    neighbour = Neighbour(await Tenant.start(node))
    async with held(node):
        neighbour.start()
        try:
            yield neighbour
            before = neighbour.rounds
            await until("the neighbour goes on", lambda: neighbour.rounds > before + 1)
        finally:
            await asyncio.to_thread(neighbour.end)
    assert not neighbour.failures
    assert neighbour.slowest_seconds < LATE_SECONDS


async def refused(session: psycopg.Connection, statement: str) -> str | None:
    """The SQLSTATE a statement ends with."""
    with pytest.raises(psycopg.Error) as caught:
        await asyncio.to_thread(session.execute, statement.encode())
    return caught.value.sqlstate


@pytest.mark.slow  # broken
async def test_temporary_files(node: Node) -> None:
    greedy = await Tenant.start(node, limit=128 * MB)
    async with beside_a_neighbour(node):
        with greedy.connect() as session:
            statement = (
                "SELECT * FROM (SELECT g, random() r FROM generate_series(1, 20000000) g ORDER BY r) s OFFSET 19999999"
            )
            assert await refused(session, statement) in ("53400", "53100")
            assert greedy.files_bytes() < 160 * MB
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("SET temp_file_limit = -1")


@pytest.mark.slow  # broken
async def test_wal_and_a_forgotten_slot(node: Node) -> None:
    greedy = await Tenant.start(node, limit=256 * MB)
    async with beside_a_neighbour(node):
        with greedy.connect() as session:
            session.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
            session.execute("CREATE TABLE churn (id int, body text)")
            for _ in range(12):
                await asyncio.to_thread(
                    session.execute, "INSERT INTO churn SELECT g, repeat('x', 1000) FROM generate_series(1, 25000) g"
                )
                session.execute("TRUNCATE churn")
            within = node.computes.storage.bounds(Size.L1, 256 * MB)
            await until(
                "WAL that only the slot wanted goes", lambda: greedy.seen().used_bytes < 60 * MB + 2 * within.wal_bytes
            )
            state = session.execute("SELECT wal_status FROM pg_replication_slots").fetchone()
            assert state in (("lost",), ("unreserved",)), state
            session.execute("SELECT pg_drop_replication_slot('forgotten')")
            for number in range(10):
                session.execute(f"SELECT pg_create_physical_replication_slot('s{number}')")
            assert await refused(session, "SELECT pg_create_physical_replication_slot('one_more')") == "53400"


@pytest.mark.slow  # broken
async def test_notifications_that_nobody_takes(node: Node) -> None:
    greedy = await Tenant.start(node, limit=256 * MB)
    async with beside_a_neighbour(node):
        with psycopg.connect(greedy.dsn) as listener, greedy.connect() as session:
            listener.execute("LISTEN channel")
            listener.commit()
            listener.execute("SELECT 1")  # a transaction that never ends
            flood = "SELECT count(pg_notify('channel', repeat('x', 7000) || g)) FROM generate_series(1, 5000) g"

            def notify_for_ever() -> None:
                for _ in range(4):
                    session.execute(flood)

            with pytest.raises(psycopg.Error) as caught:
                await asyncio.to_thread(notify_for_ever)
            assert caught.value.sqlstate == "54000"
            folder = node.folder.timeline(greedy.timeline.timeline_id).data_dir / "pg_notify"
            assert sum(path.stat().st_size for path in folder.iterdir()) <= 66 * MB


@pytest.mark.slow  # broken
@exactly
async def test_inodes(node: Node) -> None:
    limit = 64 * MB
    greedy = await Tenant.start(node, limit=limit)
    files = node.computes.storage.bounds(Size.L1, limit).files
    assert files == 4096
    node.computes.storage.configure(
        greedy.timeline.timeline_id, 1024 * MB
    )  # so that it is the files and not their bytes
    node.computes.storage._held[greedy.timeline.timeline_id].page.change(1024 * MB, reserve_bytes=8 * MB, files=1500)
    async with beside_a_neighbour(node):
        with greedy.connect() as session:
            made = 0

            def make_tables() -> None:
                nonlocal made
                for made in range(2000):
                    session.execute(f"CREATE TABLE t{made} (id int)".encode())

            with pytest.raises(psycopg.errors.DiskFull) as caught:
                await asyncio.to_thread(make_tables)
            assert "storage limit" in str(caught.value)
            assert 500 < made < 1500
            for number in range(made):
                session.execute(f"DROP TABLE t{number}".encode())
        # PostgreSQL removes the files of dropped tables with the next checkpoint; a stop makes one.
        order = {"compute_id": greedy.started["compute_id"], "timeline_id": greedy.timeline.timeline_id, "mode": "fast"}
        assert (await node.do("compute.stop", order)).succeeded
        again = await Tenant.start(node, limit=limit, timeline=greedy.timeline, term=2)
        with again.connect() as session:
            session.execute("CREATE TABLE afterwards (id int)")


@pytest.mark.slow  # broken
@on_linux
async def test_memory_of_one_session(node: Node) -> None:
    greedy = await Tenant.start(node, limit=4096 * MB)
    async with beside_a_neighbour(node):
        with greedy.connect() as session:
            backend, largest = psutil.Process(session.info.backend_pid), 0
            over = threading.Event()

            def check() -> None:
                nonlocal largest
                while not over.wait(0.01):
                    largest = max(largest, backend.memory_info().rss)

            watch = threading.Thread(target=check)
            watch.start()
            session.execute("SET work_mem = '16GB'")
            try:
                for statement in (
                    "SELECT count(*) FROM (SELECT g, repeat('x', 1000) b FROM generate_series(1, 2000000) g ORDER BY b, g) s",
                    "SELECT array_agg(repeat('x', 1000) || g) FROM generate_series(1, 2000000) g",
                    "SELECT repeat('x', 900000000)",
                ):
                    assert await refused(session, statement) == "53200", statement
            finally:
                over.set()
                watch.join()
            assert largest < memory_bounds(Size.L1).session_bytes + 100 * MB
            assert session.execute("SELECT 1").fetchone() == (1,)  # it was that statement only


@pytest.mark.slow  # broken
@on_linux
async def test_memory_of_many_sessions(node: Node) -> None:
    greedy = await Tenant.start(node, limit=4096 * MB)
    bound = memory_bounds(Size.L1).compute_bytes
    async with beside_a_neighbour(node):
        # Each stays below its own bound and holds on to what it has: a cursor that is open.
        with contextlib.ExitStack() as all_of_them:
            sessions = [all_of_them.enter_context(psycopg.connect(greedy.dsn)) for _ in range(6)]

            def eat(session: psycopg.Connection) -> None:
                with contextlib.suppress(psycopg.Error):
                    session.execute("SET work_mem = '100MB'")
                    session.execute(
                        "DECLARE c CURSOR FOR SELECT g, repeat('x', 500) b FROM generate_series(1, 110000) g ORDER BY b, g"
                    )
                    session.execute("FETCH 1 FROM c")
                    session.execute("SELECT pg_sleep(20)")

            eaters = [threading.Thread(target=eat, args=(session,)) for session in sessions]
            for eater in eaters:
                eater.start()
            await asyncio.to_thread(lambda: [eater.join(40) for eater in eaters])
            await until("the compute is below its bound", lambda: taken_by(greedy) <= bound)
            assert sum(session.closed or session.info.transaction_status.value > 2 for session in sessions) >= 1
        with greedy.connect() as session:
            assert session.execute("SELECT 1").fetchone() == (1,)


def taken_by(tenant: Tenant) -> int:
    found = 0
    for child in psutil.Process(tenant.started["pid"]).children():
        with contextlib.suppress(psutil.Error):
            info = child.memory_info()
            found += max(0, info.rss - info.shared)
    return found


@pytest.mark.slow  # broken
@exactly
@on_linux
async def test_memory_that_parallel_queries_share(node: Node) -> None:
    greedy = await Tenant.start(node, limit=4096 * MB)
    async with beside_a_neighbour(node):
        with greedy.connect() as session:
            await asyncio.to_thread(
                session.execute,
                "CREATE TABLE big AS SELECT g id, repeat(md5(g::text), 8) body FROM generate_series(1, 600000) g",
            )
            session.execute("ANALYZE big")
            for setting in (
                "parallel_setup_cost = 0",
                "parallel_tuple_cost = 0",
                "min_parallel_table_scan_size = 0",
                "work_mem = '2GB'",
            ):
                session.execute(f"SET {setting}".encode())
            plan = session.execute("EXPLAIN SELECT count(*) FROM big a JOIN big b USING (id, body)").fetchall()
            assert any("Parallel Hash" in line[0] for line in plan), plan
            assert await refused(session, "SELECT count(*) FROM big a JOIN big b USING (id, body)") == "53200"
            session.execute("SET max_parallel_workers_per_gather = 0")
            session.execute("SET work_mem = '4MB'")
            await asyncio.to_thread(session.execute, "SELECT count(*) FROM big a JOIN big b USING (id, body)")


@on_linux
async def test_the_order_of_death(node: Node) -> None:
    greedy = await Tenant.start(node)

    def place(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    with greedy.connect() as session:
        order = [place(session.info.backend_pid), place(greedy.started["pid"]), place(os.getpid())]
    assert order[:2] == [OOM_SESSION, OOM_SERVER]
    assert order == sorted(order, reverse=True) and order[2] < OOM_SERVER


@pytest.mark.slow  # broken
@on_linux
async def test_cpu(node: Node) -> None:
    greedy = await Tenant.start(node)
    async with beside_a_neighbour(node) as neighbour:
        sessions = [greedy.connect() for _ in range(8)]
        spin = "DO $$ BEGIN FOR i IN 1..2000000000 LOOP END LOOP; END $$"

        def busy(session: psycopg.Connection) -> None:
            with contextlib.suppress(psycopg.Error):
                session.execute("SET statement_timeout = '6s'")
                session.execute(spin)

        threads = [threading.Thread(target=busy, args=(session,)) for session in sessions]
        for thread in threads:
            thread.start()
        before = neighbour.rounds
        await asyncio.to_thread(lambda: [thread.join(60) for thread in threads])
        assert neighbour.rounds > before + 5
        backend = psutil.Process(sessions[0].info.backend_pid)
        if node.computes.confinement.means.groups == "none":
            assert backend.nice() >= NICE
        else:
            groups = Path(f"/proc/{backend.pid}/cgroup").read_text()
            assert groups.count(greedy.started["compute_id"]) >= 1
        for session in sessions:
            session.close()


@pytest.mark.slow  # broken
@on_linux
async def test_open_files(node: Node) -> None:
    greedy = await Tenant.start(node)
    async with beside_a_neighbour(node):
        with greedy.connect() as session:
            for first in range(0, 600, 50):
                names = range(first, first + 50)
                session.execute("".join(f"CREATE TABLE t{n} AS SELECT 1 AS id;" for n in names).encode())
            for n in range(600):
                session.execute(f"SELECT * FROM t{n}".encode())
            assert psutil.Process(session.info.backend_pid).num_fds() < 300


async def test_connections(node: Node) -> None:
    greedy = await Tenant.start(node)
    async with beside_a_neighbour(node):
        with contextlib.ExitStack() as sessions:

            def connect_for_ever() -> None:
                for _ in range(100):
                    sessions.enter_context(greedy.connect())

            with pytest.raises(psycopg.OperationalError, match="too many clients"):
                await asyncio.to_thread(connect_for_ever)


@exactly
async def test_the_log_of_the_server(node: Node) -> None:
    greedy = await Tenant.start(node)
    log = node.folder.timeline(greedy.timeline.timeline_id).log_file
    async with beside_a_neighbour(node):
        with greedy.connect() as session:
            flood = "DO $$ BEGIN FOR i IN 1..200 LOOP RAISE LOG '%', repeat('x', 1000000); END LOOP; END $$"
            await asyncio.to_thread(session.execute, flood)
        assert log.stat().st_size <= LOG_GROWN_BYTES_MAX + 2 * MB
        trim_log(node.folder.timeline(greedy.timeline.timeline_id))
        assert log.stat().st_size < 8 * MB


@on_linux
async def test_groups_go_with_their_computes(node: Node) -> None:
    if node.computes.confinement.means.groups == "none":
        pytest.skip("no control groups may be made here")
    tenant = await Tenant.start(node)
    parents = list(node.computes.confinement._parents.values())
    await until("groups are made", lambda: all((parent / tenant.started["compute_id"]).is_dir() for parent in parents))
    with tenant.connect() as session:
        session.execute("SELECT 1")
    order = {"compute_id": tenant.started["compute_id"], "timeline_id": tenant.timeline.timeline_id, "mode": "fast"}
    assert (await node.do("compute.stop", order)).succeeded
    await until(
        "groups are gone", lambda: not any((parent / tenant.started["compute_id"]).exists() for parent in parents)
    )


@on_linux
async def test_a_server_goes_into_its_groups_after_its_wake_and_its_sessions_with_it(node: Node) -> None:
    if node.computes.confinement.means.groups == "none":
        pytest.skip("no control groups may be made here")
    tenant = await Tenant.start(node)
    compute_id = tenant.started["compute_id"]
    with tenant.connect() as before, tenant.connect() as after:
        pids = [tenant.started["pid"], before.info.backend_pid, after.info.backend_pid]

        def all_are_there() -> bool:
            return all(compute_id in Path(f"/proc/{pid}/cgroup").read_text() for pid in pids)

        await until("all are there", all_are_there)


@on_linux
async def test_a_stop_within_that_time_waits_for_nothing(node: Node) -> None:
    node.computes.confinement.after_seconds = 3600
    tenant = await Tenant.start(node)
    await node.computes.stop(tenant.started["compute_id"], tenant.timeline.timeline_id, "fast")
    parents = node.computes.confinement._parents.values()
    assert node.computes.running() == []
    assert not any((parent / tenant.started["compute_id"]).exists() for parent in parents)
