"""Reading a moment of a database through a real Gateway: `app@<time>` at the same endpoint, with the same password, and nothing of it afterwards."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kit.platform import Platform
from kit.waits import wait_for


@pytest.fixture(scope="module")
def kept() -> Iterator[Platform]:
    """A platform whose databases have a safekeeper, and whose moments end soon."""
    folder = Path(tempfile.mkdtemp(prefix="spg99-"))
    folder.chmod(0o711)
    platform = Platform(folder, arguments=("--safekeeper",)).start()
    policy(platform, "storage.moment_linger_seconds", 1)
    platform.create_database()
    yield platform
    platform.stop()
    shutil.rmtree(folder, ignore_errors=True)


def policy(platform: Platform, key: str, value: int) -> None:
    with platform.catalogue() as catalogue:
        catalogue.execute("delete from policy_values where key = %s", (key,))
        catalogue.execute(
            "insert into policy_values (key, scope, value) values (%s, 'global', %s::jsonb)", (key, str(value))
        )


def connect(platform: Platform, database: str, **options: Any) -> psycopg.Connection[Any]:
    """With the DSN of `app`, and another name of the database."""
    return psycopg.connect(
        make_conninfo(platform.dsn(), dbname=database), autocommit=True, connect_timeout=60, **options
    )


def moments(platform: Platform) -> list[str]:
    """What lies on the node of moments."""
    return [path.name for path in (platform.data_dir / "node").glob("*/timelines/*mom_*")]


def refused(platform: Platform, database: str, *, password: str | None = None) -> tuple[str, str]:
    """SQLSTATE and sentence. (libpq keeps the first to itself when connecting; asyncpg tells.)"""
    told = conninfo_to_dict(platform.dsn())

    async def connect() -> None:
        connection = await asyncpg.connect(
            host=told["host"], port=told["port"], user=told["user"], password=password or told["password"],
            database=database, ssl=ssl.create_default_context(cafile=str(told["sslrootcert"])), timeout=60,
        )  # fmt: skip
        await connection.close()

    with pytest.raises(asyncpg.PostgresError) as error:
        asyncio.run(connect())
    return str(error.value.sqlstate), str(error.value)


def name_at(platform: Platform, dbname: str = "app") -> str:
    """This very moment of `app`."""
    with connect(platform, dbname) as app:
        ((moment,),) = app.execute("select clock_timestamp()").fetchall()
    return f"{dbname}@{moment.isoformat().replace('+00:00', 'Z')}"


def until_gone(platform: Platform) -> None:
    wait_for("the moment is gone", lambda: not moments(platform) and not platform.computes("mom_"))
    with platform.catalogue() as catalogue:
        left = (
            "select (select count(*) from databases where moment_of is not null) + (select count(*) from timeline_pins)"
        )
        wait_for("nothing is known of it", lambda: catalogue.execute(left).fetchall() == [(0,)])


def test_deleted_rows_are_read_at_the_moment_before_and_nothing_of_it_stays(kept: Platform) -> None:
    with connect(kept, "app") as app:
        app.execute("create table t (n int)")
        app.execute("insert into t select generate_series(1, 100)")
        ((moment,),) = app.execute("select clock_timestamp()").fetchall()
        app.execute("delete from t where n > 10")
        before = kept.database()
        name = f"app@{moment.isoformat().replace('+00:00', 'Z')}"
        begin = time.monotonic()
        with connect(kept, name) as past, connect(kept, f"app@{moment.isoformat()}") as same:
            print(f"two clients after {time.monotonic() - begin:.2f} s")
            assert past.execute("select count(*), current_database() from t").fetchall() == [(100, "app")]
            assert (
                same.execute("select inet_server_addr(), pg_postmaster_start_time()").fetchall()
                == past.execute("select inet_server_addr(), pg_postmaster_start_time()").fetchall()
            )
            past.execute("set work_mem = '2MB'")
            for statement in ("insert into t values (1)", "create temp table x (n int)"):
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    past.execute(statement)
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                past.execute("set transaction_read_only = off")
            # The database goes on as if nobody looked back.
            app.execute("insert into t values (11)")
            assert app.execute("select count(*) from t").fetchall() == [(11,)]
            assert len(moments(kept)) == 1 and len(kept.computes("mom_")) == 1
            (shown,) = wait_for(
                "both are counted",
                lambda: [
                    one
                    for one in kept.api("GET", "/tenants/acme/moments").json()["items"]
                    if one["active_connections"] == 2
                ],
            )
            assert (shown["name"], shown["state"]) == (name, "ready") and shown["lsn"]
            listed = kept.api("GET", "/tenants/acme/dbs").json()["items"]
            assert "app" in [one["name"] for one in listed] and not any("@" in one["name"] for one in listed)
        after = kept.database()
        assert [after[field] for field in ("writer_term", "timeline")] == [
            before[field] for field in ("writer_term", "timeline")
        ]
        until_gone(kept)


def test_a_place_and_a_snapshot_are_moments_too_and_several_have_a_bound(kept: Platform) -> None:
    with connect(kept, "app") as app:
        app.execute("create table w (n int)")
        app.execute("insert into w values (1)")
        ((lsn,),) = app.execute("select pg_current_wal_lsn()").fetchall()
        kept.api("POST", "/tenants/acme/snapshots", json={"name": "first", "database": "app"}).raise_for_status()
        app.execute("insert into w values (2)")
        policy(kept, "storage.moments_max", 2)
        with connect(kept, f"app@{lsn}") as at_place, connect(kept, "app@first") as at_snapshot:
            for past in (at_place, at_snapshot):
                assert past.execute("select n from w").fetchall() == [(1,)]
            assert len(kept.computes("mom_")) == 2
            sqlstate, sentence = refused(kept, name_at(kept))
            assert sqlstate == "53400" and "has 2 moments open for reading" in sentence, sentence
            # A moment that is open already is one of them.
            connect(kept, "app@first").close()
    kept.api("DELETE", "/tenants/acme/snapshots/first").raise_for_status()
    until_gone(kept)


def test_what_is_no_moment_is_refused_with_what_is_kept_and_leaves_nothing(kept: Platform) -> None:
    now = name_at(kept)
    for database, sentence in (
        ("app@2020-01-01T00:00:00Z", r"the moment is before the history that is kept of 'app', from 20\d\d-.* to now"),
        ("app@2099-01-01T00:00:00Z", r"the moment lies in the future: it is 20\d\d-"),
        ("app@FFFF/0", r"the moment is outside of the history that is kept of 'app', from 0/\w+ to 0/\w+"),
        ("app@yesterday at noon", "is no moment of a database: write a time with its zone"),
        ("app@2026-11-26T10:00:00", "has no zone"),
        ("app@nothing", 'has no snapshot "nothing"'),
        ("nothing@2026-11-26T10:00:00Z", 'database "nothing@2026-11-26T10:00:00Z" does not exist'),
        ("@0/1", 'database "@0/1" does not exist'),
    ):
        sqlstate, said = refused(kept, database)
        assert sqlstate == "3D000" and re.search(sentence, said), (database, said)
    # Who cannot log in learns nothing of moments.
    assert refused(kept, now, password="wrong") == refused(kept, "nothing", password="wrong")
    kept.create_database(name="new")
    sqlstate, said = refused(kept, now.replace("app@", "new@"))
    assert sqlstate == "3D000" and "was never started" in said, said
    policy(kept, "storage.safekeepers", 0)
    try:
        kept.create_database(name="alone")
        sqlstate, said = refused(kept, name_at(kept, "alone"))
    finally:
        policy(kept, "storage.safekeepers", 1)
    assert sqlstate == "3D000" and "has no safekeepers" in said, said
    until_gone(kept)


def test_a_deleted_database_takes_its_moments_along(kept: Platform) -> None:
    kept.create_database(name="brief")
    with connect(kept, name_at(kept, "brief")) as past:
        assert kept.api("DELETE", "/tenants/acme/dbs/brief?force=true").status_code == 202
        with pytest.raises(psycopg.OperationalError):
            wait_for("who reads is ended", lambda: past.execute("select pg_sleep(0.05)") is None)
    until_gone(kept)


@pytest.mark.slow  # broken: it has its unit test
def test_a_killed_server_is_opened_anew_and_a_killed_agent_ends_nobody(kept: Platform) -> None:
    name = name_at(kept)
    connect(kept, name).close()
    (postmaster,) = kept.computes("mom_")
    postmaster.kill()
    with connect(kept, name) as past:
        before = kept.child("agent")
        os.kill(before, signal.SIGKILL)
        wait_for("another agent", lambda: kept.child("agent") not in (0, before))
        assert past.execute("select 1").fetchall() == [(1,)]
        assert connect(kept, name).execute("select 1").fetchall() == [(1,)]
    until_gone(kept)
