"""What a tenant can and cannot do in its own PostgreSQL. Each way out is a test of its own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import pytest_asyncio

from integration.node.conftest import Node, dsn
from spg99.node.folder import NodeFolder
from spg99.postgres import Account, Binaries
from spg99.protocol.tasks import TimelineCreate

INSUFFICIENT_PRIVILEGE = "42501"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(
    session_data_dir: Path, prepared: tuple[Binaries, Account | None, Path, Path]
) -> AsyncIterator[tuple[dict[str, Any], TimelineCreate]]:
    """A compute that runs for all tests here, and whose it is."""
    binaries, account, template, extensions = prepared
    node = Node(NodeFolder.prepare(session_data_dir, "rights", account), binaries, account, template, extensions)
    timeline = await node.create(database_name="app", pg_user="acme_user")
    yield await node.start(timeline), timeline
    await node.end()


@pytest.fixture
def db(tenant: tuple[dict[str, Any], TimelineCreate]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn(*tenant), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to program 'id > /tmp/spg99-escape'",
        "copy pg_temp.lines from program 'id'",
        "copy pg_temp.lines from '/etc/passwd'",
        "copy (select 1) to '/tmp/spg99-escape'",
        "select pg_read_file('/etc/passwd')",
        "select pg_read_binary_file('PG_VERSION')",
        "select pg_ls_dir('.')",
        "select pg_stat_file('PG_VERSION')",
        "select * from pg_ls_waldir()",
        "select lo_import('/etc/passwd')",
        "select lo_export(lo_create(0), '/tmp/spg99-escape')",
        "select pg_reload_conf()",
        "select pg_rotate_logfile()",
        "select pg_promote()",
        "select pg_switch_wal()",
        "set role spg99_admin",
        "set session authorization spg99_admin",
        "alter role spg99_admin password 'mine'",
        "alter role acme_user superuser",
        "alter role acme_user createrole",
        "create role another",
        "create role another superuser",
        "grant pg_read_server_files to acme_user",
        "grant pg_execute_server_program to acme_user",
        "create database another",
        "alter database app rename to template2",
        "alter database template1 is_template false",
        "drop database template1",
        "create tablespace t location '/tmp'",
        "create function f() returns int language c as '/lib/x86_64-linux-gnu/libc.so.6', 'getpid'",
        "create function f(text) returns int language internal as 'pg_read_file_all'",
        "create language plc handler plpgsql_call_handler",
        "create event trigger t on ddl_command_start execute function pg_catalog.suppress_redundant_updates_trigger()",
        "create subscription s connection 'host=/tmp' publication p",
        "create foreign data wrapper w",
        "select * from pg_authid",
        "select * from pg_hba_file_rules",
        "select * from pg_file_settings",
        "show data_directory",
        "show hba_file",
        "show unix_socket_directories",
        "set session_preload_libraries = 'vector'",
        "set dynamic_library_path = '/tmp'",
        "set extension_control_path = '/tmp'",
        "set log_min_messages = 'debug5'",
        "set zero_damaged_pages = on",
        "alter role acme_user set session_preload_libraries = 'vector'",
        "alter database app set dynamic_library_path = '/tmp'",
        "update pg_catalog.pg_authid set rolsuper = true",
        "load '/tmp/evil.so'",
    ],
)
def test_is_refused(db: psycopg.Connection, statement: str) -> None:
    db.execute("create temporary table lines (line text)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refusal:
        db.execute(statement)  # type: ignore[call-overload]
    assert refusal.value.sqlstate == INSUFFICIENT_PRIVILEGE
    assert not Path("/tmp/spg99-escape").exists()


def test_the_servers_own_processes_cannot_be_ended(
    tenant: tuple[dict[str, Any], TimelineCreate], db: psycopg.Connection
) -> None:
    server = psutil.Process(tenant[0]["pid"])
    others = [child for child in server.children() if child.pid != db.info.backend_pid]
    assert len(others) >= 4
    for child in others:
        try:
            assert db.execute("select pg_terminate_backend(%s)", [child.pid]).fetchone() == (False,)
        except psycopg.errors.InsufficientPrivilege:
            continue
    assert all(child.is_running() for child in others)


def test_alter_system_is_refused(db: psycopg.Connection) -> None:
    with pytest.raises(psycopg.DatabaseError, match="ALTER SYSTEM is not allowed|permission denied"):
        db.execute("alter system set fsync = off")


def test_extensions_of_other_builds_are_refused(db: psycopg.Connection) -> None:
    with pytest.raises(psycopg.DatabaseError, match="not available|permission denied"):
        db.execute("create extension plpython3u")


@pytest.mark.parametrize("database", ["postgres", "template1", "template0", "spg99_blank"])
def test_no_other_database_can_be_entered(tenant: tuple[dict[str, Any], TimelineCreate], database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="no pg_hba.conf entry|does not exist"):
        psycopg.connect(dsn(*tenant, dbname=database))


@pytest.mark.parametrize("role", ["spg99_admin", "postgres", "nobody", "root", "pg_monitor"])
def test_nobody_else_can_log_in(tenant: tuple[dict[str, Any], TimelineCreate], role: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="no pg_hba.conf entry"):
        psycopg.connect(dsn(*tenant, user=role))


def test_start_up_options_cannot_loosen_anything(tenant: tuple[dict[str, Any], TimelineCreate]) -> None:
    for option in ("allow_system_table_mods=on", "session_preload_libraries=vector", "hba_file=/tmp/x"):
        with pytest.raises(psycopg.OperationalError, match="permission denied|cannot be"):
            psycopg.connect(dsn(*tenant, options=f"-c {option}"))


async def test_two_tenants_share_nothing(node: Node) -> None:
    one, other = await node.create(pg_user="one_user"), await node.create(pg_user="other_user")
    started_one, started_other = await node.start(one), await node.start(other)
    assert started_one["backend_addr"] != started_other["backend_addr"]
    with pytest.raises(psycopg.OperationalError, match="no pg_hba.conf entry"):
        psycopg.connect(dsn(started_other, one))
    with psycopg.connect(dsn(started_one, one)) as db:
        roles = {name for (name,) in db.execute("select rolname from pg_roles where rolname !~ '^pg_'")}
        databases = {name for (name,) in db.execute("select datname from pg_database")}
    assert roles == {"one_user", "spg99_admin", "spg99_safekeeper"}
    assert databases == {"app", "template1"}


async def test_only_its_users_can_enter_the_socket_folder(node: Node) -> None:
    started = await node.start(await node.create())
    folder = Path(started["backend_addr"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_uid == (node.account.uid if node.account else os.geteuid())


def test_the_database_is_the_tenants_own(db: psycopg.Connection) -> None:
    assert db.execute("select pg_get_userbyid(datdba) from pg_database where datname = 'app'").fetchone() == (
        "acme_user",
    )
    db.execute("create schema s create table t (n int primary key)")
    db.execute("create table public.u as select 1")
    db.execute("create function f() returns int language plpgsql as 'begin return 1; end'")
    db.execute("create publication p for table s.t")
    db.execute("alter database app set statement_timeout = '5s'")
    db.execute("alter role acme_user set search_path = s, public")
    db.execute("drop schema public cascade")
    db.execute("create schema public")
    db.execute("alter role acme_user reset search_path")
    db.execute("alter database app reset statement_timeout")


def test_vector_can_be_created_and_used(db: psycopg.Connection) -> None:
    db.execute("create extension vector")
    db.execute("create table items (id int primary key, place vector(3))")
    db.execute("insert into items values (1, '[1,2,3]'), (2, '[4,5,6]')")
    db.execute("create index on items using hnsw (place vector_l2_ops)")
    assert db.execute("select id from items order by place <-> '[4,5,5]' limit 1").fetchone() == (2,)
    db.execute("drop extension vector cascade")


def test_text_sorts_the_same_on_every_machine(db: psycopg.Connection) -> None:
    found = db.execute(
        "select datlocprovider, datlocale, pg_encoding_to_char(encoding) from pg_database where datname = 'app'"
    )
    assert found.fetchone() == ("b", "C.UTF-8", "UTF8")
    assert db.execute("select upper('straße été')").fetchone() == ("STRAßE ÉTÉ",)


async def test_a_tenant_can_take_a_base_backup_of_its_own_cluster(node: Node, tmp_path: Path) -> None:
    timeline = await node.create()
    started = await node.start(timeline)
    command = [
        node.binaries.program("pg_basebackup"), "-h", started["backend_addr"], "-p", str(started["backend_port"]),
        "-U", timeline.pg_user, "-D", tmp_path / "backup", "-X", "stream", "-c", "fast",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "backup" / "PG_VERSION").read_text() == "18\n"
    refused = subprocess.run(
        [*command[:-6], "-t", "server:/tmp/spg99-escape", "-X", "none"], capture_output=True, text=True
    )
    assert refused.returncode != 0 and "permission denied" in refused.stderr


async def test_statements_and_rows_stay_out_of_the_nodes_log(node: Node) -> None:
    timeline = await node.create()
    with psycopg.connect(dsn(await node.start(timeline), timeline), autocommit=True) as db:
        db.execute("create table t (secret text unique)")
        db.execute("insert into t values ('my-secret-row')")
        for statement in ("insert into t values ('my-secret-row')", "select my_secret_column from t"):
            with pytest.raises(psycopg.DatabaseError):
                db.execute(statement)  # type: ignore[call-overload]
    text = node.folder.timeline(timeline.timeline_id).log_file.read_text()
    assert "ready to accept connections" in text
    assert not re.search("secret", text)
