"""Writers through the Gateway while three safekeepers, the compute, its files and the agent are killed, frozen, filled up, damaged and lost: nothing that was
acknowledged is lost. Not here: with one safekeeper (test_kept_rows.py)."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.test_kept_rows import kill_agent_and_lose_files, kill_compute, lose_files
from faults.three_safekeepers import NAMES, PAGESERVER, ThreeSafekeepers, a_full_disk, mounted_tmpfs, unmount
from faults.writers import PipelinedWriter, grown, lost_of
from kit.platform import BIN, Platform, a_platform, wait_for

pytestmark = pytest.mark.slow  # broken

WRITERS = int(os.environ.get("SPG99_WRITERS", "8"))
BETWEEN = int(os.environ.get("SPG99_BETWEEN", "400"))
DISK_MEGABYTES = 1500


class Scene:
    """A platform, its safekeepers, and the dice."""

    def __init__(self, platform: Platform, keepers: ThreeSafekeepers, chance: random.Random, *, has_disk: bool) -> None:
        self.platform, self.keepers, self.chance, self.has_disk = platform, keepers, chance, has_disk

    @property
    def timeline_id(self) -> str:
        return str(self.platform.database("acme", "app")["timeline"])

    def any(self) -> str:
        return self.chance.choice(NAMES)


def kill_one(scene: Scene) -> None:
    name = scene.any()
    scene.keepers.kill(name)
    time.sleep(scene.chance.choice([0.0, 3.0]))
    scene.keepers.start(name)


def freeze_one(scene: Scene) -> None:
    with scene.keepers.frozen(scene.any()):
        time.sleep(6)  # wal_sender_timeout is 5 s


def cut_off_two(scene: Scene) -> None:
    """No quorum for a while: commits wait, and none is lost when it is over."""
    with scene.keepers.frozen(*scene.chance.sample(NAMES, 2)):
        time.sleep(3)


def lose_files_with_one_frozen(scene: Scene) -> None:
    with scene.keepers.frozen(scene.any()):
        lose_files(scene.platform)
        time.sleep(4)


def lose_files_and_kill_one(scene: Scene) -> None:
    name = scene.any()
    scene.keepers.kill(name)
    lose_files(scene.platform)
    time.sleep(2)
    scene.keepers.start(name)


def full_disk(scene: Scene) -> None:
    if scene.has_disk:
        with a_full_disk(scene.keepers.folder(NAMES[-1])):
            time.sleep(4)


def damaged_segment(scene: Scene) -> None:
    """On one disk, and then the compute is lost."""
    scene.keepers.damage(scene.any(), scene.timeline_id, scene.chance)
    lose_files(scene.platform)


def lost_for_good(scene: Scene) -> None:
    """One of three, with its disk: another comes under its name and is filled up by the others, while all goes on."""
    before, _ = scene.keepers.members_of(scene.timeline_id)
    name = scene.any()
    scene.keepers.lose_disk(name)
    scene.keepers.start(name)

    def is_replaced() -> bool:
        if scene.keepers.processes[name].poll() is not None:  # its name is free once the one before is silent
            scene.keepers.start(name)
        members, are_changing = scene.keepers.members_of(scene.timeline_id)
        return members != before and not are_changing

    wait_for("another to have its place", is_replaced, seconds=120, every=1.0)


def kill_pageserver(scene: Scene) -> None:
    """In the middle of whatever it stores: WAL, an image, the list of what may go."""
    time.sleep(scene.chance.random() * 2)
    scene.keepers.kill(PAGESERVER)
    time.sleep(scene.chance.choice([0.0, 3.0]))
    scene.keepers.start(PAGESERVER)


def kill_upload(scene: Scene) -> None:
    """The agent, while it stores the image of a clean stop; then all files are lost."""
    store = scene.platform.data_dir / "objects"
    before = set(store.glob("tenants/*/chunks/*/*"))
    answer = scene.platform.api("POST", "/tenants/acme/dbs/app/stop")
    assert answer.status_code in (200, 202, 409), answer.text
    ends_at = time.monotonic() + 10
    while time.monotonic() < ends_at and set(store.glob("tenants/*/chunks/*/*")) <= before:
        time.sleep(0.002)
    kill_agent_and_lose_files(scene.platform)


FAULTS: tuple[Callable[[Scene], None], ...] = (
    kill_one,
    freeze_one,
    cut_off_two,
    lose_files_with_one_frozen,
    lose_files_and_kill_one,
    full_disk,
    damaged_segment,
    lost_for_good,
    kill_pageserver,
    kill_upload,
    lambda scene: kill_compute(scene.platform),
    lambda scene: lose_files(scene.platform),
    lambda scene: kill_agent_and_lose_files(scene.platform),
)
TITLES = {fault: fault.__name__ for fault in FAULTS} | dict(
    zip(FAULTS[-3:], ("kill_compute", "lose_files", "kill_agent_and_lose_files"), strict=True)
)


@pytest.fixture
def scene() -> Iterator[Scene]:
    root = Path(tempfile.mkdtemp(prefix="spg99-three-"))
    root.chmod(0o711)
    has_disk = os.geteuid() == 0 and mounted_tmpfs(root / NAMES[-1], DISK_MEGABYTES)
    with a_platform() as platform:
        keepers = ThreeSafekeepers(platform, root)
        try:
            keepers.start_all()
            yield Scene(platform, keepers, random.Random(int(os.environ.get("SPG99_SEED", "1"))), has_disk=has_disk)
            platform.stop()
        finally:
            keepers.stop_all()
            if has_disk:
                unmount(root / NAMES[-1])
            shutil.rmtree(root, ignore_errors=True)


def test_acknowledged_rows_outlive_any_one_of_three(scene: Scene) -> None:
    rows_survive(scene, [lose_files_and_kill_one, cut_off_two, damaged_segment])


@pytest.mark.long
@pytest.mark.timeout(10800)
def test_rounds_with_three(scene: Scene) -> None:
    """SPG99_ROUNDS rounds, each a fault by chance (SPG99_SEED; of those in SPG99_FAULTS only), each after SPG99_BETWEEN commits of SPG99_WRITERS writers."""
    rounds = int(os.environ.get("SPG99_ROUNDS", "50"))
    names = os.environ.get("SPG99_FAULTS", ",".join(TITLES.values())).split(",")
    faults = [fault for fault, title in TITLES.items() if title in names]
    rows_survive(scene, [scene.chance.choice(faults) for _ in range(rounds)])


def rows_survive(scene: Scene, faults: list[Callable[[Scene], None]]) -> None:
    """Writes while one fault follows the other; counts at the end."""
    platform = scene.platform
    platform.create_database("acme", "app", idle_timeout_seconds=300)
    with platform.connect("acme", "app") as connection:
        connection.execute("create table rows (writer int, n int, primary key (writer, n))")
    stop = threading.Event()
    writers = [PipelinedWriter(number, platform.dsn("acme", "app"), stop) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        for number, fault in enumerate(faults, 1):
            wait_for("rows to be acknowledged", grown(writers, BETWEEN), seconds=600)
            began = time.monotonic()
            fault(scene)
            wait_for(f"rows after {TITLES.get(fault, fault.__name__)}", grown(writers, 1), seconds=180)
            count = sum(len(writer.acknowledged) for writer in writers)
            took = time.monotonic() - began
            print(f"{number}: {TITLES.get(fault, fault.__name__)} {took:.1f} s, {count} rows acknowledged", flush=True)
    except AssertionError as error:
        said = "\n".join(line for line in platform.log().splitlines() if '"level": "info"' not in line)[-6000:]
        raise AssertionError(f"{error}\n{platform.database('acme', 'app')}\n{scene.keepers.seen()}\n{said}") from error
    finally:
        stop.set()
        for writer in writers:
            writer.join(120)
    assert [writer.surprise for writer in writers] == [None] * WRITERS
    with platform.connect("acme", "app") as connection:
        found = connection.execute("select writer, n from rows").fetchall()
    acknowledged, lost = lost_of(writers, found)
    print(f"{len(faults)} faults, {len(acknowledged)} rows acknowledged, {len(lost)} lost", flush=True)
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged rows are lost: {sorted(lost)[:10]}"
    assert len(acknowledged) >= BETWEEN * len(faults)
    checked = subprocess.run(
        [BIN / "spg99", "storage", "check", "--read", "--data-dir", platform.data_dir],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(checked.stdout, flush=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
