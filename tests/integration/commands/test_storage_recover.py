"""A lost catalogue, with the real platform: everything back with the same connection strings, also what was written since the last image. Not here: what
the store says of it (integration/control_plane/databases/test_described_store.py)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from kit import s3_servers
from kit.platform import BIN, Platform, a_platform, wait_for

ROWS = 500


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    with contextlib.ExitStack() as stack:
        environment: dict[str, str] = {}
        if request.param == "s3":
            server = stack.enter_context(s3_servers.versitygw(tmp_path))
            environment = server.environment | {"SPG99_OBJECT_STORE": f"s3://{s3_servers.BUCKET}/ours"}
        yield stack.enter_context(a_platform("--safekeeper", environment=environment))


def spg99(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SPG99_")}
    return subprocess.run(
        [BIN / "spg99", *arguments, "--data-dir", platform.data_dir],
        env=kept | platform.extra, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def run(dsn: str, *statements: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=60) as db:
        for statement in statements[:-1]:
            db.execute(statement)
        cursor = db.execute(statements[-1])
        return cursor.fetchall() if cursor.description else []


def dsn_of(platform: Platform, tenant: str, name: str) -> str:
    return str(platform.api("GET", f"/tenants/{tenant}/dbs/{name}").json()["connection_string"])


def is_described(platform: Platform, databases: int) -> bool:
    with platform.catalogue() as catalogue:
        row = catalogue.execute(
            "select count(*) from timelines tl join databases d using (timeline_id) join stored_tenants s on s.tenant_id = d.tenant_id "
            "where tl.described like '%present%' and s.described is not null"
        ).fetchone()
    return row is not None and row[0] == databases


@pytest.mark.slow  # broken
@pytest.mark.timeout(400)
def test_a_lost_catalogue_comes_back_from_store_and_safekeeper(platform: Platform) -> None:
    platform.create_database("acme", "app")
    platform.create_database("acme", "other", deletion_protection=True)
    platform.create_database("umbrella", "app")
    dsns = {
        (tenant, name): dsn_of(platform, tenant, name)
        for tenant, name in [("acme", "app"), ("acme", "other"), ("umbrella", "app")]
    }
    for (tenant, name), dsn in dsns.items():
        run(
            dsn,
            "create table t (who text, n int)",
            f"insert into t select '{tenant}/{name}', generate_series(1, {ROWS})",
        )
    before = {key: platform.api("GET", f"/tenants/{key[0]}/dbs/{key[1]}").json() for key in dsns}
    wait_for("all of it to be described", lambda: is_described(platform, len(dsns)), seconds=60)
    # Written since, in a later term: only the safekeeper has it.
    run(dsns["acme", "app"], "insert into t values ('late', 0)")
    for process in platform.computes():
        process.kill()
    run_until(dsns["acme", "app"], "insert into t values ('later', 0)")
    assert platform.process is not None
    platform.process.kill()
    platform.process.wait()
    for process in platform.processes():
        process.kill()
    wait_for("all to be dead", lambda: not platform.processes())

    shutil.rmtree(platform.data_dir / "catalogue")
    shutil.rmtree(platform.data_dir / "node" / "node-1" / "timelines")
    # A start before the recovery, as everybody tries first: it does no harm.
    platform.start()
    assert platform.api("GET", "/tenants").json()["items"] == []
    refused = spg99(platform, "storage", "recover")
    assert refused.returncode == 1 and "Stop it first" in refused.stderr
    platform.stop()

    done = spg99(platform, "storage", "recover")
    assert done.returncode == 0, done.stderr
    assert "tenants 2, databases 3." in done.stdout, done.stdout
    again = spg99(platform, "storage", "recover")
    assert again.returncode == 1 and "holds tenants" in again.stderr
    platform.start()
    for (tenant, name), dsn in dsns.items():
        seen = platform.api("GET", f"/tenants/{tenant}/dbs/{name}").json()
        was = before[tenant, name]
        fields = [
            "db_id",
            "tenant_id",
            "size",
            "idle_timeout_seconds",
            "deletion_protection",
            "created_at",
            "connection_string",
        ]
        assert {field: seen.get(field) for field in fields} == {field: was.get(field) for field in fields}
        extra = 2 if (tenant, name) == ("acme", "app") else 0
        assert run_until(dsn, "select count(*) from t") == [(ROWS + extra,)]
        assert run(dsn, f"select count(*) from t where who = '{tenant}/{name}'") == [(ROWS,)]
    # And goes on.
    platform.create_database("acme", "third")
    run_until(dsn_of(platform, "acme", "third"), "create table t (n int)")
    run(dsns["umbrella", "app"], "insert into t values ('after', 1)")


def run_until(dsn: str, statement: str) -> list[tuple[object, ...]]:
    """As soon as it goes: nodes and safekeepers are heard of some time after the start."""
    answers: list[list[tuple[object, ...]]] = []

    def try_once() -> bool:
        try:
            answers.append(run(dsn, statement))
        except psycopg.Error:
            return False
        return True

    wait_for("the database to answer", try_once, seconds=90, every=0.5)
    return answers[-1]
