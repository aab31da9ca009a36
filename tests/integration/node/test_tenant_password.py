"""A tenant's role cannot change its password in the database, by no way that PostgreSQL knows: it would have no effect."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
import structlog

from integration.node.conftest import Node, dsn
from spg99.node.folder import NodeFolder
from spg99.node.template import TENANT_RULES, prepare_extensions
from spg99.postgres import Account, Binaries, Cluster
from spg99.protocol.tasks import TimelineCreate

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the library is built on Linux"),
    pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"),
]

VERIFIER = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$" + "A" * 43 + "=:" + "A" * 43 + "="
STATEMENTS = {
    "current_user": "alter role current_user password 'x'",
    "user": "alter user current_user password 'x'",
    "session_user": "alter role session_user with password 'x'",
    "name": "alter role acme_user password 'x'",
    "quoted name": 'alter user "acme_user" with encrypted password \'x\'',
    "none at all": "alter role current_user password null",
    "empty": "alter role current_user password ''",
    "verifier": f"alter role current_user password '{VERIFIER}'",
    "DO block": "do $$ begin alter role current_user password 'x'; end $$",
    "put together": "do $$ begin execute 'al' || 'ter ro' || 'le current_user pass' || 'word ''x'''; end $$",
    "handled in a block": "do $$ begin begin alter role current_user password 'x'; exception when others then raise; end; end $$",
    "function": "select pg_temp.change()",
    "function of the definer": "select pg_temp.change_as_definer()",
    "SQL function": "select pg_temp.change_in_sql()",
    "procedure": "call pg_temp.change_by_call()",
    "trigger": "insert into changes values (1)",
    "several statements": "select 1; alter role current_user password 'x'; select 2",
    "md5": "set password_encryption = 'md5'; alter role current_user password 'x'",
}  # fmt: skip
PREPARE = """
create or replace function pg_temp.change() returns int language plpgsql as
    $$ begin alter role current_user password 'x'; return 1; end $$;
create or replace function pg_temp.change_as_definer() returns int language plpgsql security definer as
    $$ begin alter role current_user password 'x'; return 1; end $$;
create or replace function pg_temp.change_in_sql() returns void language sql as
    $$ alter role current_user password 'x' $$;
create or replace procedure pg_temp.change_by_call() language plpgsql as
    $$ begin commit; alter role current_user password 'x'; end $$;
create or replace function pg_temp.on_insert() returns trigger language plpgsql as
    $$ begin alter role current_user password 'x'; return new; end $$;
create temporary table changes (i int);
create trigger changes before insert on changes for each row execute function pg_temp.on_insert();
"""


@pytest.fixture(scope="session")
def with_rules(prepared: tuple[Binaries, Account | None, Path, Path], session_data_dir: Path) -> Path:
    """The extensions' folder with the library in it, as set-up and agent make it."""
    subprocess.run([ROOT / "provider/tenant_rules/build", sys.executable], check=True)
    assert TENANT_RULES.is_file()
    return prepare_extensions(NodeFolder.prepare(session_data_dir, "with_rules", prepared[1]), prepared[0])


@pytest_asyncio.fixture
async def node(
    data_dir: Path, prepared: tuple[Binaries, Account | None, Path, Path], with_rules: Path
) -> AsyncIterator[Node]:
    binaries, account, template, _ = prepared
    node = Node(NodeFolder.prepare(data_dir, "n1", account), binaries, account, template, with_rules)
    yield node
    await node.end()


def refused(run: Callable[[], object]) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported) as error:
        run()
    assert error.value.diag.message_primary == 'the password of role "acme_user" cannot be changed in the database'
    assert "rotate-credentials" in (error.value.diag.message_hint or "")
    assert "Nothing was changed" in (error.value.diag.message_detail or "")


def try_everything(started: dict[str, Any], timeline: TimelineCreate) -> None:
    for statement in STATEMENTS.values():
        with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
            db.execute(PREPARE)
            refused(lambda db=db, statement=statement: db.execute(statement))
            assert db.execute("select 1").fetchone() == (1,), "the session goes on"
    with psycopg.connect(dsn(started, timeline)) as db:  # in a transaction
        db.execute("create table kept (i int)")
        db.execute("savepoint before")
        refused(lambda: db.execute("alter role current_user password 'x'"))
        db.execute("rollback to before")
        db.commit()
        assert db.execute("select count(*) from kept").fetchone() == (0,)
    with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
        refused(lambda: db.execute("alter role current_user password 'x'", prepare=True))

        def in_a_pipeline() -> None:
            with db.pipeline():
                db.execute("alter role current_user password 'x'")

        refused(in_a_pipeline)
        # What psql's \password sends.
        if psycopg.pq.version() >= 170000:
            with pytest.raises(psycopg.Error, match="cannot be changed in the database"):
                db.pgconn.change_password(b"acme_user", b"another")
    with psycopg.connect(dsn(started, timeline, replication="database"), autocommit=True) as db:
        refused(lambda: psycopg.ClientCursor(db).execute("alter role current_user password 'x'"))


async def test_refused_by_every_way_and_nothing_is_changed(node: Node) -> None:
    timeline = await node.create(database_name="app", pg_user="acme_user")
    started = await node.start(timeline)
    try_everything(started, timeline)
    with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
        # What a role may say of itself besides goes through.
        db.execute("alter role current_user set search_path = app")
        db.execute("alter role current_user reset search_path")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("alter role spg99_admin password 'x'")
    await node.computes.stop_all("to look into its files")
    files = node.folder.timeline(timeline.timeline_id)
    cluster = Cluster(files.data_dir, node.folder.socket_dir("cmp_look"), node.binaries, node.account)
    out, _ = await cluster._run(
        "postgres", "--single", "-D", cluster.data_dir, "template1",
        stdin="select rolname from pg_authid where rolpassword is not null\n",
    )  # fmt: skip
    assert "rolname" in out
    assert "acme_user" not in out


async def test_the_clients_address_cannot_be_changed(node: Node) -> None:
    timeline = await node.create(database_name="app", pg_user="acme_user")
    started = await node.start(timeline)
    with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
        assert db.execute("select current_setting('spg99.client_addr')").fetchone() == ("",)
        for statement in (
            "set spg99.client_addr = '192.0.2.66'",
            "select set_config('spg99.client_addr', '192.0.2.66', false)",
            "create function pg_temp.f() returns int language sql set spg99.client_addr = 'x' as 'select 1'",
        ):
            with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
                db.execute(statement)  # type: ignore[call-overload]


def test_without_the_library_the_agent_says_so(
    prepared: tuple[Binaries, Account | None, Path, Path], data_dir: Path
) -> None:
    folder = NodeFolder.prepare(data_dir, "bare", prepared[1])
    with structlog.testing.capture_logs() as logged:
        home = prepare_extensions(folder, prepared[0], tenant_rules=data_dir / "none.so")
    assert not (home / TENANT_RULES.name).exists()
    assert [line for line in logged if "accepted without effect" in line["event"]]
