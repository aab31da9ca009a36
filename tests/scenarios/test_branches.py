"""Previews and second thoughts on a whole platform with a safekeeper: branch, write on both sides, and see what is where."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from integration.commands.test_look_and_change import spg99
from kit.platform import BIN, Platform
from kit.waits import wait_for
from spg99.postgres import Cluster, find_binaries, service_account
from spg99.prepared import PACKAGE
from terraform_cli import Workspace, attached, settings_of


@pytest.fixture(scope="module")
def kept() -> Iterator[Platform]:
    """A platform whose databases have a safekeeper."""
    folder = Path(tempfile.mkdtemp(prefix="spg99-"))
    folder.chmod(0o711)
    platform = Platform(folder, arguments=("--safekeeper",)).start()
    yield platform
    platform.stop()
    shutil.rmtree(folder, ignore_errors=True)


def rows(platform: Platform, name: str, *statements: str) -> list[Any]:
    """What the last statement answers, in a connection of its own."""
    dsn = platform.database(name=name)["connection_string"]
    with psycopg.connect(dsn, autocommit=True, connect_timeout=60) as db:
        for statement in statements[:-1]:
            db.execute(statement)
        cursor = db.execute(statements[-1])
        return [row[0] for row in cursor.fetchall()] if cursor.description else []


def test_a_preview_has_what_was_there_and_both_sides_go_their_own_way(kept: Platform) -> None:
    kept.create_database(name="origin")
    rows(kept, "origin", "create table t (n int)", "insert into t select generate_series(1, 1000)")
    begin = time.monotonic()
    answer = kept.api("POST", "/tenants/acme/dbs", json={"name": "preview", "source_database": "origin"})
    seconds = time.monotonic() - begin
    assert answer.status_code == 201, answer.text
    branch = answer.json()
    assert (branch["state"], branch["source_database"]) == ("stopped", "origin") and branch["branch_lsn"]
    rows(kept, "origin", "insert into t values (1001)")
    begin = time.monotonic()
    assert rows(kept, "preview", "select count(*) from t") == [1000]
    print(f"answered after {seconds * 1000:.0f} ms, first query after {(time.monotonic() - begin) * 1000:.0f} ms")
    rows(kept, "preview", "delete from t where n > 10")
    assert rows(kept, "origin", "select count(*) from t") == [1001]
    assert rows(kept, "preview", "select current_database() || count(*) from t") == ["preview10"]
    assert kept.api("DELETE", "/tenants/acme/dbs/preview?force=true").status_code == 202


def test_a_branch_of_what_has_no_safekeepers_or_no_such_moment_is_refused_at_its_field(kept: Platform) -> None:
    if kept.api("GET", "/tenants/acme/dbs/app").status_code == 404:
        kept.create_database()
        rows(kept, "app", "select 1")
    for wrong, field in (
        ({"source_time": "2020-01-01T00:00:00Z"}, "source_time"),
        ({"source_lsn": "FFFF/0"}, "source_lsn"),
        ({"source_database": "nothing"}, "source_database"),
        ({"source_database": "late"}, "source_database"),
        ({"source_time": "2020-01-01T00:00:00Z", "source_lsn": "0/1"}, "source_lsn"),
    ):
        body = {"name": "late", "source_database": "app", **wrong}
        answer = kept.api("POST", "/tenants/acme/dbs", json=body)
        assert answer.status_code == 400 and field in answer.json()["details"]["fields"], answer.text
    assert kept.api("GET", "/tenants/acme/dbs/late").status_code == 404


def test_a_bad_delete_is_undone_in_place_and_what_was_there_before_stays_beside_it(kept: Platform) -> None:
    made = kept.create_database(name="shop")
    rows(kept, "shop", "create table t (n int)", "insert into t select generate_series(1, 500)")
    (moment,) = rows(kept, "shop", "select clock_timestamp()")
    dsn = kept.database(name="shop")["connection_string"]
    with psycopg.connect(dsn, autocommit=True) as client:
        client.execute("delete from t")
        client.execute("insert into t values (7)")
        body = {"restore_trigger": "1", "restore_to": moment.isoformat()}
        answer = kept.api("PATCH", "/tenants/acme/dbs/shop", json=body)
        assert answer.status_code == 200, answer.text
        with pytest.raises(psycopg.OperationalError) as ended:
            client.execute("select pg_sleep(60)")
        assert "terminating connection" in str(ended.value) or "compute has ended" in str(ended.value)
    after = answer.json()
    assert (after["db_id"], after["connection_string"]) == (made["db_id"], made["connection_string"])
    assert after["timeline"] != made["timeline"]
    assert rows(kept, "shop", "select count(*) from t") == [500]
    (before,) = [
        one for one in kept.api("GET", "/tenants/acme/dbs").json()["items"] if one["name"].startswith("shop_before_")
    ]
    assert rows(kept, before["name"], "select n from t") == [7]
    # The same again changes nothing.
    rows(kept, "shop", "insert into t values (501)")
    again = kept.api("PATCH", "/tenants/acme/dbs/shop", json=body).json()
    assert again["timeline"] == after["timeline"] and rows(kept, "shop", "select count(*) from t") == [501]


def test_a_snapshot_is_begun_in_and_gone_back_to(kept: Platform) -> None:
    kept.create_database(name="books")
    rows(kept, "books", "create table t (n int)", "insert into t values (1)")
    answer = kept.api("POST", "/tenants/acme/snapshots", json={"name": "first", "database": "books"})
    assert answer.status_code == 201 and answer.json()["snapshot_lsn"], answer.text
    rows(kept, "books", "insert into t values (2)")
    kept.api("POST", "/tenants/acme/dbs", json={"name": "of_first", "source_snapshot": "first"}).raise_for_status()
    assert rows(kept, "of_first", "select n from t order by n") == [1]
    assert kept.api("DELETE", "/tenants/acme/dbs/books?force=true").status_code == 409
    body = {"restore_trigger": "1", "restore_to": "first"}
    kept.api("PATCH", "/tenants/acme/dbs/books", json=body).raise_for_status()
    assert rows(kept, "books", "select n from t order by n") == [1]


SCHEDULED = """
resource "spg99_tenant" "shop" {
  name = "shop"
}
resource "spg99_database" "orders" {
  tenant = spg99_tenant.shop.name
  name   = "orders"
}
resource "spg99_snapshot_schedule" "nightly" {
  tenant   = spg99_tenant.shop.name
  name     = "nightly"
  database = spg99_database.orders.name
  cron     = "%s"
  keep     = 2
  verify   = true
}
"""


@pytest.mark.slow  # again
def test_a_schedule_is_declared_keeps_real_moments_and_goes_with_its_database_in_the_order_of_a_destroy(
    kept: Platform, tmp_path: Path
) -> None:
    def snapshots() -> list[Any]:
        found: list[Any] = kept.api("GET", "/tenants/shop/snapshots").json()["items"]
        return sorted(found, key=lambda one: str(one["created_at"]))

    def make_one() -> None:
        before = {one["snapshot_id"] for one in snapshots()}
        with kept.catalogue() as catalogue:
            catalogue.execute("update snapshot_schedules set next_snapshot_at = now(), attempt_at = now()")
        wait_for("another snapshot", lambda: bool({one["snapshot_id"] for one in snapshots()} - before))

    folder = tmp_path / "configuration"
    with attached(PACKAGE, environment={"TF_DATA_DIR": str(folder / ".terraform")}) as environment:
        settings = settings_of(kept.env["SPG99_CP_URL"], kept.env["SPG99_API_KEY"])
        work = Workspace(folder, environment=environment, settings=settings)
        wrong = work.write(SCHEDULED % "61 2 * * *").run("plan", check=False)
        assert wrong.code == 1 and "minute '61' is not one that cron knows" in wrong.text
        work.write(SCHEDULED % "30 2 * * *").apply()
        assert work.values("spg99_snapshot_schedule.nightly")["next_snapshot_at"].endswith("02:30:00Z")
        dsn = kept.database("shop", "orders")["connection_string"]
        for n in range(3):
            with psycopg.connect(dsn, autocommit=True, connect_timeout=60) as db:
                db.execute("create table if not exists t (n int)")
                db.execute(f"insert into t values ({n})")
            make_one()
        made = snapshots()
        assert [one["schedule"] for one in made] == ["nightly"] * 2 and made[0]["name"].startswith("nightly_20")
        wait_for("the latest to be verified", lambda: snapshots()[-1]["last_verified_at"] is not None, seconds=60)
        assert snapshots()[-1]["last_error"] is None
        body = {"name": "look", "source_snapshot": made[0]["name"]}
        kept.api("POST", "/tenants/shop/dbs", json=body).raise_for_status()
        with psycopg.connect(kept.database("shop", "look")["connection_string"], connect_timeout=60) as db:
            assert db.execute("select n from t order by n").fetchall() == [(0,), (1,)]
        assert kept.api("DELETE", "/tenants/shop/dbs/look?force=true").status_code == 202
        # What the schedule has made is no difference, and a change of it goes in place.
        assert work.plan().is_empty
        plan = work.write(SCHEDULED % "@hourly").plan()
        assert plan.changes["spg99_snapshot_schedule.nightly"].actions == ["update"]
        work.apply()
        assert len(snapshots()) == 2
        refused = kept.api("DELETE", "/tenants/shop/dbs/orders?force=true")
        assert refused.status_code == 409 and "'nightly'" in refused.json()["message"], refused.text
        work.destroy()
    assert kept.api("GET", "/tenants/shop").status_code == 404


def typed(platform: Platform, *arguments: str) -> str:
    """What a command answers."""
    done = subprocess.run(
        [BIN / "spg99", *arguments], env={**os.environ, **platform.env},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_database_that_was_deleted_while_clients_wrote_comes_back_with_every_row(kept: Platform) -> None:
    made = kept.create_database(name="ledger")
    dsn = kept.database(name="ledger")["connection_string"]
    acknowledged = 0
    with psycopg.connect(dsn, autocommit=True) as client:
        client.execute("create table t (n int)")
        for acknowledged in range(1, 301):
            client.execute("insert into t values (%s)", (acknowledged,))
        assert kept.api("DELETE", "/tenants/acme/dbs/ledger?force=true").status_code == 202
        wait_for("it to be gone", lambda: kept.api("GET", "/tenants/acme/dbs/ledger").status_code == 404)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(dsn, autocommit=True)
    (line,) = [one for one in typed(kept, "dbs", "list", "acme", "--deleted").splitlines() if made["db_id"] in one]
    assert line.split()[:2] == ["acme", "ledger"]
    typed(kept, "dbs", "undelete", "acme/ledger")
    back = kept.database(name="ledger")
    assert (back["db_id"], back["timeline"], back["connection_string"]) == (made["db_id"], made["timeline"], dsn)
    assert rows(kept, "ledger", "select count(*) from t") == [acknowledged]
    # Once more, and all that its node has of it is lost meanwhile.
    typed(kept, "dbs", "delete", "acme/ledger", "--yes", "--force")
    shutil.rmtree(kept.data_dir / "node" / "node-1" / "timelines" / made["timeline"])
    typed(kept, "dbs", "undelete", "acme/ledger", "--as", "old_ledger", "--id", made["db_id"])
    assert rows(kept, "old_ledger", "select count(*) from t") == [acknowledged]
    assert "old_ledger" in typed(kept, "dbs", "list", "acme")
    assert made["db_id"] not in typed(kept, "dbs", "list", "acme", "--deleted")


def test_a_preview_without_rows_has_the_same_schema(kept: Platform) -> None:
    kept.create_database(name="people")
    rows(kept, "people", "create table p (mail text)", "insert into p values ('jane.doe@example.org')", "select 1")
    done = spg99(kept, "dbs", "branch", "acme/people", "blank", "--schema-only", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema_only"] is True
    assert rows(kept, "blank", "select count(*) from p") == [0]
    assert spg99(kept, "dbs", "diff", "acme/people", "acme/blank").returncode == 0
    rows(kept, "blank", "alter table p add n int", "select 1")
    done = spg99(kept, "dbs", "diff", "acme/people", "acme/blank")
    assert done.returncode == 1 and "+    n integer" in done.stdout, done.stdout + done.stderr
    answer = kept.api("POST", "/tenants/acme/dbs", json={"name": "none", "schema_only": True})
    assert answer.status_code == 400 and "schema_only" in answer.json()["details"]["fields"], answer.text
    assert kept.api("PATCH", "/tenants/acme/dbs/blank", json={"schema_only": False}).status_code == 400


def test_what_a_deleted_database_leaves_has_every_row(kept: Platform) -> None:
    kept.create_database(name="neighbour")  # and its tenant
    for name, on_delete in (("diary", "snapshot_then_delete"), ("album", "retain")):
        typed(kept, "dbs", "create", f"acme/{name}", "--on-delete", on_delete)
        dsn = kept.database(name=name)["connection_string"]
        with psycopg.connect(dsn, autocommit=True, connect_timeout=60) as client:
            client.execute("create table t (n int)")
            for n in range(100):
                client.execute("insert into t values (%s)", (n,))
            typed(kept, "dbs", "delete", f"acme/{name}", "--yes", "--force")
    (snapshot,) = kept.api("GET", "/tenants/acme/snapshots", params={"database": "diary"}).json()["items"]
    # Also when the time is over in which the database itself could come back.
    with kept.catalogue() as catalogue:
        catalogue.execute("update databases set undelete_until = now() - interval '1 day' where name = 'diary'")
    typed(kept, "dbs", "create", "acme/diary", "--source-snapshot", snapshot["name"])
    assert rows(kept, "diary", "select count(*) from t") == [100]
    (retained,) = [
        one for one in kept.api("GET", "/tenants/acme/dbs").json()["items"] if one["name"].startswith("album_retained_")
    ]
    assert rows(kept, retained["name"], "select count(*) from t") == [100]
    assert rows(kept, retained["name"], "select current_database()") == ["album"]
    assert "nothing is wrong" in typed(kept, "storage", "check", "--data-dir", str(kept.data_dir)).lower()


def test_an_export_is_made_downloaded_by_a_link_in_parts_and_imported(kept: Platform, tmp_path: Path) -> None:
    kept.create_database(name="ledger")
    rows(
        kept,
        "ledger",
        "create table l (n int, t text)",
        "insert into l select n, md5(n::text) from generate_series(1, 5000) n",
    )
    kept.api("POST", "/tenants/acme/dbs/ledger/stop")
    done = spg99(kept, "dbs", "export", "acme/ledger", "--to-store", "--json")
    assert done.returncode == 0, done.stderr
    export = json.loads(done.stdout)
    assert export["state"] == "ready" and export["size_bytes"] > 100_000
    link = json.loads(spg99(kept, "exports", "link", export["export_id"], "--json").stdout)["url"]
    # As `curl -C -` goes on: no key, and only what is missing.
    begin = httpx.get(link, headers={"Range": "bytes=0-99999"})
    rest = httpx.get(link, headers={"Range": "bytes=100000-"})
    assert (begin.status_code, rest.status_code) == (206, 206)
    archive = tmp_path / "ledger.dump"
    archive.write_bytes(begin.content + rest.content)
    assert archive.stat().st_size == export["size_bytes"] and httpx.get(link + "0").status_code == 403
    for name, source in (("by_file", str(archive)), ("by_id", export["export_id"]), ("by_link", link)):
        kept.create_database(name=name)
        done = spg99(kept, "dbs", "import", f"acme/{name}", source)
        assert done.returncode == 0, done.stderr
        assert rows(kept, name, "select count(*) || max(t) from l") == rows(
            kept, "ledger", "select count(*) || max(t) from l"
        )
        assert "signature" not in done.stdout + done.stderr
    signature = link.partition("signature=")[2]
    assert signature not in kept.log()
    assert spg99(kept, "exports", "delete", export["export_id"], "--yes").returncode == 0
    assert httpx.get(link).status_code == 403
    assert spg99(kept, "exports", "list", "acme").returncode == 0


@pytest.mark.slow  # again: moments are laid out by nodes, too; it waits for the end of the WAL to be archived
def test_an_operator_takes_a_moment_out_of_the_store_alone(kept: Platform) -> None:
    """A cluster that PostgreSQL starts on, and one page of it; and both as they were before the last rows came."""
    kept.create_database(name="stored")
    (path,) = rows(
        kept, "stored", "create table t (n int)", "insert into t values (1)", "select pg_relation_filepath('t')"
    )
    (lsn,) = rows(kept, "stored", "select pg_current_wal_insert_lsn()::text")
    rows(kept, "stored", "insert into t select generate_series(2, 1000)")
    wait_for(
        "nobody to be in it", lambda: kept.api("POST", "/tenants/acme/dbs/stored/stop").status_code == 202, every=0.2
    )
    kept.database(name="stored", wait_for="stopped")

    def storage(*words: str) -> subprocess.CompletedProcess[str]:
        command = [BIN / "spg99", "storage", *words, "--data-dir", kept.data_dir]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def is_stored() -> bool:
        return "block 4 " in storage("page", "acme/stored", path, "4").stdout  # of the last rows

    wait_for("it to be described, and its end to be stored", is_stored, seconds=60)
    for count, words in ((1000, []), (1, ["--lsn", lsn])):
        folder = kept.data_dir / f"copy{count}"
        done = storage("basebackup", "acme/stored", str(folder), *words)
        assert done.returncode == 0, done.stderr
        assert count_of(folder) == count
        assert "is there already" in storage("basebackup", "acme/stored", str(folder), *words).stderr
    beyond = storage("page", "acme/stored", path, "4", "--lsn", lsn)
    assert beyond.returncode == 1 and "had 1 pages at that moment" in beyond.stderr
    unknown = storage("page", "acme/none", path, "0")
    assert unknown.returncode == 1 and "describes no database 'acme/none'" in unknown.stderr
    assert not list(Path(tempfile.gettempdir()).glob("spg99-moment-*"))


def count_of(data_dir: Path) -> int:
    """Rows of `t` on these files, by a PostgreSQL that knows nothing of SPG99."""
    account = service_account(None)
    run_dir = data_dir.with_name(f"{data_dir.name}-run")
    if account is not None:
        for path in (data_dir, *data_dir.rglob("*")):
            os.chown(path, account.uid, account.gid)
    cluster = Cluster(
        data_dir, run_dir, find_binaries(None, copy_to=data_dir.parent / "programs", account=account), account
    )

    async def counted() -> int:
        await cluster.start({})
        try:
            with psycopg.connect(host=str(run_dir), user="spg99_admin", dbname="stored") as db:
                return int((db.execute("select count(*) from t").fetchone() or (0,))[0])
        finally:
            await cluster.stop("fast")

    return asyncio.run(counted())
