"""Computes of a node with real PostgreSQL: made, started, stopped, fenced, killed, adopted, removed."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from integration.node.conftest import Node, dsn
from kit.waits import until
from spg99.ids import new_id
from spg99.node import writer
from spg99.process_table import all_processes
from spg99.protocol.tasks import ComputeStop, TimelineCreate, TimelineDelete
from spg99.resources import Size


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_database_lives_and_its_times_are_short(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    laps: dict[str, float] = {}

    async def lap(name: str, work):  # type: ignore[no-untyped-def]
        begin = time.perf_counter()
        value = await work
        laps[name] = (time.perf_counter() - begin) * 1000
        return value

    timeline = await lap("create", node.create())
    started = await lap("first start", node.start(timeline, term=1))
    async with await psycopg.AsyncConnection.connect(dsn(started, timeline)) as db:
        await db.execute("create table t as select generate_series(1, 1000) as n")
    stop = ComputeStop(compute_id=started["compute_id"], timeline_id=timeline.timeline_id)
    assert (await lap("stop", node.do("compute.stop", stop))).succeeded
    assert not psutil.pid_exists(started["pid"]) and not Path(started["backend_addr"]).exists()

    again = await lap("start", node.start(timeline, term=2))
    async with await psycopg.AsyncConnection.connect(dsn(again, timeline)) as db:
        assert await (await db.execute("select count(*) from t")).fetchone() == (1000,)
    await node.do("compute.stop", ComputeStop(compute_id=again["compute_id"], timeline_id=timeline.timeline_id))
    gone = await lap("delete", node.do("timeline.delete", TimelineDelete(timeline_id=timeline.timeline_id)))
    assert gone.succeeded and files_of(node.folder.timelines_dir) == []
    with capsys.disabled():
        print("\n  " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in laps.items()))


async def test_every_order_may_come_twice(node: Node) -> None:
    timeline = await node.create()
    assert (await node.do("timeline.create", timeline)).succeeded
    order = node.start_order(timeline)
    first, second = await node.do("compute.start", order), await node.do("compute.start", order)
    assert first.result == second.result and first.succeeded
    stop = ComputeStop(compute_id=order.compute_id, timeline_id=order.timeline_id)
    assert (await node.do("compute.stop", stop)).succeeded and (await node.do("compute.stop", stop)).succeeded
    delete = TimelineDelete(timeline_id=timeline.timeline_id)
    assert (await node.do("timeline.delete", delete)).succeeded and (await node.do("timeline.delete", delete)).succeeded


async def test_ten_orders_to_start_one_compute_make_one_process(node: Node) -> None:
    timeline = await node.create()
    order = node.start_order(timeline)
    results = await asyncio.gather(*(node.do("compute.start", order) for _ in range(10)))
    assert {result.result["pid"] for result in results if result.succeeded} == {results[0].result["pid"]}
    data_dir = str(node.folder.timeline(timeline.timeline_id).data_dir)
    servers = [p for p in all_processes(["cmdline"]) if data_dir in (p.info["cmdline"] or [])]
    assert len(servers) == 1


async def test_a_lower_term_is_refused_and_disturbs_nobody(node: Node) -> None:
    timeline = await node.create()
    started = await node.start(timeline, term=5)
    late = await node.do("compute.start", node.start_order(timeline, term=4))
    assert not late.succeeded and "term" in (late.error or "")
    twin = await node.do("compute.start", node.start_order(timeline, term=5))
    assert not twin.succeeded
    assert psutil.pid_exists(started["pid"])


async def test_the_fence_holds_after_stop_and_in_the_next_agent(node: Node) -> None:
    timeline = await node.create()
    order = node.start_order(timeline, term=5)
    await node.do("compute.start", order)
    await node.do("compute.stop", ComputeStop(compute_id=order.compute_id, timeline_id=order.timeline_id))
    node.fresh_agent()
    assert not (await node.do("compute.start", node.start_order(timeline, term=4))).succeeded
    assert not (await node.do("compute.start", order)).succeeded, "a compute that was told to stop stays stopped"
    assert (await node.do("compute.start", node.start_order(timeline, term=6))).succeeded


async def test_a_higher_term_ends_the_writer_before_it(node: Node) -> None:
    timeline = await node.create()
    old = await node.start(timeline, term=1)
    new = await node.start(timeline, term=2)
    assert not psutil.pid_exists(old["pid"]) and not Path(old["backend_addr"]).exists()
    assert [seen.pid for seen in node.computes.seen({})] == [new["pid"]]


async def test_a_killed_compute_is_noticed_at_once_and_the_next_start_finds_every_row(node: Node) -> None:
    timeline = await node.create()
    started = await node.start(timeline, term=1)
    async with await psycopg.AsyncConnection.connect(dsn(started, timeline), autocommit=True) as db:
        await db.execute("create table t (n int)")
        await db.execute("insert into t select generate_series(1, 500)")
        begin = time.monotonic()
        os.kill(started["pid"], signal.SIGKILL)
        assert await node.computes.ended.wait_for(1.0)
        assert time.monotonic() - begin < 1.0
    (seen,) = node.computes.seen({})
    assert not seen.running and seen.exit_reason == "PostgreSQL was ended by signal SIGKILL."
    again = await node.start(timeline, term=2)
    async with await psycopg.AsyncConnection.connect(dsn(again, timeline)) as db:
        assert await (await db.execute("select count(*) from t")).fetchone() == (500,)


async def test_a_crashed_session_ends_the_compute_and_the_reason_is_told(node: Node) -> None:
    timeline = await node.create()
    started = await node.start(timeline, term=1)
    with psycopg.connect(dsn(started, timeline)) as db:
        os.kill(db.info.backend_pid, signal.SIGKILL)
        assert await node.computes.ended.wait_for(5.0)
    (seen,) = node.computes.seen({})
    assert "terminated by signal 9" in (seen.exit_reason or "")
    node.computes.acknowledged([seen])
    assert node.computes.seen({}) == []


async def test_the_next_agent_adopts_what_runs_and_tells_what_ended(node: Node) -> None:
    runs, ended = await node.create(), await node.create()
    running, dead = await node.start(runs), await node.start(ended)
    await node.computes.leave()
    os.kill(dead["pid"], signal.SIGKILL)
    await until("the end of the killed one", lambda: psutil.Process(dead["pid"]).status() == "zombie")
    os.waitpid(dead["pid"], 0)
    node.fresh_agent()
    assert await node.computes.adopt() == 1
    seen = {compute.compute_id: compute for compute in node.computes.seen({})}
    assert seen[running["compute_id"]].running and seen[running["compute_id"]].pid == running["pid"]
    assert seen[running["compute_id"]].started_at is not None
    assert not seen[dead["compute_id"]].running
    node.computes.acknowledged(list(seen.values()))
    node.fresh_agent()
    await node.computes.adopt()
    assert [compute.compute_id for compute in node.computes.seen({})] == [running["compute_id"]], "told once, not again"
    os.kill(running["pid"], signal.SIGKILL)
    assert await node.computes.ended.wait_for(1.0)


async def test_a_pid_file_left_by_a_power_cut_is_in_nobodys_way(node: Node) -> None:
    timeline = await node.create()
    started = await node.start(timeline, term=1)
    pid_file = node.folder.timeline(timeline.timeline_id).data_dir / "postmaster.pid"
    old = pid_file.read_text()
    await node.do("compute.stop", ComputeStop(compute_id=started["compute_id"], timeline_id=timeline.timeline_id))
    # After a reboot that pid may belong to another process, even of PostgreSQL's own user.
    other = await node.create()
    elsewhere = await node.start(other)
    pid_file.write_text(old.replace(str(started["pid"]), str(elsewhere["pid"]), 1))
    assert (await node.start(timeline, term=2))["pid"] != elsewhere["pid"]
    assert psutil.pid_exists(elsewhere["pid"])


async def test_damaged_files_give_a_sentence(node: Node) -> None:
    timeline = await node.create()
    (node.folder.timeline(timeline.timeline_id).data_dir / "global" / "pg_control").unlink()
    result = await node.do("compute.start", node.start_order(timeline))
    assert (
        not result.succeeded
        and "files are missing or damaged" in (result.error or "")
        and "pg_control" in (result.error or "")
    )
    assert node.computes.seen({}) == [] and not files_of(node.folder.run_dir)


async def test_a_timeline_that_is_not_here_gives_a_sentence(node: Node) -> None:
    nowhere = TimelineCreate(timeline_id=new_id("tl"), database_name="app", pg_user="u")
    result = await node.do("compute.start", node.start_order(nowhere))
    assert not result.succeeded and "not on this node" in (result.error or "")


async def test_a_damaged_fence_is_not_guessed(node: Node) -> None:
    timeline = await node.create()
    node.folder.timeline(timeline.timeline_id).writer_file.write_text("{")
    result = await node.do("compute.start", node.start_order(timeline))
    assert not result.succeeded and "damaged" in (result.error or "")


async def test_delete_ends_what_runs(node: Node) -> None:
    timeline = await node.create()
    started = await node.start(timeline)
    assert (await node.do("timeline.delete", TimelineDelete(timeline_id=timeline.timeline_id))).succeeded
    assert not psutil.pid_exists(started["pid"])
    assert files_of(node.folder.timelines_dir) == [] and files_of(node.folder.run_dir) == []


async def test_what_a_killed_agent_left_is_swept(node: Node) -> None:
    for name in (".draft-tl_1", ".trash-tl_2-ab"):
        (node.folder.timelines_dir / name / "pgdata").mkdir(parents=True)
    timeline = await node.create()
    await node.timelines.sweep()
    assert files_of(node.folder.timelines_dir) == [timeline.timeline_id]


async def test_connections_and_sizes_are_seen(node: Node) -> None:
    timeline = await node.create()
    started = await node.start(timeline)
    assert [compute.connections for compute in node.observer.heartbeat().computes] == [0]
    with psycopg.connect(dsn(started, timeline)), psycopg.connect(dsn(started, timeline)):
        assert [compute.connections for compute in node.observer.heartbeat().computes] == [2]
    await node.observer.measure()
    beat = node.observer.heartbeat()
    assert 10_000_000 < beat.timelines[timeline.timeline_id] < 40_000_000
    assert 0 < beat.disk_free_bytes < beat.disk_total_bytes
    assert node.observer.heartbeat().timelines == beat.timelines, "not answered: told again"
    node.observer.acknowledged(beat)
    assert node.observer.heartbeat().timelines == {}, "no news"


@pytest.mark.parametrize("size", list(Size))
async def test_every_profile_starts_with_what_it_promises(node: Node, size: Size) -> None:
    timeline = await node.create()
    result = await node.do("compute.start", node.start_order(timeline, profile=size))
    assert result.succeeded, result.error
    promised = {"L1": "50", "L2": "100", "L3": "200", "L4": "300", "L5": "500"}
    with psycopg.connect(dsn(result.result, timeline)) as db:
        assert db.execute("show max_connections").fetchone() == (promised[size],)
        assert db.execute("show fsync").fetchone() == ("on",)
        assert db.execute("show server_version_num").fetchone()[0] >= "180000"  # type: ignore[index]


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user everything runs as that user")
async def test_under_root_postgresql_is_somebody_else(node: Node) -> None:
    timeline = await node.create()
    started = await node.start(timeline)
    for process in [psutil.Process(started["pid"]), *psutil.Process(started["pid"]).children()]:
        assert all(uid != 0 for uid in process.uids()) and all(gid != 0 for gid in process.gids())
    status = Path(f"/proc/{started['pid']}/status").read_text()
    groups = next(line.split()[1:] for line in status.splitlines() if line.startswith("Groups:"))
    assert "0" not in groups
    folder = node.folder.timeline(timeline.timeline_id)
    assert folder.root.stat().st_uid == 0 and folder.writer_file.stat().st_mode & 0o077 == 0


async def test_the_environment_of_the_agent_stays_with_the_agent(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPG99_API_KEY", "not for PostgreSQL")
    monkeypatch.setenv("PGOPTIONS", "-c fsync=off")
    started = await node.start(await node.create())
    assert set(psutil.Process(started["pid"]).environ()) & {"SPG99_API_KEY", "PGOPTIONS", "HOME"} == set()


async def test_the_record_is_there_before_the_process(node: Node) -> None:
    timeline = await node.create()
    folder = node.folder.timeline(timeline.timeline_id)
    (folder.data_dir / "PG_VERSION").rename(folder.root / "PG_VERSION")
    order = node.start_order(timeline, term=3)
    assert not (await node.do("compute.start", order)).succeeded
    record = writer.read(folder)
    assert record is not None and (record.writer_term, record.pid) == (3, None)
    (folder.root / "PG_VERSION").rename(folder.data_dir / "PG_VERSION")
    assert (await node.do("compute.start", order)).succeeded, "the same order may be tried again"


async def test_a_fence_that_cannot_be_written_lets_nobody_in(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    timeline = await node.create()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(writer, "write_fence", refuse)
        order = node.start_order(timeline, term=3)
        result = await node.do("compute.start", order)
    assert not result.succeeded and "full" in (result.error or "")
    assert node.computes.seen({}) == [] and not files_of(node.folder.run_dir)
    data_dir = str(node.folder.timeline(timeline.timeline_id).data_dir)
    assert [p for p in all_processes(["cmdline"]) if data_dir in (p.info["cmdline"] or [])] == []
    assert (await node.do("compute.start", order)).succeeded, "the same order may be tried again"
