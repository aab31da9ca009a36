"""The files of a branch that begins with the schema of its source and with none of its rows.

The source's moment is laid out beside them, as for any branch, and pg_dump reads the schema there; pg_restore makes it in a copy of the template. So no page and no WAL of the
source is ever in the branch's files. Both run as the tenant's own user, who could have made each of these objects: nothing that a tenant has written runs as superuser.

Here: these steps. Not here: laying out a moment (archive/), copying the template (timelines.py), what begins with the files (keeping.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from spg99 import faults, images, log
from spg99.atomic_write import sync_file_system, sync_folder, write_file
from spg99.errors import CannotWake
from spg99.node import access
from spg99.node.branching import SHARED_BUFFERS, Brancher, require_room
from spg99.node.folder import TimelineFolder
from spg99.node.following import BACKEND_PORT
from spg99.node.profiles import FOR_ALL
from spg99.node.timelines import Timelines
from spg99.objects import ObjectStore
from spg99.postgres import Cluster
from spg99.postgres.accounts import make_folder
from spg99.postgres.archive_contents import Entry, read_contents
from spg99.protocol.tasks import ComputeStart, Origin

PROGRAM_SECONDS_MAX: Final = 500.0
"""Of pg_dump and of pg_restore: less than an order to start may take."""
_DATA_BYTES_MAX: Final = 1 << 30
"""Of memory for each process of the two servers: a catalogue of many thousand tables, and no more than a node can spare."""
_STOP_SECONDS: Final = 300.0
_LINES_MAX: Final = 5
_SETTINGS: Final = FOR_ALL | {
    # They are thrown away, or synced at the end.
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
_OF_NO_ARCHIVE: Final = """
select format('ALTER ROLE %I SET %I TO %s;', current_user, s.name,
              -- These are kept quoted (GUC_LIST_QUOTE), as ALTER ROLE takes them.
              case when s.name in ('local_preload_libraries', 'search_path', 'session_preload_libraries', 'temp_tablespaces')
                   then s.value else quote_literal(s.value) end)
from pg_db_role_setting r, unnest(r.setconfig) c,
     lateral (select split_part(c, '=', 1) as name, substr(c, strpos(c, '=') + 1) as value) s
where r.setdatabase = 0 and r.setrole = (select oid from pg_roles where rolname = current_user)
union all
select 'DROP SCHEMA public;' where to_regnamespace('public') is null
"""
"""What belongs to the schema and stands in no archive of one database."""

_log = log.get("node")


@dataclass(frozen=True)
class SchemaBrancher:
    """Makes the files of such branches on one node. The caller holds the lock of the branch's timeline."""

    timelines: Timelines
    extensions_dir: Path

    async def make(
        self, order: ComputeStart, origin: Origin, brancher: Brancher, objects: ObjectStore, key: images.TenantKey
    ) -> int:
        """Lays down the files, whole or not there; answers where in its source the branch begins. Raises as `Brancher.make` does, and CannotWake with
        PostgreSQL's own words when the schema cannot be read or made."""
        folder = self.timelines.folder
        require_room(folder)
        draft, sandbox = folder.draft(order.timeline_id), folder.sandbox(order.timeline_id)
        for one in (draft, sandbox):
            await self.timelines.remove_remains(one.root)
        make_folder(sandbox.root, mode=0o755, durable=False)
        try:
            end_lsn = await self._dump(order, origin, brancher, objects, key, sandbox)
            await asyncio.to_thread(shutil.rmtree, sandbox.data_dir)
            faults.point("branch.schema.dumped")
            await self.timelines.lay_down(draft, order)
            await self._restore(order, sandbox, draft)
            faults.point("branch.before_rename")
            home = folder.timeline(order.timeline_id)
            draft.root.rename(home.root)
            sync_folder(home.root.parent)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, draft.root, ignore_errors=True))
            raise
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, sandbox.root, ignore_errors=True))
        return end_lsn

    async def _dump(
        self,
        order: ComputeStart,
        origin: Origin,
        brancher: Brancher,
        objects: ObjectStore,
        key: images.TenantKey,
        sandbox: TimelineFolder,
    ) -> int:
        laid = await brancher.lay_out(origin, objects, key, sandbox)
        _log.info(
            "the schema of a branch is read", timeline_id=order.timeline_id, origin=origin.timeline_id, image_id=laid.image.image_id
        )  # fmt: skip
        cluster = self._cluster(sandbox.data_dir, order, sandbox)
        # The user may have taken rights from itself that pg_dump needs.
        may_read = f"GRANT pg_read_all_data TO {access.quoted(order.pg_user)}"
        await cluster.single_user(
            [*access.renamed_sql(origin.database_name, order.database_name), may_read],
            settings=laid.settings | {"shared_buffers": SHARED_BUFFERS},
        )
        async with self._served(cluster, order, sandbox):
            await self._run(cluster, order, "pg_dump", "--format=custom", "--schema-only", into=_dump_file(sandbox))
            await self._run(cluster, order, "psql", "-XAtc", _OF_NO_ARCHIVE, into=_settings_file(sandbox))
        return laid.end_lsn

    async def _restore(self, order: ComputeStart, sandbox: TimelineFolder, draft: TimelineFolder) -> None:
        entries = read_contents(await asyncio.to_thread(_dump_file(sandbox).read_bytes))
        settings = await asyncio.to_thread(_settings_file(sandbox).read_text)
        script = sandbox.root / "of_database.sql"
        write_file(script, of_the_database(entries, order.database_name) + settings, mode=0o600, durable=False)
        cluster = self._cluster(draft.data_dir, order, sandbox)
        async with self._served(cluster, order, sandbox):
            database = f"--dbname={order.database_name}"
            await self._run(cluster, order, "pg_restore", "--exit-on-error", database, read_from=_dump_file(sandbox))
            await self._run(cluster, order, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", "-", read_from=script)
            await cluster.stop("fast", timeout_seconds=_STOP_SECONDS)
        await asyncio.to_thread(sync_file_system, draft.data_dir)

    def _cluster(self, data_dir: Path, order: ComputeStart, sandbox: TimelineFolder) -> Cluster:
        socket_dir, its = self.timelines.folder.socket_dir(order.timeline_id), self.timelines
        return Cluster(data_dir, socket_dir, its.binaries, its.account, log_file=sandbox.log_file)

    @contextlib.asynccontextmanager
    async def _served(self, cluster: Cluster, order: ComputeStart, sandbox: TimelineFolder) -> AsyncIterator[None]:
        """The cluster serves the tenant's user, whom nobody but our programs is, for as long as the block runs."""
        rules = access.hba_rules(database_name=order.database_name, pg_user=order.pg_user, may_replicate=False)
        write_file(sandbox.hba_file, rules, mode=0o644, durable=False)
        settings = _SETTINGS | {"hba_file": str(sandbox.hba_file)}
        if ":" not in str(self.extensions_dir):
            settings["extension_control_path"] = f"{self.extensions_dir}:$system"
        await cluster.start(settings, port=BACKEND_PORT, data_bytes_max=_DATA_BYTES_MAX)
        try:
            yield
        finally:
            await asyncio.shield(cluster.stop("immediate"))

    async def _run(
        self,
        cluster: Cluster,
        order: ComputeStart,
        program: str,
        *arguments: str,
        into: Path | None = None,
        read_from: Path | None = None,
    ) -> None:
        """Runs one of PostgreSQL's programs as the tenant's user, and as the account to the system. Raises CannotWake with what it has complained about."""
        environment = {
            "PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "PGCLIENTENCODING": "UTF8", "PGOPTIONS": _OPTIONS,
            "PGHOST": str(cluster.socket_dir), "PGPORT": str(BACKEND_PORT),
            "PGUSER": order.pg_user, "PGDATABASE": order.database_name,
        }  # fmt: skip
        command: list[str | Path] = [cluster.binaries.program(program), "--no-password", *arguments]
        account = cluster.account.popen_options() if cluster.account is not None else {}

        def run() -> subprocess.CompletedProcess[bytes]:
            with contextlib.ExitStack() as files:
                stdin: IO[bytes] | int = files.enter_context(read_from.open("rb")) if read_from else subprocess.DEVNULL
                stdout: IO[bytes] | int = files.enter_context(into.open("wb")) if into else subprocess.DEVNULL
                return subprocess.run(
                    command, env=environment, cwd="/", stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
                    timeout=PROGRAM_SECONDS_MAX, check=False, **account,
                )  # fmt: skip

        try:
            done = await asyncio.to_thread(run)
        except subprocess.TimeoutExpired:
            raise CannotWake(
                f"The schema of the source is too large for a branch: {program} took longer than {PROGRAM_SECONDS_MAX:.0f} s."
            ) from None
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()[:_LINES_MAX]
            raise CannotWake(f"The schema of the source cannot be made anew: {' '.join(lines) or 'it ended early.'}")


def of_the_database(entries: list[Entry], database_name: str) -> str:
    """What was said of the database itself, which pg_restore leaves out (pure): its settings, comment and rights."""
    of_it = [
        entry
        for entry in entries
        if entry.kind == "DATABASE PROPERTIES"
        or (entry.kind in ("COMMENT", "ACL", "SECURITY LABEL") and entry.name.startswith("DATABASE "))
    ]
    # Rights are said as what differs from those that a new database has. Ours has less.
    usual = f"GRANT CONNECT, TEMPORARY ON DATABASE {access.quoted(database_name)} TO PUBLIC;\n"
    return "".join([usual, *(f"{entry.sql}\n" for entry in of_it)])


def _dump_file(sandbox: TimelineFolder) -> Path:
    return sandbox.root / "schema.dump"


def _settings_file(sandbox: TimelineFolder) -> Path:
    return sandbox.root / "settings.sql"
