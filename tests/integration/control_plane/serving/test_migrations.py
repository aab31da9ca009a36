"""The schema goes forward, back and forward again on real data, one process at a time, and only as written."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from spg99.commands.app import app
from spg99.control_plane.store import migrate
from spg99.control_plane.store.queries import names, statement
from spg99.errors import BadRequest, Conflict, Unavailable

FOLDER = Path(migrate.__file__).parent / "migrations"

# A row in every table, as the program writes them.
DATA = """
insert into organizations (org_id, name) values ('org_a', 'a');
insert into projects (project_id, org_id, name) values ('prj_a', 'org_a', 'default');
insert into tenants (tenant_id, org_id, project_id, name, pg_user, password_encrypted, scram_verifier)
  values ('ten_a', 'org_a', 'prj_a', 'acme', 'tnt_a', 'x', 'SCRAM');
insert into api_keys (key_id, org_id, tenant_id, name, scope, token_sha256) values ('key_a', 'org_a', 'ten_a', 'k', 'tenant', 'h');
insert into nodes (node_id, name, token_sha256) values ('node_a', 'n', 'h');
insert into gateways (gateway_id, name, token_sha256) values ('gw_a', 'g', 'h');
insert into enrolment_tokens (token_sha256, kind, expires_at) values ('h', 'node', now());
insert into databases (db_id, tenant_id, name, size, idle_timeout_seconds, state, timeline_id, target_profile, compute_id)
  values ('db_a', 'ten_a', 'app', 'L1', 300, 'ready', 'tl_a', 'L1', 'cmp_a');
insert into timelines (timeline_id, db_id, node_id, state) values ('tl_a', 'db_a', 'node_a', 'present');
insert into snapshot_schedules (schedule_id, tenant_id, name, db_id, database, cron, keep, next_snapshot_at, attempt_at)
  values ('sched_a', 'ten_a', 'nightly', 'db_a', 'app', '@daily', 7, now(), now());
insert into snapshots (snapshot_id, tenant_id, name, db_id, database, origin, schedule_id)
  values ('snap_a', 'ten_a', 's', 'db_a', 'app', '{}', 'sched_a');
insert into timeline_pins (timeline_id, owner_id, reason) values ('tl_a', 'db_b', 'branch');
insert into computes (compute_id, db_id, timeline_id, node_id, writer_term, profile, state, backend_addr, backend_port)
  values ('cmp_a', 'db_a', 'tl_a', 'node_a', 1, 'L1', 'running', '/s', 5432);
insert into computes (compute_id, db_id, timeline_id, node_id, writer_term, profile, state, role)
  values ('cmp_b', 'db_a', 'tl_a', 'node_a', 2, 'L2', 'starting', 'candidate');
insert into leases (db_id, gateway_id, expires_at) values ('db_a', 'gw_a', now());
insert into node_tasks (node_id, kind, payload, expires_at) values ('node_a', 'compute.start', '{}', now());
insert into operations (op_id, kind) values ('op_a', 'database.create');
insert into idempotency_keys values ('org_a', 'k', 'h', 201, '{}', 'x', now(), now());
insert into outbox_events (event_id, event_type, subject, envelope) values ('evt_a', 't', 's', '{}');
insert into audit_logs (actor, action) values ('system', 'x');
insert into declarations (uid, noun, human_id, org_id, tenant_id, tool, state, key_id)
  values ('db_a', 'database', 'acme/app', 'org_a', 'ten_a', 'terraform', 'terraform:x', 'key_a');
insert into policy_values (key, scope, value) values ('limits.tenants_max', 'global', '5');
"""


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {
            row[0]
            for row in connection.execute(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r','p','S')"
            )
        }


def test_forward_back_forward_on_real_data(either_cluster: Any) -> None:
    url = either_cluster.database(migrated=False)
    every = [m.version for m in migrate.known()]
    assert [m.version for m in migrate.up(url)] == every
    whole = tables(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(DATA)
    # Step by step, so that every way back meets the data of its own version.
    for version in reversed(every):
        assert [m.version for m in migrate.down(url, version - 1)] == [version]
        assert all(step.applied_at is None for step in migrate.status(url) if step.version >= version)
    assert tables(url) == {"schema_migrations"}
    for version in every:
        assert [m.version for m in migrate.up(url, to=version)] == [version]
    assert tables(url) == whole
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(DATA)
    # The last step back and forward again keeps every row.
    migrate.down(url, every[-1] - 1)
    migrate.up(url)
    with psycopg.connect(url) as connection:
        for table in ("databases", "api_keys", "audit_logs", "outbox_events", "operations"):
            assert connection.execute(f"select count(*) from {table}").fetchone() == (1,), table  # type: ignore[arg-type]


def test_a_database_has_one_writer_and_room_for_one_candidate_and_back_again(cluster18: Any) -> None:
    url = cluster18.database()
    compute = (
        "insert into computes (compute_id, db_id, timeline_id, node_id, writer_term, profile, state{}) values ('{}', "
    )
    compute += "'db_a', 'tl_a', 'node_a', {}, 'L1', 'starting'{})"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(DATA)
        with pytest.raises(psycopg.errors.UniqueViolation, match="computes_one_writer"):
            connection.execute(compute.format("", "cmp_c", 3, ""))  # type: ignore[arg-type]
        with pytest.raises(psycopg.errors.UniqueViolation, match="computes_one_candidate"):
            connection.execute(compute.format(", role", "cmp_c", 3, ", 'candidate'"))  # type: ignore[arg-type]
        # The writer has ended: the candidate takes its place, and there is room for the next one.
        connection.execute("update computes set state = 'ended', ended_at = now() where compute_id = 'cmp_a'")
        connection.execute("update computes set role = 'writer' where compute_id = 'cmp_b'")
        connection.execute(compute.format(", role", "cmp_d", 4, ", 'candidate'"))  # type: ignore[arg-type]
    migrate.down(url, 7)
    with psycopg.connect(url, autocommit=True) as connection:
        live = connection.execute("select compute_id from computes where state <> 'ended'").fetchall()
        assert live == [("cmp_b",)], "the writer stays, what was being prepared ends"
        with pytest.raises(psycopg.errors.UniqueViolation, match="computes_one_writer"):
            connection.execute(compute.format("", "cmp_e", 5, ""))  # type: ignore[arg-type]
    migrate.up(url)


def test_an_older_version_removes_what_could_come_back(cluster18: Any) -> None:
    url = cluster18.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(DATA)
        deleted = (
            "update databases set state = 'deleted', compute_id = null, reconcile_at = null, undelete_until = now()"
        )
        connection.execute(deleted)
    migrate.down(url, 23)
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("select state, reconcile_at < now() from databases").fetchall()
    assert found == [("deleting", True)]
    migrate.up(url)


def test_applying_twice_changes_nothing(cluster18: Any) -> None:
    url = cluster18.database()
    before = migrate.status(url)
    assert migrate.up(url) == []
    assert migrate.status(url) == before
    assert all(step.applied_at and step.known for step in before)


def test_status_of_an_empty_catalogue_changes_nothing(cluster18: Any) -> None:
    url = cluster18.database(migrated=False)
    assert [step.applied_at for step in migrate.status(url)] == [None] * len(migrate.known())
    assert tables(url) == set()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "migrations"))


@pytest.mark.parametrize("way", ["up", "down"])
def test_an_edited_migration_is_refused(cluster18: Any, copied: Path, way: str) -> None:
    url = cluster18.database(migrated=False)
    migrate.up(url, folder=copied)
    edited = next(copied.glob(f"0001_*.{way}.sql"))
    edited.write_text(edited.read_text() + "\n-- harmless\n")
    for call in (
        lambda: migrate.up(url, folder=copied),
        lambda: migrate.down(url, 0, folder=copied),
        lambda: migrate.status(url, folder=copied),
    ):
        with pytest.raises(Conflict, match="0001_spine .* was edited after it had been applied"):
            call()


def test_a_failing_migration_leaves_nothing_behind(cluster18: Any, copied: Path) -> None:
    url = cluster18.database(migrated=False)
    version = len(migrate.known()) + 1
    broken = copied / f"{version:04d}_broken.up.sql"
    broken.write_text("create table half (a integer); select 1/0;")
    (copied / f"{version:04d}_broken.down.sql").write_text("drop table half;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate.up(url, folder=copied)
    assert "half" not in tables(url)
    assert [step.version for step in migrate.status(url, folder=copied) if step.applied_at is None] == [version]
    broken.write_text("create table half (a integer);")
    assert [m.version for m in migrate.up(url, folder=copied)] == [version]


def test_old_code_runs_on_a_newer_schema_and_leaves_it_alone(cluster18: Any, copied: Path) -> None:
    url = cluster18.database(migrated=False)
    version = len(migrate.known()) + 1
    (copied / f"{version:04d}_newer.up.sql").write_text("create table newer (a integer);")
    (copied / f"{version:04d}_newer.down.sql").write_text("drop table newer;")
    migrate.up(url, folder=copied)
    assert migrate.up(url) == []
    assert [(s.version, s.known) for s in migrate.status(url)][-1] == (version, False)
    with pytest.raises(Conflict, match="newer version of SPG99"):
        migrate.down(url, 0)


def test_many_at_once_apply_each_migration_once(cluster18: Any) -> None:
    url = cluster18.database(migrated=False)
    applied: list[int] = []
    failures: list[BaseException] = []

    def apply() -> None:
        try:
            applied.extend(m.version for m in migrate.up(url))
        except BaseException as error:  # shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=apply) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert sorted(applied) == [m.version for m in migrate.known()]


def test_an_old_server_is_refused_in_a_sentence(cluster18: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = cluster18.database(migrated=False)
    monkeypatch.setattr(migrate, "SERVER_VERSION_MIN", 190000)
    with pytest.raises(BadRequest, match="needs PostgreSQL 16 or newer; this server is version 18"):
        migrate.up(url)


def test_an_absent_server_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="SPG99_CATALOGUE_URL"):
        migrate.up(f"postgresql://x@/x?host={tmp_path}")


def command(url: str, *arguments: str, answer: str = "") -> Result:
    """`spg99 migrate ...` on this catalogue."""
    return CliRunner().invoke(app, ["migrate", *arguments, "--catalogue-url", url], input=answer)


def printed(url: str, *arguments: str, answer: str = "") -> list[str]:
    done = command(url, *arguments, answer=answer)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_the_command_goes_up_and_down_and_tells_where_it_stands(cluster18: Any) -> None:
    url = cluster18.database(migrated=False)
    every = [str(m) for m in migrate.known()]
    newest = len(every)

    def missing() -> list[str]:
        heading, *lines = printed(url, "status")
        assert heading.split() == ["VERSION", "NAME", "APPLIED"]
        rows = [line.split() for line in lines]
        assert [f"{version}_{name}" for version, name, *_ in rows] == every
        assert all(row[2:] == ["missing"] or re.fullmatch(r"\d{4}-\d\d-\d\d \S+", " ".join(row[2:])) for row in rows)
        return [f"{version}_{name}" for version, name, *when in rows if when == ["missing"]]

    assert missing() == every
    assert tables(url) == set(), "to look changes nothing"
    assert printed(url, "up", "--to", "1") == [f"applied {every[0]}"]
    assert missing() == every[1:]
    assert printed(url, "up") == [f"applied {each}" for each in every[1:]]
    assert missing() == []
    whole = tables(url)
    assert printed(url, "up") == ["The schema is up to date."]

    for no in ("n\n", ""):
        refused = command(url, "down", "--to", "0", answer=no)
        assert refused.exit_code != 0
        assert "Take the catalogue back to version 0? Data is lost." in refused.stderr
        assert missing() == []
    assert command(url, "down", "--yes").exit_code == 2, "how far is always said"
    assert printed(url, "down", "--to", str(newest - 1), answer="y\n") == [f"took back {every[-1]}"]
    assert missing() == every[-1:]
    assert printed(url, "down", "--to", "0", "--yes") == [f"took back {each}" for each in reversed(every[:-1])]
    assert tables(url) == {"schema_migrations"}
    assert printed(url, "down", "--to", "0", "-y") == ["The schema is at version 0 or before."]
    assert printed(url, "up") == [f"applied {each}" for each in every]
    assert tables(url) == whole


def test_the_command_marks_what_only_a_newer_program_knows(cluster18: Any, copied: Path) -> None:
    url = cluster18.database(migrated=False)
    version = len(migrate.known()) + 1
    (copied / f"{version:04d}_newer.up.sql").write_text("create table newer (a integer);")
    (copied / f"{version:04d}_newer.down.sql").write_text("drop table newer;")
    migrate.up(url, folder=copied)
    *ours, newer = printed(url, "status")
    assert newer.startswith(f"{version:04d}")
    assert newer.endswith("newer than this program")
    assert not any("newer" in line for line in ours)
    refused = command(url, "down", "--to", "0", "--yes")
    assert refused.exit_code == 1
    assert "newer version of SPG99" in refused.stderr
    assert "newer" in tables(url)


def test_the_command_tells_of_an_absent_server_in_a_sentence(tmp_path: Path) -> None:
    refused = command(f"postgresql://x:hunter2@/x?host={tmp_path}", "up")
    assert refused.exit_code == 1
    assert "SPG99_CATALOGUE_URL" in refused.stderr
    assert "Traceback" not in refused.output
    assert "hunter2" not in refused.output


def test_every_named_query_is_planned_as_the_service(either_cluster: Any) -> None:
    url = either_cluster.database()
    assert len(names()) > 50
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set role spg99_service")
        connection.execute("set plan_cache_mode = force_generic_plan")
        for name in sorted(names()):
            sql, parameters = positional(statement(name))
            connection.execute(f"prepare q as {sql}".encode())
            arguments = f"({', '.join(['null'] * parameters)})" if parameters else ""
            connection.execute(f"explain execute q{arguments}".encode())
            connection.execute("deallocate q")


def positional(sql: str) -> tuple[str, int]:
    """`%(name)s` as $1, $2 ..., one number a name, as the driver sends it."""
    order: dict[str, int] = {}
    text = re.sub(r"%\((\w+)\)s", lambda m: f"${order.setdefault(m[1], len(order) + 1)}", sql)
    return text.replace("%%", "%").rstrip().rstrip(";"), len(order)


def test_what_is_read_often_uses_an_index(cluster18: Any) -> None:
    url = cluster18.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set plan_cache_mode = force_generic_plan")
        connection.execute("set enable_seqscan = off")
        for name in ("page_of_tenants", "page_of_databases", "key_by_token", "events_since", "ended_tenants"):
            sql, parameters = positional(statement(name))
            connection.execute(f"prepare q as {sql}".encode())
            plan = connection.execute(f"explain execute q({', '.join(['null'] * parameters)})".encode()).fetchall()
            connection.execute("deallocate q")
            text = "\n".join(row[0] for row in plan)
            assert "Seq Scan" not in text, f"{name}:\n{text}"
