"""One cluster on disk: make it, start it, wait until it answers, stop it. Here: PostgreSQL's own rules for that.
Not here: its settings and whose it is (callers), what processes look like (postmaster.py)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from spg99 import faults, spans
from spg99.atomic_write import install_folder, sync_file_system
from spg99.errors import BadRequest, CannotWake, Conflict, Internal
from spg99.postgres import postmaster
from spg99.postgres.accounts import Account, make_folder, require_reachable, take_over
from spg99.postgres.binaries import Binaries
from spg99.postgres.control_file import place_of
from spg99.postgres.folder_watch import FolderWatch
from spg99.postgres.launch import launched
from spg99.postgres.locks import locked
from spg99.postgres.logfile import complaint_in, is_disk_full, last_words, read_since
from spg99.postgres.postmaster import Exit, Running
from spg99.postgres.preload import Preload
from spg99.postgres.socket_folder import SOCKET_PATH_BYTES_MAX

ADMIN_ROLE: Final = "spg99_admin"
"""The bootstrap superuser of every cluster of ours."""
_PARTS: Final = ("PG_VERSION", "global/pg_control")
"""Without these PostgreSQL does not start. initdb writes the first of them first, the other one near its end."""
WAL_SOCKET: Final = "u"
"""No id has this letter (ids.py), so it is in the way of no other cluster; and the path is no longer."""
StopMode = Literal["fast", "immediate"]
_STOP_SIGNAL: Final = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
START_SECONDS: Final = 600.0
"""A start may replay a lot of WAL; the process's own end is noticed at once, so this is only for one that hangs."""
CHECK_SECONDS: Final = 0.01
"""How often a start that writes nothing is checked: it may have ended."""


class Cluster:
    """A PostgreSQL cluster in `data_dir`, reached by a unix socket in `socket_dir`, run by `account` (None = ourselves).

    `log_file` gets what PostgreSQL says; default: beside the data folder. One object is used by one event loop.
    """

    def __init__(
        self,
        data_dir: Path,
        socket_dir: Path,
        binaries: Binaries,
        account: Account | None,
        *,
        log_file: Path | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.socket_dir = socket_dir.resolve()
        self.binaries = binaries
        self.account = account
        self.log_file = log_file or self.data_dir.with_name(self.data_dir.name + ".log")
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def wal_socket_dir(self) -> Path:
        """A second door, for who is no client: it is neither counted nor closed with the first."""
        return wal_socket_of(self.socket_dir)

    @property
    def exists(self) -> bool:
        """Whether the data folder holds a cluster: all of it has its name at once, so these two stand for the rest."""
        return not self._missing()

    async def init(self, settings: Mapping[str, str] | None = None) -> None:
        """Makes an empty cluster: UTF-8, an order of text that does not hang on the machine's libc, small WAL segments.

        `settings` hold from its first moment and are written into its postgresql.conf. Whole or not there, also after a
        power cut. Raises BadRequest, and touches nothing, where other files stand in its place.
        """
        async with self._only_one():
            if self.exists:
                return
            draft = self._make_draft()
            await self._run(
                "initdb", "--pgdata", draft, "--username", ADMIN_ROLE, "--auth", "trust", "--encoding", "UTF8",
                "--wal-segsize", "1", "--no-instructions", "--no-sync", *_locale_options(self.binaries.major),
                *(word for name, value in (settings or {}).items() for word in ("-c", f"{name}={value}")),
            )  # fmt: skip
            faults.point("cluster.init.before_rename")
            await asyncio.to_thread(install_folder, draft, self.data_dir)

    async def create_from(self, template: Path) -> None:
        """Makes the cluster as a copy of a stopped one; shares the blocks where the file system can (XFS, btrfs, APFS).

        Whole or not there; it lasts through a power cut once `single_user` has returned. Raises BadRequest as `init` does.
        """
        async with self._only_one():
            if self.exists:
                return
            draft = self._make_draft()
            await asyncio.to_thread(self._copy, template, draft)
            draft.rename(self.data_dir)

    async def single_user(self, statements: list[str], *, settings: Mapping[str, str] | None = None) -> None:
        """Runs SQL as superuser on the stopped cluster without opening it to anyone, and makes the whole of it durable. With a recovery.signal it
        is recovered first; `settings` beat ours. Raises Internal at the first error; the cluster may be half changed then."""
        script = "".join(" ".join(statement.split("\n")) + "\n" for statement in statements)
        _, complaints = await self._run(
            "postgres", "--single", "-D", self.data_dir, "-c", "log_min_messages=error", "-c", "exit_on_error=on",
            "-c", "fsync=off",  # one syncfs at the end takes 20 ms, 700 fsyncs on a busy disk take seconds
            # Nobody else comes: shared memory for all who could takes longer to lay out than the statements do (38 -> 22 ms).
            "-c", "shared_buffers=1MB", "-c", "max_connections=5", "-c", "max_worker_processes=0",
            *(word for name, value in (settings or {}).items() for word in ("-c", f"{name}={value}")),
            "template1", stdin=script,
        )  # fmt: skip
        if (complaint := complaint_in(complaints, levels=("ERROR", "FATAL", "PANIC"))) is not None:
            raise Internal(f"The cluster in {self.data_dir} could not be prepared: {complaint}")
        await asyncio.to_thread(sync_file_system, self.data_dir)

    async def start(
        self,
        settings: Mapping[str, str],
        *,
        port: int = 5432,
        timeout_seconds: float = START_SECONDS,
        environment: Mapping[str, str] | None = None,
        preload: Preload | None = None,
        data_bytes_max: int | None = None,
        has_wal_socket: bool = False,
    ) -> Running:
        """Starts PostgreSQL with `settings` on its command line (they beat all files) and waits until it serves. `data_bytes_max`
        bounds the memory of each of its processes. `has_wal_socket`: its socket stands in `wal_socket_dir`, too.

        Raises CannotWake with PostgreSQL's own reason when it does not, Conflict when it runs already.
        """
        if missing := self._missing():
            raise CannotWake(
                f"The database's files are missing or damaged: {self.data_dir} holds no whole cluster "
                f"({' and '.join(missing)} missing or empty)."
            )
        async with self._only_one():
            require_reachable(self.data_dir.parent, self.account)
            await self._clear_the_way(port)
            if self.account is not None and self.data_dir.lstat().st_uid != self.account.uid:
                await asyncio.to_thread(take_over, self.data_dir, self.account)
            log_begin = self.log_file.stat().st_size if self.log_file.exists() else 0
            child = self._child = self._spawn(
                settings, port, environment or {}, preload, data_bytes_max, has_wal_socket
            )
            spans.mark("postgres.spawned")
            try:
                running = await self._serving(child.pid, child, timeout_seconds)
                spans.mark("postgres.serves")
                return running
            except CannotWake as error:
                await self._give_up()
                said = read_since(self.log_file, log_begin)
                reason = complaint_in(said) or last_words(said) or error.message
                if is_disk_full(said):
                    reason = f"the disk is full. Make room and try again. {reason} Its log is {self.log_file}."
                raise CannotWake(f"PostgreSQL did not start: {reason}{self._advice(reason)}") from error
            except BaseException:
                await self._give_up()
                raise

    def adopt(self) -> Running | None:
        """The postmaster that runs in this data folder, whoever started it; None when none does."""
        seen = postmaster.read_pid_file(self.data_dir)
        return postmaster.living(seen.pid, self.data_dir) if seen is not None else None

    async def wait_ready(self, *, timeout_seconds: float = START_SECONDS) -> Running:
        """Waits until a cluster that is being started (by whomever) serves."""
        running = self.adopt()
        if running is None:
            raise CannotWake("PostgreSQL does not run.")
        return await self._serving(running.pid, self._child, timeout_seconds)

    async def wait_end(self, pid: int | None = None) -> Exit:
        """Waits until the postmaster that runs now has ended. `pid`: of one that is known; then no pid file is asked, which a
        tenant's full disk may have torn. Raises OSError when nobody can tell."""
        running = self.adopt() if pid is None else postmaster.living(pid, self.data_dir)
        if running is None:
            return Exit(self._child.poll() if self._child is not None else None)
        child = self._child if self._child is not None and self._child.pid == running.pid else None
        return await postmaster.wait_end(running.pid, child)

    def lives(self, pid: int) -> bool:
        """Whether this process is (still) the postmaster of this folder. Raises OSError when nobody can tell."""
        return postmaster.living(pid, self.data_dir) is not None

    async def stop(self, mode: StopMode = "fast", *, timeout_seconds: float = 30.0) -> None:
        """Stops PostgreSQL and leaves no process and no socket; one that does not run is stopped already.

        `fast` ends sessions and writes a checkpoint; when it takes longer than the timeout: `immediate`, then SIGKILL.
        Nothing acknowledged is lost by either, the next start just takes longer.
        """
        running = self.adopt()
        if running is not None:
            everyone = postmaster.family(running.pid)
            steps: list[tuple[int, float]] = [(_STOP_SIGNAL[mode], timeout_seconds), (signal.SIGQUIT, 5.0)]
            for sign, seconds in steps:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.pid, sign)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wait_end(), seconds)
                    break
            await postmaster.kill_all([process for process in everyone if process.is_running()])
        elif (self.data_dir / postmaster.PID_FILE).exists():
            await postmaster.kill_all(postmaster.leftovers(self.data_dir))  # its postmaster was killed
        if self._child is not None:
            self._child.poll()
        self.remove_sockets()

    def remove_sockets(self) -> None:
        """Removes the folders of its sockets: nobody is behind them any more."""
        shutil.rmtree(self.socket_dir, ignore_errors=True)
        shutil.rmtree(self.wal_socket_dir, ignore_errors=True)

    # What follows is how.

    def _only_one(self) -> contextlib.AbstractAsyncContextManager[None]:
        # 0755 for what we have to make ourselves; a folder that is there keeps its mode.
        if not self.data_dir.parent.exists():
            make_folder(self.data_dir.parent, mode=0o755)
        return locked(self.data_dir.with_name(self.data_dir.name + ".lock"))

    def _missing(self) -> list[str]:
        """Those of the files that no cluster can do without that are not there, or empty."""
        missing = []
        for name in _PARTS:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if place_of(self.data_dir, name).stat().st_size > 0:
                    continue
            missing.append(name)
        return missing

    def _make_draft(self) -> Path:
        require_reachable(self.data_dir.parent, self.account)
        if self.data_dir.exists() and next(self.data_dir.iterdir(), None) is not None:
            # Perhaps an initdb that was cut short (before drafts), perhaps the only copy of somebody's data.
            raise BadRequest(
                f"{self.data_dir} is not empty and holds no whole cluster: {' and '.join(self._missing())} missing or empty. "
                "Nothing in it was changed. If it held data, put the missing files, or the whole folder, back from a backup. "
                "If nothing was ever kept in it (a first start that was cut short), remove the folder. Then start again."
            )
        draft = self.data_dir.with_name(f".draft-{self.data_dir.name}")
        if draft.exists():
            shutil.rmtree(draft)  # an attempt that was cut short; nothing ever ran in it
        make_folder(draft, mode=0o700, owner=self.account, durable=False)
        return draft

    def _copy(self, template: Path, draft: Path) -> None:
        command = ["cp", "-a", "--reflink=auto"] if sys.platform == "linux" else ["cp", "-Rpc"]
        copy = subprocess.run([*command, f"{template}/.", draft], capture_output=True, text=True, check=False)
        if copy.returncode != 0:
            # Some cp know none of these flags; if it was the disk, the plain copy says so.
            shutil.copytree(template, draft, symlinks=True, dirs_exist_ok=True)
        if self.account is not None and template.stat().st_uid != self.account.uid:
            for folder, folders, files in os.walk(draft):
                for name in (".", *folders, *files):
                    os.chown(os.path.join(folder, name), self.account.uid, self.account.gid, follow_symlinks=False)

    async def _clear_the_way(self, port: int) -> None:
        path = self.socket_dir / f".s.PGSQL.{port}"
        if (length := len(os.fsencode(path))) > SOCKET_PATH_BYTES_MAX:
            raise CannotWake(
                f"The socket's path {path} has {length} bytes, the system allows {SOCKET_PATH_BYTES_MAX}. "
                "Choose a folder with a shorter path for sockets."
            )
        if (running := self.adopt()) is not None:
            raise Conflict(f"PostgreSQL runs already in {self.data_dir} (pid {running.pid}).")
        pid_file = self.data_dir / postmaster.PID_FILE
        if pid_file.exists():
            # Left by a kill or a power cut. PostgreSQL removes it only if no process of our user has that pid by now,
            # which after a reboot one may well have.
            await postmaster.kill_all(postmaster.leftovers(self.data_dir))
            pid_file.unlink(missing_ok=True)
        for folder in (self.socket_dir, self.wal_socket_dir):
            if folder.exists():
                shutil.rmtree(folder)
        make_folder(self.socket_dir, mode=0o700, owner=self.account, durable=False)
        require_reachable(self.socket_dir, self.account)

    def _spawn(
        self,
        settings: Mapping[str, str],
        port: int,
        environment: Mapping[str, str],
        preload: Preload | None,
        data_bytes_max: int | None,
        has_wal_socket: bool,
    ) -> subprocess.Popen[bytes]:
        process = self._process_options()
        process["env"] |= environment
        if preload is not None:
            process = preload.start_options(process)
        folders = [self.socket_dir, *([self.wal_socket_dir] if has_wal_socket else [])]
        make_folder(folders[-1], mode=0o700, owner=self.account, durable=False)
        folders_text = ", ".join(map(_quoted, folders))
        fixed = {"listen_addresses": "", "unix_socket_directories": folders_text, "port": str(port)}
        options = [word for name, value in {**settings, **fixed}.items() for word in ("-c", f"{name}={value}")]
        command, as_account = launched(
            [self.binaries.program("postgres"), "-D", self.data_dir, *options],
            self.account,
            data_bytes_max=data_bytes_max,
        )
        with _append_only(self.log_file) as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is for us; we stop it in order
                **process, **as_account,
            )  # fmt: skip

    async def _serving(self, pid: int, child: subprocess.Popen[bytes] | None, timeout_seconds: float) -> Running:
        deadline = time.monotonic() + timeout_seconds
        with FolderWatch(self.data_dir) as watch:
            while time.monotonic() < deadline:
                if (running := self._found(pid, child)) is not None:
                    return running
                await watch.wait(CHECK_SECONDS)
        raise CannotWake(f"It was not ready after {timeout_seconds:.0f} s.")

    def _found(self, pid: int, child: subprocess.Popen[bytes] | None) -> Running | None:
        """The server once it serves; None while it starts. Raises CannotWake when it has ended."""
        if child is not None and child.poll() is not None:
            raise CannotWake(Exit(child.returncode).sentence())
        seen = postmaster.read_pid_file(self.data_dir)
        if seen is not None and seen.pid == pid and seen.status == "ready":
            if (running := postmaster.living(pid, self.data_dir)) is not None:
                return running
            raise CannotWake("PostgreSQL ended right after its start.")
        if child is None and postmaster.living(pid, self.data_dir) is None:
            raise CannotWake("PostgreSQL ended during its start.")
        return None

    def _advice(self, reason: str) -> str:
        if "Permission denied" not in reason:
            return ""
        name = f"'{self.account.name}'" if self.account is not None else "the agent's user"
        return f" Everything in {self.data_dir} must belong to {name}, with mode 0700 and 0600."

    async def _give_up(self) -> None:
        child = self._child
        if child is not None and child.poll() is None:
            await asyncio.shield(postmaster.kill_all(postmaster.family(child.pid)))
            child.poll()
        self.remove_sockets()

    async def _run(self, program: str, *arguments: str | Path, stdin: str = "") -> tuple[str, str]:
        def run() -> subprocess.CompletedProcess[str]:
            account = self.account.popen_options() if self.account is not None else {}
            return subprocess.run(
                [self.binaries.program(program), *arguments], input=stdin, capture_output=True, text=True, check=False,
                timeout=START_SECONDS, **self._process_options(), **account,
            )  # fmt: skip

        done = await asyncio.to_thread(run)
        if done.returncode != 0:
            reason = complaint_in(done.stderr, levels=("ERROR", "FATAL", "PANIC", "error")) or done.stderr.strip()
            raise Internal(f"PostgreSQL's {program} failed on {self.data_dir}: {reason}")
        return done.stdout, done.stderr

    def _process_options(self) -> dict[str, Any]:
        # Nothing of our environment goes along: it may hold keys, and PG* variables would change what runs.
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "TMPDIR": tempfile.gettempdir()}
        return {"env": environment, "cwd": "/", "umask": 0o077}


def wal_socket_of(socket_dir: Path) -> Path:
    """The folder of a cluster's second socket."""
    return socket_dir.with_name(WAL_SOCKET + socket_dir.name[1:])


def _quoted(folder: Path) -> str:
    """A folder in a setting that takes a list of them, whatever signs are in its name."""
    return '"' + str(folder).replace('"', '""') + '"'


def _locale_options(major: int) -> list[str]:
    if major >= 17:
        return ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"]
    return ["--locale-provider", "libc", "--locale", "C.UTF-8" if sys.platform == "linux" else "C"]


@contextlib.contextmanager
def _append_only(path: Path) -> Any:
    # Append mode: the file may be cut while PostgreSQL holds it open, and the next line goes to the new end.
    with open(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "ab"
    ) as file:
        yield file
