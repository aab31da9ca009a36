"""Kept moments that are verified: real nodes write, a pageserver lays the moment out, a real PostgreSQL replays its WAL, and all pages are read. Damage of each kind is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from integration.node.kept.databases import APP, Database, KeepingNode
from integration.node.kept.pageservers import Pageserver
from integration.node.kept.pasts import Past
from spg99.pageserver import verifying
from spg99.pageserver.building import Sandbox
from spg99.protocol.pageserver import MomentToVerify, MomentVerified
from spg99.protocol.tasks import Origin
from spg99.protocol.tasks import Point as SaidPoint
from spg99.wal.lsn import parse_lsn


@pytest.fixture
def sandbox(node: KeepingNode) -> Sandbox:
    return Sandbox(node.folder.root / "sandbox", node.binaries, node.account)


@pytest.fixture
def verified(pageserver: Pageserver, database: Database, sandbox: Sandbox) -> Callable[..., Any]:
    """What comes of verifying a moment, as the Control Plane hears it."""

    async def verify(name: str = "snap_1", **point: Any) -> MomentVerified:
        origin = Origin(timeline_id=database.timeline_id, database_name=APP, point=SaidPoint(**point))
        verifications = pageserver.rounds.verifications
        verifications.learn([MomentToVerify(snapshot_id=name, origin=origin)])
        assert await pageserver.rounds.verify_one(sandbox)
        assert not any(sandbox.root.iterdir()), "nothing of it stays"
        assert not await pageserver.rounds.verify_one(sandbox), "once, until the result was heard"
        result = verifications.results[name]
        verifications.heard([result])
        return result

    return verify


async def write(database: Database, node: KeepingNode) -> int:
    """Rows, and where they are in the WAL."""
    await database.start(node)
    await database.run("create table t (n int)", "insert into t select generate_series(1, 30000)")
    return parse_lsn((await database.run("select pg_current_wal_lsn()::text"))[0][0])


async def test_a_moment_of_each_kind_is_laid_out_and_read(
    verified: Callable[..., Any], past: Past, node: KeepingNode, database: Database
) -> None:
    lsn = await write(database, node)
    at = datetime.now(UTC)
    await database.run("insert into t select generate_series(1, 30000)")
    for point in ({"lsn": lsn}, {"lsn": await past.lsn()}, {"time": at}):
        result = await verified(**point)
        assert result.problem is None and result.is_over and result.verified_at is not None, (point, result)
    await database.stop(node)
    await node.keeping._jobs.finish(within_seconds=10)
    result = await verified(end_of_term=database.term)
    assert result.problem is None and result.verified_at is not None, result
    # And nothing of it is in the database's history: the moment is as it was.
    assert await past.rows(verifying.archive.Point(lsn=lsn), "select count(*) from t") == [(30000,)]


async def test_a_page_that_is_damaged_is_found(
    verified: Callable[..., Any], node: KeepingNode, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lsn = await write(database, node)
    whole = verifying.replay_all

    async def damaged(data_dir: Path, *rest: Any) -> int:
        end = await whole(data_dir, *rest)
        path = max((data_dir / "base").glob("*/*"), key=lambda one: one.stat().st_size)
        with path.open("r+b") as file:
            file.seek(8192 + 4000)
            file.write(b"not what was written")
        return end

    monkeypatch.setattr(verifying, "replay_all", damaged)
    result = await verified(lsn=lsn)
    assert "Pages are damaged" in result.problem and result.is_over and result.verified_at is None
    monkeypatch.undo()
    assert (await verified(lsn=lsn)).problem is None


async def test_wal_that_ends_before_the_moment_is_found_though_postgresql_takes_it_for_the_end(
    verified: Callable[..., Any], node: KeepingNode, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lsn = await write(database, node)
    whole = verifying.replay_all

    async def damaged(data_dir: Path, *rest: Any) -> int:
        segments = sorted(path for path in (data_dir / "pg_wal").iterdir() if path.is_file() and len(path.name) == 24)
        assert len(segments) > 1
        with segments[-2].open("r+b") as file:
            file.seek(500_000)
            file.write(bytes(byte ^ 0xFF for byte in file.read(64)))
            file.seek(500_000)
            file.write(b"\x5a" * 64)
        return await whole(data_dir, *rest)

    monkeypatch.setattr(verifying, "replay_all", damaged)
    result = await verified(lsn=lsn)
    assert "The WAL is damaged at" in result.problem and result.is_over


async def test_what_nobody_can_tell_yet_is_tried_again_and_holds_up_no_other(
    pageserver: Pageserver, node: KeepingNode, database: Database, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    lsn = await write(database, node)
    rounds, timeline_id = pageserver.rounds, database.timeline_id

    def moment(name: str) -> MomentToVerify:
        origin = Origin(timeline_id=timeline_id, database_name=APP, point=SaidPoint(lsn=lsn))
        return MomentToVerify(snapshot_id=name, origin=origin)

    care, kept = rounds.cares[timeline_id], database.kept
    unreachable = kept.model_copy(update={"addresses": dict.fromkeys(kept.addresses, "/nowhere/at/all")})
    care.ordered = care.ordered.model_copy(update={"kept": unreachable})
    rounds.verifications.learn([moment("snap_1"), moment("snap_2")])
    assert await rounds.verify_one(sandbox)
    first = rounds.verifications.results["snap_1"]
    assert first.problem is not None and not first.is_over
    rounds.verifications.heard([first])
    care.ordered = care.ordered.model_copy(update={"kept": kept})
    assert await rounds.verify_one(sandbox)
    assert rounds.verifications.results["snap_2"].problem is None
    assert not await rounds.verify_one(sandbox)  # the first is not tried before its pause is over
    pageserver.now += 3600
    assert await rounds.verify_one(sandbox)
    assert rounds.verifications.results["snap_1"].problem is None
