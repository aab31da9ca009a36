"""Exports on real nodes: all rows of a moment as an archive in the store, sealed; the source sleeps on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from integration.node.kept.branches import now_of
from integration.node.kept.databases import USER, Database, KeepingNode
from spg99.ids import new_id
from spg99.node import exporting
from spg99.postgres.archive_contents import read_contents
from spg99.protocol.tasks import Origin, Point, TimelineExport, TimelineExported

SECRET = "jane.doe@example.org"


def order_of(database: Database, point: Point, **more: Any) -> TimelineExport:
    origin = Origin(timeline_id=database.timeline_id, point=point, database_name="app", kept=database.kept, **more)
    return TimelineExport(
        timeline_id=database.timeline_id, export_id=new_id("exp"), origin=origin, database_name="app", pg_user=USER
    )


async def exported(node: KeepingNode, order: TimelineExport) -> bytes:
    result = await node.do("timeline.export", order)
    assert result.succeeded, result.error
    said = TimelineExported.model_validate(result.result)
    assert order.origin.kept is not None
    objects, key = await node.keeping.opened(order.origin.kept)
    prefix = f"tenants/{key.tenant_id}/exports/{order.export_id}/"
    keys = [entry.key async for entry in objects.entries(prefix)]
    assert keys == [f"{prefix}{said.attempt_id}/{number:08d}" for number in range(len(keys))]
    pieces = [key.open((await objects.get(one)).content, one) for one in keys]
    assert all(len(piece) == said.piece_bytes for piece in pieces[:-1]) and sum(map(len, pieces)) == said.size_bytes
    return b"".join(pieces)


def sql_of(node: KeepingNode, archive: bytes) -> str:
    done = subprocess.run(
        [node.binaries.program("pg_restore"), "-f", "-"], input=archive, capture_output=True, check=True
    )
    return done.stdout.decode()


@pytest.fixture
async def filled(node: KeepingNode, database: Database) -> Database:
    await database.start(node)
    await database.run(
        "create table people (id int, mail text)",
        f"insert into people select n, n || '{SECRET}' from generate_series(1, 2000) n",
        # Nothing that the user has taken from itself keeps rows out.
        "alter table people enable row level security",
        "alter table people force row level security",
        "create policy hidden on people using (false)",
        "revoke all on people from acme_user",
        "alter database app set default_transaction_read_only = on",
    )
    return database


async def test_all_rows_of_the_moment_are_in_it_and_the_source_sleeps_on(
    node: KeepingNode, filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PIECE_BYTES", 4096)
    await filled.stop(node)
    sql = sql_of(node, await exported(node, order_of(filled, Point(end_of_term=filled.term))))
    assert sql.count(SECRET) == 2000 and "CREATE POLICY hidden" in sql
    assert "pg_read_all_data" not in sql and "BYPASSRLS" not in sql
    assert not list(node.computes.running()) and not node.folder.remains()
    # Nobody who has the bucket alone can read it.
    stored = [path for path in Path(node.object_store).rglob("*") if path.is_file()]
    assert stored and not [path for path in stored if SECRET.encode() in path.read_bytes()]


@pytest.mark.slow  # again
async def test_an_earlier_moment_and_without_rows(node: KeepingNode, filled: Database) -> None:
    point = await now_of(node, filled)
    await filled.run("set default_transaction_read_only = off", "create table late (n int)")
    names = {one.name for one in read_contents(await exported(node, order_of(filled, point)))}
    assert "people" in names and "late" not in names
    archive = await exported(node, order_of(filled, await now_of(node, filled), schema_only=True))
    assert {one.kind for one in read_contents(archive) if one.name == "people"} == {"TABLE", "ROW SECURITY"}
    assert SECRET not in sql_of(node, archive)


async def test_an_attempt_that_was_cut_short_is_removed_by_the_next(
    node: KeepingNode, filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(filled, await now_of(node, filled))
    objects, key = await node.keeping.opened(filled.kept)
    left = f"tenants/{key.tenant_id}/exports/{order.export_id}/att_before/00000000"
    other = f"tenants/{key.tenant_id}/exports/exp_other/att_1/00000000"
    for one in (left, other):
        await objects.put(one, b"x")
    assert sql_of(node, await exported(node, order)).count(SECRET) == 2000
    assert await objects.head(left) is None and await objects.head(other) is not None
    monkeypatch.setattr(exporting, "SECONDS_MAX", 0.0)
    result = await node.do("timeline.export", order_of(filled, await now_of(node, filled)))
    assert not result.succeeded and "took longer" in (result.error or "") and not node.folder.remains()
