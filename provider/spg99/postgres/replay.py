"""Replays WAL on a folder and stops there, or goes to its end, with nobody connected: no socket, low priority, as the account of computes. And reads every page's
checksum. Not here: where folder and WAL come from (archive/), what becomes of it (pageserver/)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from spg99.errors import CannotWake, Damaged, Internal
from spg99.postgres.accounts import Account
from spg99.postgres.binaries import Binaries
from spg99.postgres.control_file import ClusterState, read_control_file
from spg99.postgres.launch import launched
from spg99.postgres.logfile import complaint_in, last_words
from spg99.wal import history
from spg99.wal.lsn import format_lsn

REPLAY_SECONDS_MAX: Final = 3600.0
_NICE: Final = ("nice", "-n", "19")
_SETTINGS: Final = {
    "fsync": "off",  # the folder is thrown away, and what is stored of it was synced by the store
    "shared_buffers": "32MB",
    "huge_pages": "off",
    "io_method": "sync",
    "hot_standby": "off",
    "restart_after_crash": "off",
    "listen_addresses": "",
    "logging_collector": "off",
    "log_destination": "stderr",
    # A tenant's statements and rows stay out of our logs.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "recovery_target_inclusive": "off",
    "recovery_target_action": "shutdown",
}

_TARGET: Final = frozenset({"recovery_target_inclusive", "recovery_target_action"})
"""Of no use where all is replayed."""


_running: set[subprocess.Popen[bytes]] = set()


def end_all() -> None:
    """Ends what runs: whoever waits for it gets Damaged, and nothing is stored."""
    for child in list(_running):
        child.send_signal(signal.SIGQUIT)


async def replay(
    data_dir: Path, binaries: Binaries, account: Account | None, settings: Mapping[str, str], before_lsn: int
) -> None:
    """Replays until the first record that begins at `before_lsn` or behind it, which must be there, and stops. Raises Damaged with PostgreSQL's own reason when
    it cannot."""
    with tempfile.TemporaryDirectory(
        prefix="spg99-replay-"
    ) as sockets:  # it wants one; while it replays it answers nobody there
        if account is not None:
            os.chown(sockets, account.uid, account.gid)
        options = {**settings, **_SETTINGS, "recovery_target_lsn": format_lsn(before_lsn)}
        options["unix_socket_directories"] = sockets
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        code, said = await asyncio.to_thread(_run, [binaries.program("postgres"), "-D", data_dir, *words], account)
    if code != 0 or read_control_file(data_dir).state is not ClusterState.SHUT_DOWN_IN_RECOVERY:
        reason = complaint_in(said, levels=("PANIC", "FATAL")) or last_words(said) or f"exit code {code}"
        raise Damaged(f"The WAL could not be replayed to {format_lsn(before_lsn)}: {reason}")
    (data_dir / "recovery.signal").unlink(missing_ok=True)


async def replay_all(data_dir: Path, binaries: Binaries, account: Account | None, settings: Mapping[str, str]) -> int:
    """Replays all WAL that there is, begins a timeline of its own as a start does, and stops; answers where the WAL ended. Single-user mode: nobody can come. Raises
    Damaged with PostgreSQL's own reason."""
    options = {**settings, **_SETTINGS}
    words = [word for name, value in options.items() if name not in _TARGET for word in ("-c", f"{name}={value}")]
    command: list[str | Path] = [
        binaries.program("postgres"),
        "--single",
        "-D",
        data_dir,
        *words,
        "-c",
        "wal_recycle=off",
        "template1",
    ]
    code, said = await asyncio.to_thread(_run, command, account)
    complaint = complaint_in(said, levels=("PANIC", "FATAL"))
    if code != 0 or complaint is not None or read_control_file(data_dir).state is not ClusterState.SHUT_DOWN:
        raise Damaged(f"The WAL could not be replayed: {complaint or last_words(said) or f'exit code {code}'}")
    return (await asyncio.to_thread(newest_timeline, data_dir / "pg_wal")).lsn


async def check_pages(data_dir: Path, binaries: Binaries, account: Account | None) -> None:
    """Reads all pages of a stopped cluster and their checksums. Raises Damaged."""
    code, said = await asyncio.to_thread(_run, [binaries.program("pg_checksums"), "--check", "-D", data_dir], account)
    if code != 0:
        complaints = [line for line in said.splitlines() if "error:" in line or "Bad checksums" in line]
        raise Damaged(f"Pages are damaged: {'; '.join(complaints[:3]) or last_words(said) or f'exit code {code}'}")


def newest_timeline(pg_wal: Path) -> history.Switch:
    """The PostgreSQL timeline that a server has just begun, and where. Raises CannotWake."""
    names = {history.parse_history_name(path.name): path for path in pg_wal.iterdir() if path.suffix == ".history"}
    if not names:
        raise CannotWake("PostgreSQL has begun no new timeline though it has replayed WAL to its end.")
    tli = max(names)
    return history.parse_last(tli, names[tli].read_text())


def _run(command: list[str | Path], account: Account | None) -> tuple[int, str]:
    """Exit code and what was written, of both streams. For a thread; it leaves no process."""
    command, as_account = launched(command, account)
    with tempfile.TemporaryFile() as output:
        try:
            child = subprocess.Popen(
                [*_NICE, *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/", umask=0o077,
                # Nothing of our environment goes along: it may hold keys.
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "TMPDIR": tempfile.gettempdir()}, **as_account,
            )  # fmt: skip
        except OSError as error:
            raise Internal(f"PostgreSQL could not be started: {error}") from error
        _running.add(child)
        try:
            code = child.wait(REPLAY_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGQUIT)
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            raise Damaged("PostgreSQL has not come to an end.") from None
        finally:
            _running.discard(child)
        output.seek(0)
        return code, output.read().decode(errors="replace")
