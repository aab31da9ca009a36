"""`spg99 dbs export` and `import` against a real installation: a database leaves with all its rows and comes into another, or nothing happens."""

from __future__ import annotations

import socket
from pathlib import Path

import psycopg
import pytest

from integration.commands.test_look_and_change import answer, spg99
from kit.platform import Platform

MAKE = (
    "create table people (id int primary key, name text not null); insert into people select n, 'name ' || n from generate_series(1, 2000) n;"
    "create view names as select name from people; create sequence s; select nextval('s'); create function twice(int) returns int language sql as 'select 2 * $1'"
)


def dsn(platform: Platform, database: str) -> str:
    return str(answer(platform, "dbs", "get", database, "--show-secrets")["connection_string"])


@pytest.fixture
def filled(platform: Platform, request: pytest.FixtureRequest) -> str:
    """A tenant with a database that has tables, and an empty one."""
    tenant = "d" + "".join(c for c in request.node.name if c.isalnum()).lower()[-30:]
    answer(platform, "tenants", "create", tenant)
    for name in ("app", "copy"):
        answer(platform, "dbs", "create", f"{tenant}/{name}")
    with psycopg.connect(dsn(platform, f"{tenant}/app")) as db:
        db.execute(MAKE)
    return tenant


def content(platform: Platform, database: str) -> tuple[object, ...]:
    with psycopg.connect(dsn(platform, database)) as db:
        return (
            db.execute("select count(*), min(name), twice(21), (select last_value from s) from people").fetchone() or ()
        )


def tables(platform: Platform, database: str) -> int:
    with psycopg.connect(dsn(platform, database)) as db:
        (number,) = db.execute("select count(*) from pg_stat_user_tables").fetchone() or (None,)
        return int(number)


@pytest.mark.parametrize("options", [(), ("--plain",)])
def test_out_and_in_again(platform: Platform, filled: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    file = tmp_path / "file"
    done = spg99(platform, "dbs", "export", f"{filled}/app", "-o", str(file), *options)
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600 and [*tmp_path.iterdir()] == [file]
    again = spg99(platform, "dbs", "export", f"{filled}/app", "-o", str(file))
    assert again.returncode == 1 and "--overwrite" in again.stderr
    done = spg99(platform, "dbs", "import", f"{filled}/copy", str(file))
    assert done.returncode == 0, done.stderr
    assert content(platform, f"{filled}/copy") == content(platform, f"{filled}/app") == (2000, "name 1", 42, 1)


def test_from_a_running_server_and_only_into_an_empty_one(platform: Platform, filled: str) -> None:
    source = dsn(platform, f"{filled}/app")
    done = spg99(platform, "dbs", "import", f"{filled}/copy", source)
    assert done.returncode == 0, done.stderr
    assert content(platform, f"{filled}/copy") == content(platform, f"{filled}/app")
    password = source.partition("://")[2].partition("@")[0].partition(":")[2]
    assert password not in done.stderr + done.stdout
    again = spg99(platform, "dbs", "import", f"{filled}/copy", source)
    assert again.returncode == 1 and "has tables already" in again.stderr


def test_what_fails_has_changed_nothing(platform: Platform, filled: str, tmp_path: Path) -> None:
    file = tmp_path / "app.dump"
    assert spg99(platform, "dbs", "export", f"{filled}/app", "-o", str(file)).returncode == 0
    cut = tmp_path / "cut.dump"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    done = spg99(platform, "dbs", "import", f"{filled}/copy", str(cut))
    assert done.returncode == 1 and "pg_restore has failed, and nothing was changed" in done.stderr
    sql = tmp_path / "half.sql"
    sql.write_text("create table half (n int);\nselect no_such_function();\n")
    done = spg99(platform, "dbs", "import", f"{filled}/copy", str(sql))
    assert done.returncode == 1 and "no_such_function" in done.stderr and "Traceback" not in done.stderr
    assert tables(platform, f"{filled}/copy") == 0
    missing = spg99(platform, "dbs", "import", f"{filled}/copy", str(tmp_path / "none"))
    assert missing.returncode == 1 and "There is no file" in missing.stderr


def test_a_source_that_is_not_there_is_named(platform: Platform, filled: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = spg99(platform, "dbs", "import", f"{filled}/copy", f"postgresql://me:secret@127.0.0.1:{port}/db")
    assert (
        done.returncode == 1
        and "pg_dump has failed" in done.stderr
        and f"127.0.0.1:{port} cannot be reached" in done.stderr
    )
    assert "secret" not in done.stderr
