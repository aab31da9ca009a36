"""Three safekeepers and a pageserver beside a platform, each a process with a disk of its own, and what can happen to them. Not here: writers, counting (test_kept_by_three.py)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kit.platform import BIN, Platform, wait_for
from spg99.commands.dev_folder import DevFolder
from spg99.commands.installation import Installation

NAMES = ("k1", "k2", "k3")
PAGESERVER = "p1"


class ThreeSafekeepers:
    """k1 to k3 of one platform."""

    def __init__(self, platform: Platform, root: Path) -> None:
        self.platform, self.root = platform, root
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def folder(self, name: str) -> Path:
        return self.root / name

    async def _token(self, kind: str, *, is_first: bool) -> str:
        folder = DevFolder(self.platform.data_dir)
        async with Installation(self.platform.catalogue_url, folder) as installation:
            if is_first:
                await installation.keep_new_databases(len(NAMES))
            return await installation.enrolment_token(kind)

    def start(self, name: str) -> None:
        """Starts one; one without an identity is new."""
        kind, arguments = "safekeeper", ["--cp-url", self.platform.env["SPG99_CP_URL"]]
        if name == PAGESERVER:
            kind, data_dir = "pageserver", self.platform.data_dir
            arguments += ["--object-store", str(data_dir / "objects")]
            arguments += ["--master-key-file", str(data_dir / "secrets" / "storage.key")]
        home = self.folder(name)
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o711)  # PostgreSQL of another user replays in there
        environment = {**os.environ, **self.platform.env}
        if not list(home.rglob("identity.json")):
            environment["SPG99_ENROLMENT_TOKEN"] = asyncio.run(self._token(kind, is_first=name == NAMES[0]))
        if (ca_file := self.platform.env.get("SPG99_CA_FILE")) is not None:
            arguments += ["--ca-file", ca_file]
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [BIN / "spg99", kind, "--name", name, "--data-dir", home, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip

    def start_all(self) -> None:
        for name in NAMES:
            self.start(name)
        wait_for("three safekeepers to be known", lambda: self._known() == len(NAMES), seconds=60)
        self.start(PAGESERVER)

    def _known(self) -> int:
        with self.platform.catalogue() as catalogue:
            found = catalogue.execute(
                "select count(*) from safekeepers where status = 'active' and observed ->> 'address' is not null"
            ).fetchone()
        return int(found[0]) if found else 0

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(30)

    def stop_all(self) -> None:
        for name, process in self.processes.items():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(30)
            self.processes[name] = process

    @contextlib.contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """These hang, as if a cable were cut."""
        for name in names:
            self.processes[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for name in names:
                self.processes[name].send_signal(signal.SIGCONT)

    def segments(self, name: str, timeline_id: str) -> list[Path]:
        """Its WAL of a timeline, oldest first."""
        found = self.folder(name).glob(f"safekeeper/*/timelines/{timeline_id}/wal/*")
        return sorted(path for path in found if len(path.name) == 24)

    def damage(self, name: str, timeline_id: str, chance: random.Random) -> None:
        """Some bytes of what it has are others, somewhere in the last two segments that are full."""
        full = self.segments(name, timeline_id)[:-1][-2:]
        if not full:
            return
        with chance.choice(full).open("r+b") as file:
            file.seek(chance.randrange(0, 1 << 20, 8))
            file.write(b"\x55" * 32)

    def lose_disk(self, name: str) -> None:
        """All that it kept is gone, and with it who it was."""
        self.kill(name)
        clear(self.folder(name))

    def members_of(self, timeline_id: str) -> tuple[set[str], bool]:
        """Ids of a timeline's safekeepers, and whether these are about to change."""
        with self.platform.catalogue() as catalogue:
            found = catalogue.execute("select configuration from timelines where timeline_id = %s", [timeline_id])
            (configuration,) = found.fetchone() or ({},)
        return set(configuration["members"]["safekeeper_ids"]), configuration.get("next_members") is not None

    def seen(self) -> str:
        """For a failure's message: the last words of each."""
        return "\n".join(
            f"{name}: {(self.root / f'{name}.log').read_text(errors='replace')[-600:]}" for name in self.processes
        )


@contextlib.contextmanager
def a_full_disk(folder: Path) -> Iterator[None]:
    """The disk of a folder is full for a while (a tmpfs that was mounted there)."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    try:
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while free > 0:
                file.write(bytes(1 << 20))
                file.flush()
        yield
    finally:
        ballast.unlink(missing_ok=True)


def mounted_tmpfs(folder: Path, megabytes: int) -> bool:
    """A disk of its own for a folder, where we may mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def clear(folder: Path) -> None:
    """Removes what is in a folder, and leaves the folder: a disk may be mounted there."""
    for path in folder.iterdir():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
