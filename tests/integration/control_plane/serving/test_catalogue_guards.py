"""What the catalogue itself holds: each test tries to break one rule, as the service and, where it counts, as the owner."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from spg99.control_plane.databases import computes
from spg99.control_plane.fleet import tasks
from spg99.control_plane.records import audit, operations, outbox, policies
from spg99.control_plane.records.actors import SYSTEM, Actor
from spg99.control_plane.storage import timelines
from spg99.control_plane.store import RuleViolation, Store
from spg99.errors import BadRequest
from spg99.postgres import service_account
from spg99.protocol.node import TaskResult


def as_service(url: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("set role spg99_service")
    return connection


ATTACKS = [
    "update audit_logs set actor = 'nobody'",
    "delete from audit_logs",
    "truncate audit_logs",
]


@pytest.mark.parametrize(
    "sql", [*ATTACKS, "alter table audit_logs disable trigger all", "drop table audit_logs_default"]
)
def test_the_service_cannot_change_the_audit_log(either_cluster: Any, sql: str) -> None:
    with as_service(either_cluster.database()) as connection:
        connection.execute("insert into audit_logs (actor, action) values ('key_a', 'x')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.encode())


@pytest.mark.parametrize("sql", ATTACKS)
def test_even_the_owner_meets_the_trigger(either_cluster: Any, sql: str) -> None:
    with psycopg.connect(either_cluster.database(), autocommit=True) as connection:
        connection.execute("insert into audit_logs (actor, action) values ('key_a', 'x')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="immutable"):
            connection.execute(sql.encode())
        assert connection.execute("select actor from audit_logs").fetchall() == [("key_a",)]


def test_a_partition_is_as_immutable_as_the_whole(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select ensure_partitions(clock_timestamp(), 2)")
        connection.execute("insert into audit_logs (actor, action) values ('key_a', 'x')")
        part = connection.execute("select tableoid::regclass::text from audit_logs").fetchone()
        assert part is not None
        assert part[0] != "audit_logs_default"
        for sql in (f"update {part[0]} set actor = 'x'", f"delete from {part[0]}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="immutable"):
                connection.execute(sql.encode())


async def test_audit_takes_only_listed_metadata(store: Store) -> None:
    with pytest.raises(RuleViolation):
        async with store.transaction() as tx:
            await audit.record(tx, Actor("key_a"), "x", None, token="t")
    async with store.transaction() as tx:
        await audit.record(tx, Actor("key_a", "req_1"), "x", "db_1", name="app", cascade=True)


def test_a_row_never_fails_for_want_of_a_partition(url: str) -> None:
    with as_service(url) as connection:
        for moment in (datetime(1999, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=4000)):
            connection.execute("insert into audit_logs (occurred_at, actor, action) values (%s, 'a', 'x')", (moment,))
        made = connection.execute("select ensure_partitions(clock_timestamp(), 3)").fetchone()
        assert made == (4,)
        assert connection.execute("select ensure_partitions(clock_timestamp(), 3)").fetchone() == (0,)


def test_the_service_owns_nothing(either_cluster: Any) -> None:
    with psycopg.connect(either_cluster.database()) as connection:
        owners = connection.execute(
            "select distinct pg_get_userbyid(relowner) from pg_class where relnamespace = 'public'::regnamespace"
        ).fetchall()
        assert owners == [("spg99_owner",)]
        role = connection.execute(
            "select rolsuper, rolcreaterole, rolcreatedb, rolcanlogin from pg_roles where rolname = 'spg99_service'"
        ).fetchone()
        assert role == (False, False, False, False)


async def test_the_store_works_as_the_service(store: Store) -> None:
    async with store.transaction() as tx:
        cursor = await tx._connection.execute("select current_user, current_setting('TimeZone')")
        assert await cursor.fetchone() == ("spg99_service", "UTC")


@pytest.mark.parametrize(
    "sql", ["create table mine (a integer)", "alter table tenants add column x integer", "drop table tenants"]
)
def test_the_service_cannot_change_the_schema(url: str, sql: str) -> None:
    with as_service(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(sql.encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api.requests_per_minute", "0"),
        ("api.requests_per_minute", '"many"'),
        ("api.requests_per_minute", "1.5"),
        ("operations.start_stop_enabled", "1"),
        ("limits.tenants_max", "-2"),
        ("limits.tenants_max", "null"),
    ],
)
def test_a_policy_outside_its_bounds_is_refused_by_the_catalogue(either_cluster: Any, key: str, value: str) -> None:
    with as_service(either_cluster.database()) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(
            "insert into policy_values (key, scope, value) values (%s, 'global', %s::jsonb)", (key, value)
        )


def test_a_policy_must_be_defined_first(url: str) -> None:
    with as_service(url) as connection:
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute("insert into policy_values (key, scope, value) values ('made.up', 'global', '1')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("insert into policy_definitions values ('made.up', 'integer', '1', 0, 1, null, '')")


async def test_the_most_specific_policy_wins(store: Store) -> None:
    key = "limits.tenants_max"

    async def now(user_id: str | None = None) -> int:
        async with store.transaction() as tx:
            return int(await policies.value(tx, key, org_id="org_a", user_id=user_id))

    async with store.transaction() as tx:
        await tx.execute("ensure_organization", org_id="org_a", name="a")
        await tx._connection.execute("update organizations set plan = 'trial' where org_id = 'org_a'")
    assert await now() == 1  # the trial plan of the contract
    for value, where in (
        (7, {}),
        (5, {"scope": "org", "scope_id": "org_a"}),
        (3, {"scope": "user", "scope_id": "usr_a"}),
    ):
        async with store.transaction() as tx:
            await policies.set_value(tx, key, value, SYSTEM, **where)  # type: ignore[arg-type]
    assert (await now(), await now("usr_a"), await now("usr_b")) == (5, 3, 5)
    async with store.transaction() as tx:
        assert await policies.value(tx, key) == 7
        assert await policies.value(tx, "limits.databases_max") == -1
        with pytest.raises(LookupError):
            await policies.value(tx, "made.up")
    with pytest.raises(BadRequest, match="must lie between"):
        async with store.transaction() as tx:
            await policies.set_value(tx, key, -5, SYSTEM)


async def test_an_event_is_there_exactly_when_its_change_is(store: Store) -> None:
    class Killed(Exception):
        pass

    async def fail() -> None:
        async with store.transaction() as tx:
            await tx.execute("ensure_organization", org_id="org_lost", name="x")
            await outbox.publish(tx, "x.lost", subject="org_lost", org_id="org_lost", tenant_id=None, payload={})
            raise Killed

    with pytest.raises(Killed):
        await fail()
    async with store.transaction() as tx:
        await tx.execute("ensure_organization", org_id="org_kept", name="x")
        await outbox.publish(tx, "x.kept", subject="org_kept", org_id="org_kept", tenant_id=None, payload={})
    await outbox.relay(store)
    async with store.transaction() as tx:
        assert [e.event_type for e in await outbox.since(tx, 0)] == ["x.kept"]
        assert await tx.value("find_organization", org_id="org_lost") is None


def test_a_server_killed_before_the_commit_leaves_neither_row_nor_event(url: str) -> None:
    """The transaction's backend is killed with everything written and nothing committed."""
    with psycopg.connect(url, autocommit=True) as watcher, as_service(url) as writer:
        writer.execute("begin")
        writer.execute("insert into organizations (org_id, name) values ('org_k', 'k')")
        writer.execute(
            "insert into outbox_events (event_id, event_type, subject, envelope) values ('e', 't', 's', '{}')"
        )
        watcher.execute("select pg_terminate_backend(%s)", (writer.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            writer.execute("commit")
        assert watcher.execute("select count(*) from organizations").fetchone() == (0,)
        assert watcher.execute("select count(*) from outbox_events").fetchone() == (0,)


def test_the_fence_only_rises(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into organizations (org_id, name) values ('org_a', 'a')")
        connection.execute("insert into projects values ('prj_a', 'org_a', 'p')")
        connection.execute(
            "insert into tenants (tenant_id, org_id, project_id, name, pg_user, password_encrypted, scram_verifier)"
            " values ('ten_a', 'org_a', 'prj_a', 'a', 'u', 'x', 'y')"
        )
        connection.execute(
            "insert into databases (db_id, tenant_id, name, size, idle_timeout_seconds, state, timeline_id, target_profile,"
            " writer_term, lease_control_epoch) values ('db_a', 'ten_a', 'a', 'L1', 1, 'stopped', 'tl', 'L1', 5, 5)"
        )
        for sql in ("update databases set writer_term = 4", "update databases set lease_control_epoch = 4"):
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute(sql)  # type: ignore[arg-type]


ON_A_NODE = """
insert into nodes (node_id, name, token_sha256) values ('node_a', 'n', 'h');
insert into timelines (timeline_id, db_id, node_id, state) values ('tl_a', 'db_a', 'node_a', 'deleting');
insert into computes (compute_id, db_id, timeline_id, node_id, writer_term, profile, state, backend_addr, backend_port, started_at)
  values ('cmp_a', 'db_a', 'tl_a', 'node_a', 1, 'L1', 'running', '/s', 5432, clock_timestamp());
insert into node_tasks (node_id, kind, payload, expires_at, status, attempt, leased_until, dispatched_at)
  values ('node_a', 'compute.stop', '{}', now() + interval '1 hour', 'dispatched', 1, now() + interval '1 hour', clock_timestamp());
insert into node_tasks (node_id, kind, payload, expires_at) values ('node_a', 'compute.start', '{}', now());
"""
ENDS = """
select 'operation ' || kind, created_at, finished_at, finished_at > now() from operations
union all select 'task ' || kind, created_at, finished_at, finished_at > now() from node_tasks
union all select 'compute', started_at, ended_at, ended_at > now() from computes
union all select 'timeline', created_at, gone_at, gone_at > now() from timelines
"""


async def test_nothing_ends_before_it_began(store: Store) -> None:
    """What ends it is a transaction that was already open when it began: now() would be the time of that transaction."""
    async with store.transaction() as old:
        await old._connection.execute("select now()")
        async with store.transaction() as tx:
            await tx._connection.execute(ON_A_NODE)
            await operations.start(tx, "database.start", org_id=None, tenant_id="ten_a", db_id="db_a")
            await operations.start(tx, "tenant.delete", org_id=None, tenant_id="ten_a", db_id=None)
        cursor = await old._connection.execute("select task_id from node_tasks order by task_id")
        (done,), (unwanted,) = await cursor.fetchall()

        await operations.finish(old, "db_a", ("database.start",))
        assert await operations.finish_tenant(old, "ten_a", ("tenant.delete",)) == 1
        finished = await tasks.finish(old, done, "node_a", TaskResult(succeeded=True, attempt=1))
        assert await tasks.cancel(old, unwanted, "not wanted any more")
        assert await finished.count() == 1
        await computes.end(old, "cmp_a", "stopped")
        await timelines.mark(old, "tl_a", "gone")

        cursor = await old._connection.execute(ENDS)
        ends = {what: (began, ended, late) for what, began, ended, late in await cursor.fetchall()}
    assert sorted(ends) == [
        "compute", "operation database.start", "operation tenant.delete",
        "task compute.start", "task compute.stop", "timeline",
    ]  # fmt: skip
    for what, (began, ended, late) in ends.items():
        assert began <= ended, f"{what}: began {began}, ended {ended}"
        assert late, f"{what}: ended when the transaction that ended it began"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_of_the_machine_cannot_connect(cluster18: Any) -> None:
    """Not even the one who runs PostgreSQL: tenants' databases run as that user."""
    other = service_account(None)
    assert other is not None
    done = subprocess.run(
        [cluster18.program("psql"), cluster18.owner_url, "-c", "select 1"],
        **other.popen_options(), capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode != 0
    assert "Peer authentication failed" in done.stderr, done.stderr
