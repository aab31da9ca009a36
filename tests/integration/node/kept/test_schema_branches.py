"""Branches without rows on real nodes: the whole schema of the source's moment, and nothing of its rows anywhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.node.kept.branches import Branch, now_of
from integration.node.kept.databases import USER, Database, KeepingNode, lose
from integration.node.kept.test_branches import numbers
from spg99.node.schema_branches import SchemaBrancher
from spg99.postgres import Cluster
from spg99.protocol.tasks import Point

TABLES = 4000
SECRET = "jane.doe@example.org"
SCHEMA = (
    "create schema sales",
    "create extension vector with schema sales",
    "create type sales.kind as enum ('a', 'b')",
    "create domain sales.email as text check (value like '%@%')",
    "create sequence sales.numbers start 1000 increment 7",
    "create table sales.people (id int generated always as identity primary key, mail sales.email not null, kind sales.kind default 'b',"
    " v sales.vector(3), n int default nextval('sales.numbers'), born date, age int generated always as (n * 2) stored)",
    "create table sales.orders (id bigserial primary key, person int references sales.people on delete cascade, at timestamptz) ",
    "create table sales.log (at date not null, line text) partition by range (at)",
    "create table sales.log_2026 partition of sales.log for values from ('2026-01-01') to ('2027-01-01')",
    "create index on sales.log (at)",
    "create unique index people_mail on sales.people (lower(mail)) where kind = 'b'",
    "create view sales.mails as select mail from sales.people",
    "create materialized view sales.counted as select count(*) as n from sales.people",
    "create function sales.f(a int default 1) returns int language sql immutable as $$ select a + 1\n--\n-- Name: x; Type: TABLE\n$$",
    "create function sales.t() returns trigger language plpgsql as $$ begin return new; end $$",
    "create trigger tr before insert on sales.people for each row execute function sales.t()",
    "create rule r as on delete to sales.orders do instead nothing",
    "alter table sales.people enable row level security",
    f"create policy p on sales.people to {USER} using (true)",
    "create statistics sales.st on kind, born from sales.people",
    "create publication pub for table sales.orders",
    "create collation sales.c (provider = builtin, locale = 'C')",
    "comment on table sales.people is 'who'",
    "comment on database app is 'ours'",
    "grant usage on schema sales to public",
    "grant select (id), update (mail) on sales.people to public",
    "alter default privileges in schema sales grant select on tables to public",
    "revoke all on sales.log from acme_user",
    "alter database app set work_mem = '2MB'",
    "alter database app set statement_timeout = '1min'",
    "alter role acme_user set search_path = sales, public, pg_catalog",
    "alter role acme_user set application_name = 'it''s'",
    "alter role acme_user in database app set lock_timeout = '5s'",
    "alter database app connection limit 40",
    "grant connect on database app to public",
)
CATALOGUE = {
    "objects": "select n.nspname, c.relname, c.relkind, pg_get_userbyid(c.relowner), c.relacl, c.relrowsecurity, obj_description(c.oid, 'pg_class')"
    " from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname in ('sales', 'public') order by 1, 2",
    "columns": "select attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attacl,"
    " pg_get_expr(d.adbin, d.adrelid) from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum"
    " where attrelid in (select oid from pg_class where relnamespace = 'sales'::regnamespace) and attnum > 0 order by 1, 2",
    "constraints": "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'sales'::regnamespace order by 1, 2",
    "indexes": "select indexname, indexdef from pg_indexes where schemaname = 'sales' order by 1",
    "functions": "select pg_get_functiondef(oid), pg_get_userbyid(proowner) from pg_proc where proname in ('f', 't') and pronamespace = 'sales'::regnamespace order by 1",
    "others": "select (select array_agg(tgname order by 1) from pg_trigger where not tgisinternal), (select array_agg(polname) from pg_policy),"
    " (select array_agg(rulename::text order by 1) from pg_rules where schemaname = 'sales'), (select array_agg(stxname) from pg_statistic_ext),"
    " (select array_agg(pubname) from pg_publication), (select array_agg(collname) from pg_collation where collnamespace = 'sales'::regnamespace),"
    " (select array_agg(enumlabel::text order by 1) from pg_enum), (select array_agg(defaclacl::text) from pg_default_acl)",
    "extensions": "select extname, extversion, extnamespace::regnamespace::text, pg_get_userbyid(extowner) from pg_extension order by 1",
    "schemas": "select nspname, pg_get_userbyid(nspowner), nspacl from pg_namespace where nspname !~ '^pg_' order by 1",
    "sequences": "select schemaname, sequencename, start_value, increment_by, data_type::text from pg_sequences order by 1, 2",
    "database": "select pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'), (select array_agg(x::text order by x::text) from unnest(datacl) x)"
    " from pg_database where datname = current_database()",
    "settings": "select setdatabase <> 0, setrole::regrole::text, setconfig from pg_db_role_setting order by 1, 2",
    "roles": "select rolname, rolcanlogin, rolsuper, rolreplication from pg_roles where rolname !~ '^pg_' order by 1",
    "members": "select roleid::regrole::text, member::regrole::text from pg_auth_members order by 1, 2",
}


async def catalogue(database: Database) -> dict[str, Any]:
    await database.run("select 1")
    with database.connect() as db:
        db.execute("set search_path = pg_catalog")
        return {name: db.execute(query).fetchall() for name, query in CATALOGUE.items()}


def schema_branch(source: Database, point: Point, **options: Any) -> Branch:
    branch = Branch(source, point, **options)
    branch.origin = branch.origin.model_copy(update={"schema_only": True})
    return branch


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def fill(database: Database) -> None:
    await database.run(*SCHEMA)
    await database.run(
        f"insert into sales.people (mail, v) select n || '{SECRET}', '[1,2,3]' from generate_series(1, 500) n",
        "insert into sales.orders (person, at) select 1, now() from generate_series(1, 100)",
        "refresh materialized view sales.counted",
        "select nextval('sales.numbers')",
        "analyze",
    )


async def test_the_schema_is_there_and_no_row_is_in_files_or_wal(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await fill(database)
    branch = schema_branch(database, await now_of(node, database))
    await branch.start(node)
    assert await catalogue(branch) == await catalogue(database)
    assert await branch.run("select current_database()") == [("preview",)]
    for table in ("people", "orders"):
        assert await branch.run(f"select count(*) from sales.{table}") == [(0,)]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        await branch.run("select * from sales.counted")
    assert await branch.run(
        "select nextval('sales.numbers'), (select count(*) from pg_stats where schemaname = 'sales')"
    ) == [(1000, 0)]
    assert branch.started["branch_lsn"] is not None

    # Not in what the branch is made of, and nothing is left of what it was made from.
    await branch.stop(node)
    await database.run("select 1")
    assert files_with(node.folder.timeline(database.timeline_id).root, SECRET.encode())
    assert not files_with(node.folder.timeline(branch.timeline_id).root, SECRET.encode())
    assert not node.folder.remains()
    assert not node.folder.socket_dir(branch.timeline_id).exists()


async def test_from_its_first_start_on_it_needs_nobody(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    branch = schema_branch(database, await now_of(node, database))
    await branch.start(node)
    await branch.run("insert into t values (7)")
    await database.stop(node)
    await node.keeping.delete(database.timeline_id, database.kept)
    lose(node, branch)
    await branch.start(node)
    assert await numbers(branch) == [7]
    # What begins in it has its rows, and what begins in it without rows has its schema.
    await branch.run("create table u (n int)")
    full = Branch(branch, await now_of(node, branch), name="full")
    await full.start(node)
    assert await numbers(full) == [7]
    empty = schema_branch(branch, await now_of(node, branch), name="empty")
    await empty.start(node)
    assert await numbers(empty) == [] and await empty.run("select count(*) from u") == [(0,)]


@pytest.mark.slow  # again
async def test_a_schema_that_public_was_dropped_from_and_a_moment(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    await database.run("create schema s", "create table s.t (n int)", "drop schema public")
    moment = (await database.run("select clock_timestamp()"))[0][0]
    await database.run("create table s.late (n int)", "alter database app set default_transaction_read_only = on")
    branch = schema_branch(database, Point(time=moment))
    await branch.start(node)
    assert await branch.run("select relname::text from pg_class where relnamespace = 's'::regnamespace") == [("t",)]
    assert await branch.run("select to_regnamespace('public')") == [(None,)]
    late = schema_branch(database, await now_of(node, database), name="late")
    await late.start(node)
    assert await late.run(
        "show default_transaction_read_only",
    ) == [("on",)]


@pytest.mark.slow  # broken: an agent that was killed while a schema was read
async def test_what_a_killed_agent_left_is_ended_and_removed_and_the_start_is_tried_again(
    node: KeepingNode, database: Database
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    for ends_it in (node.timelines.sweep, None):
        branch = schema_branch(database, await now_of(node, database))
        left = node.folder.sandbox(branch.timeline_id)
        await node.timelines._copy(left.root)
        cluster = Cluster(left.data_dir, node.folder.socket_dir(branch.timeline_id), node.binaries, node.account)
        pid = (await cluster.start({"fsync": "off"})).pid
        if ends_it is not None:
            await ends_it()
            assert not cluster.lives(pid) and not node.folder.remains()
        await branch.start(node)
        assert not cluster.lives(pid) and not node.folder.remains()
        assert await numbers(branch) == []


async def test_a_schema_that_cannot_be_made_anew_says_why_and_nothing_is_left(
    node: KeepingNode, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.start(node)
    await database.run("create table t (n int)", "create index on t (n)", "insert into t values (1)")
    branch = schema_branch(database, await now_of(node, database))
    real = SchemaBrancher._dump

    async def damaged(self: SchemaBrancher, *arguments: Any) -> int:
        lsn = await real(self, *arguments)
        file = arguments[-1].dump_file
        file.write_bytes(file.read_bytes().replace(b"INDEX t_n_idx ON", b"INDEX t_n_idx OF"))
        return lsn

    monkeypatch.setattr(SchemaBrancher, "_dump", damaged)
    await branch.start(node, error="The schema of the source cannot be made anew: pg_restore")
    assert not node.folder.remains() and not node.folder.timeline(branch.timeline_id).root.exists()
    monkeypatch.setattr(SchemaBrancher, "_dump", real)
    await branch.start(node)
    assert await numbers(branch) == []


@pytest.mark.slow  # again: of many tables, which pg_dump locks all at once
async def test_a_schema_of_many_tables(node: KeepingNode, database: Database) -> None:
    await database.start(node)
    make = "create table t{0} (n int); comment on table t{0} is 'number {0}'"
    for begin in range(0, TABLES, 100):
        await database.run(";".join(make.format(number) for number in range(begin, begin + 100)))
    branch = schema_branch(database, await now_of(node, database))
    began = time.monotonic()
    await branch.start(node)
    print(f"{TABLES} tables after {time.monotonic() - began:.1f} s")
    assert await branch.run("select count(*) from pg_class where relkind = 'r' and relname ~ '^t[0-9]'") == [(TABLES,)]
    lose(node, branch)
    await branch.start(node)
    assert await branch.run("select obj_description('t17'::regclass), count(*) from t17") == [("number 17", 0)]
