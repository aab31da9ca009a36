"""A safekeeper and a real PostgreSQL: what was acknowledged is kept, also when the server's folder is deleted, and comes back from it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest_asyncio

from kit.waits import until
from spg99.postgres import Cluster, find_binaries, service_account
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import ROLE, standby_name
from spg99.safekeeper.follower import Followers
from spg99.safekeeper.kept_timeline import KeptTimeline
from spg99.safekeeper.kept_timelines import KeptTimelines
from spg99.wal.lsn import Segment, parse_lsn, segment_name

SK = "sk_0000000000000000test"
TIMELINE = "tl_0000000000000000test"
SETTINGS = {
    "shared_buffers": "16MB",
    "huge_pages": "off",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "wal_sender_timeout": "5s",
    "synchronous_standby_names": f'ANY 1 ("{standby_name(SK)}")',
}
MIB = 1 << 20


def configuration() -> said.Configuration:
    return said.Configuration(number=1, members=said.Members(safekeeper_ids=[SK], quorum=1))


class Platform:
    """One database and one safekeeper."""

    def __init__(self, cluster: Cluster, root: Path) -> None:
        self.cluster = cluster
        self.root = root
        self.timelines = KeptTimelines(root, SK)
        self.followers = Followers()
        self.term = 0

    @property
    def timeline(self) -> KeptTimeline:
        return self.timelines.get(TIMELINE)

    def connect(self, **options: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.cluster.socket_dir), user="spg99_admin", dbname="template1", autocommit=True, **options
        )

    async def start(self) -> None:
        await self.cluster.start(SETTINGS)
        self.term += 1
        self.timeline.promise(
            said.PromiseAsk(term=self.term, compute_id=f"cmp_{self.term}", configuration=configuration())
        )

    async def follow(self, history: list[said.TermBegin]) -> None:
        self.timeline.follow(
            said.Follow(
                term=self.term, compute_id=f"cmp_{self.term}", configuration=configuration(), history=history,
                backend_addr=str(self.cluster.socket_dir), backend_port=5432,
            )
        )  # fmt: skip
        self.followers.begin(self.timeline)
        await until("the safekeeper has caught up", lambda: self.timeline.seen().caught_up, seconds=10)

    async def fresh_process(self) -> None:
        """As if the safekeeper had been killed and started again."""
        await self.followers.end()
        self.timeline.close()
        self.timelines, self.followers = KeptTimelines(self.root, SK), Followers()
        self.followers.begin(self.timeline)


@pytest_asyncio.fixture
async def platform(data_dir: Path) -> AsyncIterator[Platform]:
    binaries = find_binaries(None, copy_to=data_dir / "pg", account=service_account(None))
    cluster = Cluster(data_dir / "c" / "pg", data_dir / "run" / "c", binaries, service_account(None))
    await cluster.init()
    await cluster.start({**SETTINGS, "synchronous_standby_names": ""})
    platform = Platform(cluster, data_dir / "sk")
    with platform.connect() as db:
        db.execute(f"create role {ROLE} login replication")
        db.execute("create table t (n int primary key)")
        system = db.execute("select system_identifier from pg_control_system()").fetchone()
    await cluster.stop()
    shutil.copytree(cluster.data_dir, data_dir / "image", symlinks=True)
    redo = parse_lsn((await _control(cluster))["Latest checkpoint's REDO location"])
    assert system is not None
    platform.timelines.begin(
        TIMELINE,
        said.TimelineBegin(
            term=0, compute_id="cmp_0", configuration=configuration(), system_identifier=int(system[0]),
            segment_bytes=MIB, tli=1, begin_lsn=redo // MIB * MIB,
        ),
    )  # fmt: skip
    yield platform
    await platform.followers.end()
    await cluster.stop("immediate")


async def _control(cluster: Cluster) -> dict[str, str]:
    out, _ = await cluster._run("pg_controldata", "-D", cluster.data_dir)
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in out.splitlines())}


async def test_an_acknowledged_commit_outlives_the_folder(platform: Platform, data_dir: Path) -> None:
    await platform.start()
    begin = platform.timeline.keeper.flush_lsn
    await platform.follow([*_root(platform), said.TermBegin(term=1, tli=1, begin_lsn=begin)])

    def write() -> int:
        with platform.connect() as db:
            for n in range(30):
                db.execute("insert into t values (%s)", (n,))
            db.execute("insert into t select g from generate_series(1000, 30000) g")
        return 30 + 29001

    acknowledged = await asyncio.to_thread(write)
    await platform.cluster.stop("immediate")
    shutil.rmtree(platform.cluster.data_dir)

    await platform.fresh_process()
    kept = platform.timeline.keeper
    shutil.copytree(data_dir / "image", platform.cluster.data_dir, symlinks=True)
    pg_wal = platform.cluster.data_dir / "pg_wal"
    for number in range(kept.first_lsn // MIB, -(-kept.flush_lsn // MIB)):
        (pg_wal / segment_name(Segment(1, number))).write_bytes(platform.timeline.segment(1, number))
    (platform.cluster.data_dir / "recovery.signal").touch()
    if platform.cluster.account is not None:
        _give(platform.cluster.data_dir, platform.cluster.account.uid, platform.cluster.account.gid)
    SETTINGS_REBUILD = {**SETTINGS, "restore_command": "false", "recovery_target_timeline": "1", "hot_standby": "off"}
    await platform.cluster.start(SETTINGS_REBUILD)
    platform.term = 2
    platform.timeline.promise(said.PromiseAsk(term=2, compute_id="cmp_2", configuration=configuration()))
    switch = (pg_wal / "00000002.history").read_text().split()
    await platform.follow([*_history(platform), said.TermBegin(term=2, tli=2, begin_lsn=parse_lsn(switch[1]))])

    def read() -> int:
        with platform.connect() as db:
            db.execute("insert into t values (-1)")
            row = db.execute("select count(*) from t").fetchone()
            assert row is not None
            return int(row[0])

    assert await asyncio.to_thread(read) == acknowledged + 1


def _root(platform: Platform) -> list[said.TermBegin]:
    return _history(platform)


def _history(platform: Platform) -> list[said.TermBegin]:
    from spg99.wal.fence import cut

    keeper = platform.timeline.keeper
    return said.history_said(cut(keeper.history, keeper.flush_lsn))


def _give(folder: Path, uid: int, gid: int) -> None:
    import os

    for where, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            os.chown(os.path.join(where, name), uid, gid, follow_symlinks=False)
