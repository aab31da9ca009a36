"""Kept databases and disks that are away or damaged: nothing waits for them, nothing is believed that they hold."""

from __future__ import annotations

import errno

import pytest

from integration.node.kept.databases import Database, KeepingNode, lose
from kit.safekeepers import ServedSafekeeper
from kit.waits import until
from spg99.protocol.safekeeper import Trouble
from spg99.protocol.tasks import TimelineDelete
from spg99.wal.lsn import Segment, parse_lsn, segment_name


async def test_a_deletion_does_not_wait_for_a_safekeeper_that_is_away(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await of_three.start(node)
    await safekeepers[0].stop()
    order = TimelineDelete(timeline_id=of_three.timeline_id, kept=of_three.kept)
    result = await node.do("timeline.delete", order)
    assert result.succeeded, result.error
    assert not (safekeepers[1].root / of_three.timeline_id).exists()
    assert (safekeepers[0].root / of_three.timeline_id).exists()  # the Control Plane tells it when it is heard of


async def damage(safekeeper: ServedSafekeeper, database: Database, lsn: int) -> None:
    """Some bytes of its WAL are others."""
    timeline = safekeeper.timelines.get(database.timeline_id)
    number, offset = divmod(lsn, timeline.segment_bytes)
    path = safekeeper.root / database.timeline_id / "wal" / segment_name(Segment(timeline.tli_at(lsn), number))
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x55" * 16)


async def position(database: Database) -> int:
    return parse_lsn((await database.run("select pg_current_wal_lsn()::text"))[0][0])


async def test_wal_that_is_damaged_on_a_disk_comes_from_another(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """PostgreSQL stops replaying where a record is not right and calls that the end: all commits behind it were gone, and then cut from the other disks, too.
    Here each of the three is damaged, in another segment."""
    await of_three.start(node)
    await of_three.run("create table t (n int)")
    places = []
    for n in range(3):
        places.append(await position(of_three))
        for _ in range(5):
            await of_three.run(f"insert into t values ({n})")
        await of_three.run("create table filling as select generate_series(1, 30000)", "drop table filling")
        if n == 1:  # also in WAL of a timeline that PostgreSQL has left since
            lose(node, of_three)
            await of_three.start(node)
    for safekeeper, at in zip(safekeepers, places, strict=True):
        await damage(safekeeper, of_three, at + 64)
    lose(node, of_three)
    for _ in range(6):
        result = await of_three.attempt(node)
        if result.succeeded:
            break
        assert "damaged" in (result.error or "")
    assert await of_three.run("select count(*) from t") == [(15,)]


@pytest.mark.slow  # broken
async def test_wal_that_is_damaged_on_the_only_disk_is_refused(
    node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """Nobody is let in on less than what was acknowledged, and nothing is cut."""
    await database.start(node)
    await database.run("create table t (n int)", "insert into t values (1)")
    at = await position(database)
    await database.run("insert into t values (2)", "insert into t values (3)")
    await damage(safekeepers[0], database, at + 64)
    lose(node, database)
    before = safekeepers[0].timelines.get(database.timeline_id).keeper.flush_lsn
    for _ in range(2):
        await database.start(node, error="damaged on safekeeper")
    assert safekeepers[0].timelines.get(database.timeline_id).keeper.flush_lsn >= before


@pytest.mark.slow  # broken
@pytest.mark.parametrize("times", [3])
async def test_a_torn_end_is_no_damage(
    node: KeepingNode, database: Database, safekeepers: list[ServedSafekeeper], times: int
) -> None:
    """The compute is killed in the middle of a large record: its WAL ends anywhere."""
    await database.start(node)
    await database.run("create table t (n int, x text)", "alter table t alter x set storage external")
    for n in range(times):
        load = database.connect()
        load.execute("begin")
        load.execute("insert into t select n, repeat(md5(n::text), 200) from generate_series(1, 2000) n")
        lose(node, database)
        load.close()
        await database.start(node)
        await database.run(f"insert into t values ({n}, '')")
    assert await database.run("select count(*) from t") == [(times,)]


async def test_a_full_disk_is_said_and_is_over_when_there_is_room(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits go on with the others; what it missed it takes when it can."""
    await of_three.start(node)
    await of_three.run("create table t (n int)")
    full = safekeepers[0].timelines.get(of_three.timeline_id)
    write = full._files.write

    def refuses(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(full._files, "write", refuses)
    await of_three.run("insert into t values (1)")
    await until("it to be said", lambda: full.seen().trouble is Trouble.DISK)
    monkeypatch.setattr(full._files, "write", write)
    others = [one.timelines.get(of_three.timeline_id) for one in safekeepers[1:]]
    await until("it to take what it missed", lambda: full.keeper.flush_lsn >= max(o.keeper.flush_lsn for o in others))
    assert full.seen().trouble is None
