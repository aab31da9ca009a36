"""Reading a moment of a database through a real Gateway: `app@<time>` at the same endpoint, with the same password, and nothing of it afterwards."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

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


def refused(platform: Platform, database: str, **options: Any) -> str:
    """SQLSTATE and sentence of a refusal. (psycopg says no SQLSTATE of a connection that failed: a look at the wire would.)"""
    with pytest.raises(psycopg.OperationalError) as error:
        connect(platform, database, **options).close()
    return str(error.value)


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
            listed = kept.api("GET", "/tenants/acme/dbs").json()["items"]
            assert [one["name"] for one in listed] == ["app"]
        after = kept.database()
        assert [after[field] for field in ("writer_term", "timeline")] == [
            before[field] for field in ("writer_term", "timeline")
        ]
        wait_for("the moment is gone", lambda: not moments(kept) and not kept.computes("mom_"))
    with kept.catalogue() as catalogue:
        wait_for(
            "nothing is known of it",
            lambda: (
                catalogue.execute(
                    "select (select count(*) from databases where moment_of is not null) + (select count(*) from timeline_pins)"
                ).fetchall()
                == [(0,)]
            ),
        )
