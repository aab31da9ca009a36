"""A cluster on disk, with PostgreSQL 18 and 16: made, copied, started, stopped, and what stands in the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import psycopg
import pytest
import pytest_asyncio

import spg99
from spg99.errors import BadRequest, CannotWake, Conflict, Internal
from spg99.postgres import (
    Binaries,
    Cluster,
    accounts,
    find_binaries,
    prepare_account,
    require_reachable,
    service_account,
)
from spg99.postgres.accounts import blocking_folder, make_folder
from spg99.postgres.locks import locked

SETTINGS = {"shared_buffers": "16MB", "huge_pages": "off"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")


@pytest.fixture(params=[18, pytest.param(16, marks=pytest.mark.slow)])
def binaries(request: pytest.FixtureRequest, data_dir: Path) -> Binaries:
    return find_binaries(None, copy_to=data_dir / "pg", account=service_account(None), major=request.param)


@pytest_asyncio.fixture
async def cluster(binaries: Binaries, data_dir: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(data_dir / "c" / "pg", data_dir / "run" / "c", binaries, service_account(None))
    await cluster.init()
    yield cluster
    await cluster.stop("immediate")


def connect(cluster: Cluster) -> psycopg.Connection:
    return psycopg.connect(host=str(cluster.socket_dir), user="spg99_admin", dbname="template1", autocommit=True)


async def test_a_life(cluster: Cluster, binaries: Binaries) -> None:
    running = await cluster.start(SETTINGS)
    assert cluster.adopt() == running
    with connect(cluster) as db:
        assert db.execute("show listen_addresses").fetchone() == ("",)
        assert db.execute("show wal_segment_size").fetchone() == ("1MB",)
        version = db.execute("show server_version").fetchone()
        assert version is not None and version[0] == binaries.version
        with pytest.raises(Conflict, match="runs already"):
            await cluster.start(SETTINGS)
    await cluster.stop("fast")
    assert cluster.adopt() is None and not cluster.socket_dir.exists() and not psutil.pid_exists(running.pid)
    await cluster.stop("fast")


async def test_a_copy_has_what_the_original_had(cluster: Cluster, binaries: Binaries, data_dir: Path) -> None:
    await cluster.single_user(["create table t as select 7 as n"])
    copy = Cluster(data_dir / "copy" / "pg", data_dir / "run" / "d", binaries, service_account(None))
    await copy.create_from(cluster.data_dir)
    await copy.start(SETTINGS)
    with connect(copy) as db:
        assert db.execute("select n from t").fetchone() == (7,)
    await copy.stop()


@pytest.mark.slow  # broken
async def test_a_first_start_that_is_killed_at_any_moment_is_made_good_by_the_next(data_dir: Path) -> None:
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom spg99.postgres import Cluster, find_binaries, service_account\n"
        "home = Path(sys.argv[1])\n"
        "binaries = find_binaries(None, copy_to=home / 'pg', account=service_account(None))\n"
        "cluster = Cluster(home / 'c' / 'pg', home / 'run', binaries, service_account(None))\n"
        "print('ready', flush=True)\nasyncio.run(cluster.init())\n"
    )
    binaries = find_binaries(None, copy_to=data_dir / "pg", account=service_account(None))
    cluster = Cluster(data_dir / "c" / "pg", data_dir / "run", binaries, service_account(None))
    killed = 0
    for sixteenth in range(1, 9):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(data_dir)], stdout=subprocess.PIPE, start_new_session=True
        )
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(sixteenth / 16)  # the moments of the kill: initdb takes half a second
        killed += child.returncode is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert cluster.exists == cluster.data_dir.exists()
    assert killed
    await cluster.init()
    await cluster.start(SETTINGS)
    with connect(cluster) as db:
        assert db.execute("select 1").fetchone() == (1,)
    await cluster.stop()


async def test_an_error_in_single_user_mode_is_raised(cluster: Cluster) -> None:
    with pytest.raises(Internal, match='role "a" already exists'):
        await cluster.single_user(["create role a", "create role a"])


async def test_a_wrong_setting_is_told_in_postgresqls_words(cluster: Cluster) -> None:
    with pytest.raises(CannotWake, match="outside the valid range"):
        await cluster.start({"shared_buffers": "1kB"})
    assert not cluster.socket_dir.exists() and cluster.adopt() is None


async def test_a_start_on_a_full_disk_says_so_and_where_its_log_is(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote = (
        '2026 [1] ERROR:  could not write to file "pg_wal/xlogtemp.7": No space left on device\n'
        "2026 [1] FATAL:  checkpoint request failed\n2026 [1] HINT:  Consult recent messages in the server log for details.\n"
    )
    monkeypatch.setattr("spg99.postgres.cluster.read_since", lambda *_: wrote)
    with pytest.raises(CannotWake) as raised:
        await cluster.start({"shared_buffers": "1kB"})
    assert "the disk is full. Make room" in raised.value.message and str(cluster.log_file) in raised.value.message


async def test_a_start_that_is_cancelled_leaves_nothing(cluster: Cluster) -> None:
    start = asyncio.create_task(cluster.start(SETTINGS))
    while cluster.adopt() is None:
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert cluster.adopt() is None
    await cluster.start(SETTINGS)


async def test_the_end_is_seen_by_the_starter_and_by_others(cluster: Cluster, binaries: Binaries) -> None:
    running = await cluster.start(SETTINGS)
    other = Cluster(cluster.data_dir, cluster.socket_dir, binaries, service_account(None))
    mine, theirs = asyncio.create_task(cluster.wait_end()), asyncio.create_task(other.wait_end())
    await asyncio.sleep(0)
    os.kill(running.pid, signal.SIGKILL)
    ends = await asyncio.wait_for(asyncio.gather(mine, theirs), 5)
    assert [end.code for end in ends] == [-signal.SIGKILL, None]


def ended(process: psutil.Process) -> bool:
    """Whether it runs no more; an orphan may stay a zombie until its new parent looks at it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow  # broken
async def test_sessions_that_outlive_a_killed_server_are_ended_before_the_next_start(cluster: Cluster) -> None:
    running = await cluster.start(SETTINGS)
    with connect(cluster) as db:
        children = psutil.Process(running.pid).children()
        session = psutil.Process(db.info.backend_pid)
        session.suspend()  # it cannot notice that its server is gone
        os.kill(running.pid, signal.SIGKILL)
        await cluster.wait_end()
        assert session.is_running()
        again = await cluster.start(SETTINGS)
        assert ended(session) and again.pid != running.pid
    assert all(ended(child) for child in children)


@pytest.mark.slow  # broken
async def test_a_stop_that_hangs_is_made_stronger(cluster: Cluster) -> None:
    running = await cluster.start(SETTINGS)
    psutil.Process(running.pid).suspend()
    await cluster.stop("fast", timeout_seconds=0.2)
    assert not psutil.pid_exists(running.pid)


async def test_a_path_too_long_for_a_socket_is_a_sentence(binaries: Binaries, cluster: Cluster, data_dir: Path) -> None:
    far = Cluster(cluster.data_dir, data_dir / ("x" * 120), binaries, service_account(None))
    with pytest.raises(CannotWake, match="Choose a folder with a shorter path for sockets"):
        await far.start(SETTINGS)


async def test_a_folder_without_a_cluster_is_a_sentence(binaries: Binaries, data_dir: Path) -> None:
    with pytest.raises(CannotWake, match="holds no whole cluster"):
        await Cluster(data_dir / "nothing", data_dir / "run" / "n", binaries, service_account(None)).start(SETTINGS)


async def test_two_that_make_the_same_cluster_make_one(binaries: Binaries, data_dir: Path) -> None:
    twins = [Cluster(data_dir / "t" / "pg", data_dir / "run" / "t", binaries, service_account(None)) for _ in range(2)]
    await asyncio.gather(*(twin.init() for twin in twins))
    starts = await asyncio.gather(*(twin.start(SETTINGS) for twin in twins), return_exceptions=True)
    assert sorted(type(start).__name__ for start in starts) == ["Conflict", "Running"]
    await twins[0].stop()


async def test_a_lock_dies_with_its_holder(data_dir: Path) -> None:
    program = "import asyncio,sys\nfrom pathlib import Path\nfrom spg99.postgres.locks import locked\nasync def main():\n async with locked(Path(sys.argv[1])):\n  print('held', flush=True)\n  await asyncio.sleep(60)\nasyncio.run(main())"
    holder = subprocess.Popen([sys.executable, "-c", program, data_dir / "lock"], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    with pytest.raises(Conflict, match="somebody"):
        async with locked(data_dir / "lock", timeout_seconds=0.05, busy="somebody has it"):
            pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    async with locked(data_dir / "lock", timeout_seconds=5):
        pass


@as_root
def test_a_folder_in_the_way_is_named_and_stays_as_it_is(data_dir: Path) -> None:
    closed = data_dir / "closed"
    make_folder(closed, mode=0o700)
    make_folder(closed / "inside", mode=0o755)
    account = service_account(None)
    with pytest.raises(BadRequest, match=f"cannot enter {closed},"):
        require_reachable(closed / "inside", account)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert blocking_folder(data_dir, account) is None


@pytest.mark.slow  # again
@as_root
async def test_programs_that_root_cannot_share_are_copied_once(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spg99.postgres.binaries.blocking_folder", lambda *_: Path("/root"))
    account = service_account(None)
    copied = find_binaries(None, copy_to=data_dir / "pg", account=account)
    assert copied.bin_dir.is_relative_to(data_dir / "pg") and copied.version.startswith("18.")
    made = copied.program("postgres").stat().st_mtime_ns, copied.program("postgres").stat().st_ino
    again = find_binaries(None, copy_to=data_dir / "pg", account=account)
    assert (again.program("postgres").stat().st_mtime_ns, again.program("postgres").stat().st_ino) == made
    # What a power cut may leave in any of them: nothing, or zeros of the right length.
    for name, damage in (("psql", b""), ("postgres", bytes(made_bytes := copied.program("postgres").stat().st_size))):
        whole = copied.program(name).read_bytes()
        copied.program(name).write_bytes(damage)
        find_binaries(None, copy_to=data_dir / "pg", account=account)
        assert copied.program(name).read_bytes() == whole
    assert copied.program("postgres").stat().st_size == made_bytes
    # Programs that link libpq find it beside the copy.
    assert account is not None
    subprocess.run([copied.program("psql"), "--version"], check=True, **account.popen_options(), cwd="/")
    cluster = Cluster(data_dir / "c" / "pg", data_dir / "run" / "c", copied, account)
    await cluster.init()
    await cluster.start(SETTINGS)
    await cluster.stop()
    assert [path.name for path in (data_dir / "pg").iterdir() if path.name.startswith(".")] == []


@as_root
@pytest.mark.parametrize(("run_as", "words"), [("root", "uid 0"), ("no-such-user", "does not exist")])
def test_an_account_that_cannot_be_is_a_sentence(run_as: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        service_account(run_as)


@as_root
async def test_files_of_the_shared_account_go_to_our_own_also_after_a_cut(data_dir: Path) -> None:
    """A data folder from before there was an account of our own; the second start finds half of it given on."""
    shared, own = service_account("nobody"), prepare_account(None)
    assert shared is not None and own is not None
    if own.name != "spg99":
        pytest.skip("this system lets us make no account")
    binaries = find_binaries(None, copy_to=data_dir / "pg", account=shared)
    before = Cluster(data_dir / "c" / "pg", data_dir / "run" / "c", binaries, shared)
    await before.init()
    await before.start(SETTINGS)
    with connect(before) as db:
        db.execute("create table kept (a int)")
        db.execute("insert into kept values (1)")
    await before.stop()
    foreign = data_dir / "foreign"
    foreign.write_text("")
    os.chown(foreign, shared.uid, shared.gid)
    (before.data_dir / "second_name").hardlink_to(foreign)
    (before.data_dir / "link").symlink_to("/etc/passwd")
    for half in (before.data_dir / "base", before.data_dir / "PG_VERSION"):  # where a former attempt was cut short
        os.chown(half, own.uid, own.gid)

    after = Cluster(data_dir / "c" / "pg", data_dir / "run" / "c", binaries, own)
    running = await after.start(SETTINGS)
    try:
        assert psutil.Process(running.pid).username() == own.name
        with connect(after) as db:
            assert db.execute("select a from kept").fetchall() == [(1,)]
    finally:
        await after.stop()
    owners = {path: path.lstat().st_uid for path in after.data_dir.rglob("*")}
    owners.pop(after.data_dir / "link")
    assert owners.pop(after.data_dir / "second_name") == shared.uid
    assert set(owners.values()) == {own.uid}
    assert Path("/etc/passwd").stat().st_uid == 0 and foreign.stat().st_uid == shared.uid


@as_root
async def test_files_of_somebody_else_are_not_taken(data_dir: Path) -> None:
    own = prepare_account(None)
    binaries = find_binaries(None, copy_to=data_dir / "pg", account=own)
    cluster = Cluster(data_dir / "c" / "pg", data_dir / "run" / "c", binaries, own)
    await cluster.init()
    os.chown(cluster.data_dir, 0, 0)
    with pytest.raises(CannotWake, match="must belong to"):
        await cluster.start(SETTINGS)
    assert cluster.data_dir.stat().st_uid == 0


@as_root
def test_where_no_account_can_be_made_the_shared_one_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"nobody": pwd.getpwnam("nobody")}
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    for command in (None, ["false"], ["/no/such/program"]):
        monkeypatch.setattr(accounts, "command_for_account", lambda name, command=command: command)
        found = prepare_account(None)
        assert found is not None and found.name == "nobody"


def test_a_folder_without_programs_is_a_sentence(data_dir: Path) -> None:
    with pytest.raises(BadRequest, match="no PostgreSQL in"):
        find_binaries(data_dir, copy_to=data_dir / "pg")


@pytest.mark.slow  # again
@as_root
def test_everything_works_for_an_ordinary_user(data_dir: Path) -> None:
    """The same life as `nobody`, who has no home and no rights, in a folder of its own."""
    account = service_account("nobody")
    assert account is not None
    reachable = [
        python
        for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
        if Path(python).exists() and blocking_folder(Path(python).resolve().parent, account) is None
    ]
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    if not reachable or blocking_folder(Path(packages), account) is not None:
        pytest.skip("no Python of this version that an ordinary user can reach; run the tests as one to see it")
    home = data_dir / "home"
    make_folder(home, mode=0o700, owner=account)
    done = subprocess.run(
        [reachable[0], "-c", ORDINARY, home], capture_output=True, text=True, timeout=100, cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{packages}:{Path(spg99.__file__).parents[1]}"}, **account.popen_options(),
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "all well\n", done.stderr


ORDINARY = """
import asyncio, sys
from pathlib import Path
from spg99.node.computes import Computes
from spg99.node.folder import NodeFolder
from spg99.node.template import prepare_extensions, prepare_template
from spg99.node.timelines import Timelines
from spg99.postgres import find_binaries, service_account
from spg99.protocol.tasks import ComputeStart, TimelineCreate

async def main():
    account = service_account(None)
    assert account is None
    folder = NodeFolder.prepare(Path(sys.argv[1]), "n", account)
    binaries = find_binaries(None, copy_to=folder.pg_dir, account=account)
    template = await prepare_template(folder, binaries, account)
    computes = Computes(folder, binaries, account, extensions_dir=prepare_extensions(folder, binaries))
    await Timelines(folder, template, binaries, account).create(
        TimelineCreate(timeline_id="tl_1", database_name="app", pg_user="u"))
    started = await computes.start(ComputeStart(compute_id="cmp_1", timeline_id="tl_1", db_id="db_1", writer_term=1,
                                                profile="L1", database_name="app", pg_user="u"))
    import psycopg
    with psycopg.connect(host=started.backend_addr, user="u", dbname="app") as db:
        db.execute("create extension vector")
    await computes.stop("cmp_1", "tl_1", "fast")
    assert not list(folder.run_dir.iterdir())
    print("all well")

asyncio.run(main())
"""
