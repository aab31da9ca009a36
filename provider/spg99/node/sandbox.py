"""A server beside the node's computes that nobody but our own programs reaches: it reads what was laid out, or is being made, and ends. Here: its settings,
who may log in, running PostgreSQL's programs at it. Not here: what is laid out (branching.py), what is read and made (schema_branches.py, exporting.py).

Programs log in as the tenant's own user, who could have done each of these things: nothing that a tenant has written runs as superuser.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from spg99.atomic_write import write_file
from spg99.errors import CannotWake
from spg99.node import access
from spg99.node.branching import SHARED_BUFFERS
from spg99.node.folder import TimelineFolder
from spg99.node.following import BACKEND_PORT
from spg99.node.profiles import FOR_ALL
from spg99.node.timelines import Timelines
from spg99.postgres import Cluster

PROGRAM_SECONDS_MAX: Final = 500.0
"""Of one that a start waits for: less than an order to start may take."""
_DATA_BYTES_MAX: Final = 1 << 30
"""Of memory for each process of the server: a catalogue of many thousand tables, and no more than a node can spare."""
_LINES_MAX: Final = 5
_SETTINGS: Final = FOR_ALL | {
    # Its files are thrown away, or synced at the end.
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "5",
    "max_worker_processes": "0",
    "max_wal_senders": "0",
    "max_replication_slots": "0",
    "shared_buffers": SHARED_BUFFERS,
    "max_wal_size": "1GB",
    # pg_dump locks all tables at once.
    "max_locks_per_transaction": "16384",
}
_OPTIONS: Final = " ".join(
    f"-c {setting}"
    for setting in (
        # What the tenant has set for the database or its user is not for us.
        "statement_timeout=0", "lock_timeout=0", "transaction_timeout=0", "idle_in_transaction_session_timeout=0",
        "default_transaction_read_only=off", "search_path=pg_catalog", "client_min_messages=warning",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Sandbox:
    """One such server's folder, and who logs in."""

    sandbox_id: str
    """Of what it is for."""
    timelines: Timelines
    extensions_dir: Path
    database_name: str
    pg_user: str

    @property
    def folder(self) -> TimelineFolder:
        """Its own; removed in the end by whoever made it."""
        return self.timelines.folder.sandbox(self.sandbox_id)

    @property
    def dump_file(self) -> Path:
        """What pg_dump has written, for who keeps it for a while."""
        return self.folder.root / "schema.dump"

    @property
    def settings_file(self) -> Path:
        """SQL that stands in no archive of one database."""
        return self.folder.root / "settings.sql"

    def cluster(self, data_dir: Path) -> Cluster:
        """A cluster of it: what was laid out in it, or what is made beside."""
        socket_dir = self.timelines.folder.socket_dir(self.sandbox_id)
        its = self.timelines
        return Cluster(data_dir, socket_dir, its.binaries, its.account, log_file=self.folder.log_file)

    @contextlib.asynccontextmanager
    async def served(self, cluster: Cluster) -> AsyncIterator[None]:
        """The cluster serves the tenant's user for as long as the block runs."""
        rules = access.hba_rules(database_name=self.database_name, pg_user=self.pg_user, may_replicate=False)
        write_file(self.folder.hba_file, rules, mode=0o644, durable=False)
        settings = _SETTINGS | {"hba_file": str(self.folder.hba_file)}
        if ":" not in str(self.extensions_dir):
            settings["extension_control_path"] = f"{self.extensions_dir}:$system"
        await cluster.start(settings, port=BACKEND_PORT, data_bytes_max=_DATA_BYTES_MAX)
        try:
            yield
        finally:
            await asyncio.shield(cluster.stop("immediate"))

    def command(self, cluster: Cluster, program: str, *arguments: str) -> list[str | Path]:
        """One of PostgreSQL's programs."""
        return [cluster.binaries.program(program), "--no-password", *arguments]

    def process_options(self, cluster: Cluster) -> dict[str, Any]:
        """How it is run: as the tenant's user to the server, as the account to the system, with nothing of our environment."""
        environment = {
            "PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "PGCLIENTENCODING": "UTF8", "PGOPTIONS": _OPTIONS,
            "PGHOST": str(cluster.socket_dir), "PGPORT": str(BACKEND_PORT),
            "PGUSER": self.pg_user, "PGDATABASE": self.database_name,
        }  # fmt: skip
        return {"env": environment, "cwd": "/"} | (cluster.account.popen_options() if cluster.account else {})

    async def run(
        self,
        cluster: Cluster,
        program: str,
        *arguments: str,
        into: Path | None = None,
        read_from: Path | None = None,
    ) -> None:
        """Runs one to its end. Raises CannotWake with what it has complained about."""

        def run() -> subprocess.CompletedProcess[bytes]:
            with contextlib.ExitStack() as files:
                stdin: IO[bytes] | int = files.enter_context(read_from.open("rb")) if read_from else subprocess.DEVNULL
                stdout: IO[bytes] | int = files.enter_context(into.open("wb")) if into else subprocess.DEVNULL
                return subprocess.run(
                    self.command(cluster, program, *arguments), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
                    timeout=PROGRAM_SECONDS_MAX, check=False, **self.process_options(cluster),
                )  # fmt: skip

        try:
            done = await asyncio.to_thread(run)
        except subprocess.TimeoutExpired:
            raise CannotWake(
                f"The schema of the source is too large for a branch: {program} took longer than {PROGRAM_SECONDS_MAX:.0f} s."
            ) from None
        if done.returncode != 0:
            raise CannotWake(f"The schema of the source cannot be made anew: {complaint_of(done.stderr)}")


def complaint_of(stderr: bytes) -> str:
    """The first lines of what a program has said."""
    return " ".join(stderr.decode(errors="replace").strip().splitlines()[:_LINES_MAX]) or "it ended early."
