"""`spg99 dbs diff` against a real installation: two databases are made by the same program, then one of them goes on."""

from __future__ import annotations

import json

import psycopg

from integration.commands.test_dump import dsn
from integration.commands.test_look_and_change import answer, spg99
from kit.platform import Platform

MAKE = (
    "create table people (id int primary key, name text not null); create index on people (name); create view names as select name from people;"
    "create function f() returns text language sql as $$ select '\n--\n-- Name: x; Type: TABLE; Schema: public; Owner: -\n--\n' $$;"
    "comment on table people is 'who'; grant select on people to public"
)
GO_ON = (
    "alter table people add column born date; drop view names; create table \"a\x1b[31mb\" (n int); insert into people values (1, 'row');"
    "create or replace function f() returns text language sql as $$ select 'other' $$; comment on table people is null"
)


def test_what_differs_is_shown_by_object(platform: Platform) -> None:
    for tenant, name in (("diffa", "app"), ("diffa", "new"), ("diffb", "app")):
        if name == "app":
            answer(platform, "tenants", "create", tenant)
        answer(platform, "dbs", "create", f"{tenant}/{name}")
        with psycopg.connect(dsn(platform, f"{tenant}/{name}")) as db:
            db.execute(MAKE)
    same = spg99(platform, "dbs", "diff", "diffa/app", "diffb/app")
    assert (same.returncode, same.stdout) == (0, ""), same.stdout + same.stderr
    assert "the same schema" in same.stderr

    with psycopg.connect(dsn(platform, "diffa/new")) as db:
        db.execute(GO_ON)
    done = spg99(platform, "dbs", "diff", "diffa/app", "diffa/new")
    assert done.returncode == 1 and "1 added, 2 removed, 2 changed" in done.stderr, done.stderr
    assert "+++ diffa/new TABLE public.people" in done.stdout and "+    born date" in done.stdout
    assert "--- diffa/app VIEW public.names\n+++ /dev/null" in done.stdout
    assert "\x1b" not in done.stdout and "a\\x1b[31mb" in done.stdout
    password = dsn(platform, "diffa/app").partition("://")[2].partition("@")[0].partition(":")[2]
    assert password not in done.stdout + done.stderr

    found = json.loads(spg99(platform, "dbs", "diff", "diffa/app", "diffa/new", "--json").stdout)
    assert found["same"] is False
    assert [(one["change"], one["type"], one["name"]) for one in found["changes"]] == [
        ("removed", "COMMENT", "TABLE people"),
        ("changed", "FUNCTION", "f()"),
        ("added", "TABLE", "a\x1b[31mb"),
        ("changed", "TABLE", "people"),
        ("removed", "VIEW", "names"),
    ]


def test_what_cannot_be_compared_ends_with_two(platform: Platform) -> None:
    answer(platform, "tenants", "create", "diffc")
    answer(platform, "dbs", "create", "diffc/app")
    done = spg99(platform, "dbs", "diff", "diffc/app", "diffc/none")
    assert done.returncode == 2 and "error: " in done.stderr and "Traceback" not in done.stderr
