"""The embedded catalogue: a small, durable PostgreSQL of our own in the data folder, reached by a unix socket only.

Here: its settings, who may connect, when it runs. Not here: its tables (store/migrate.py), PostgreSQL itself (spg99.postgres).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from spg99 import log
from spg99.atomic_write import write_file
from spg99.control_plane.store import setup
from spg99.errors import BadRequest, CannotWake, Conflict
from spg99.postgres import Cluster, find_binaries, prepare_account
from spg99.postgres import socket_folder as sockets
from spg99.postgres.accounts import make_folder
from spg99.postgres.reserve import Reserve, disk_of
from spg99.processes import Loops

DATABASE: Final = "spg99"
OWNER: Final = "spg99_owner"
ADMIN: Final = "spg99_admin"
_PORT: Final = 5432  # only a part of the socket's file name

_SETTINGS: Final = {
    "shared_buffers": "64MB",
    "max_connections": "100",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # So that pg_basebackup can back it up while it runs.
    "wal_level": "replica",
    "max_wal_senders": "4",
    "wal_buffers": "1MB",
    "huge_pages": "off",
    "jit": "off",
    "autovacuum_naptime": "15s",
    "idle_in_transaction_session_timeout": "60s",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "log_statement": "none",
    # A statement that fails may hold a secret in its parameters.
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
}
WAL_BYTES_MAX: Final = 512 << 20
RESERVE_CHECK_SECONDS: Final = 1.0
_SETTINGS_SINCE_18: Final = {"io_method": "sync"}


def short_of_disk(data_dir: Path) -> str | None:
    """None unless an embedded catalogue lies in this data folder and its reserve is given up; else a sentence for /readyz."""
    folder = data_dir.expanduser().absolute() / "catalogue"
    reserve = Reserve(folder / "reserve")
    if not folder.is_dir() or not reserve.is_missed(disk := disk_of(folder)):
        return None
    return f"The disk of the catalogue is nearly full ({disk.free_bytes >> 20} MB free), its reserve is given up. Make room."


class EmbeddedCatalogue:
    """The catalogue of one data folder. Whoever starts it first stops it; anybody else in that folder just uses it."""

    def __init__(
        self,
        data_dir: Path,
        pg_bin: Path | None = None,
        *,
        run_as: str | None = None,
        major: int = 18,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` are PostgreSQL's own and beat ours."""
        self._settings = dict(settings or {})
        self._account = prepare_account(run_as)
        self._data_dir = data_dir.expanduser().absolute()
        self._folder = self._data_dir / "catalogue"
        self.binaries = find_binaries(
            pg_bin, copy_to=data_dir.expanduser().absolute() / "programs", account=self._account, major=major
        )
        if self.binaries.major < major:  # before it makes files that the right programs refuse
            raise BadRequest(
                f"The catalogue needs PostgreSQL {major} or newer; {self.binaries.bin_dir} holds {self.binaries.version}. "
                "Leave out --pg-bin to use the one that comes with spg99."
            )
        self._cluster = Cluster(
            self._folder / "pg", sockets.socket_folder(data_dir) / "catalogue", self.binaries, self._account
        )
        self._is_ours = False
        self._reserve = Reserve(self._folder / "reserve")

    @property
    def url(self) -> str:
        """URL of the catalogue as the role that owns its tables."""
        return self._url(OWNER, DATABASE)

    async def start(self) -> str:
        """Starts it (and makes it, the first time) unless it runs already; answers its URL."""
        # Open for walking: as root another user runs PostgreSQL in there, in a folder closed to all others.
        make_folder(self._folder, mode=0o755)
        await self._cluster.init()
        if self._cluster.adopt() is None:
            self._write_access_rules()
            settings = dict(_SETTINGS)
            settings["max_wal_size"] = f"{min(WAL_BYTES_MAX, disk_of(self._folder).total_bytes // 16) >> 20}MB"
            settings["hba_file"] = str(self._folder / "pg_hba.conf")
            settings["ident_file"] = str(self._folder / "pg_ident.conf")
            if self.binaries.major >= 18:
                settings |= _SETTINGS_SINCE_18
            settings |= self._settings
            try:
                await self._cluster.start(settings, port=_PORT)
                self._is_ours = True
            except Conflict:
                log.get("catalogue").info("another process has just started it")
        if not self._is_ours:
            await self._cluster.wait_ready(timeout_seconds=60)
        await asyncio.to_thread(setup.make_database, self._url(ADMIN, "postgres"), database=DATABASE, owner=OWNER)
        return self.url

    async def wait_end(self) -> str:
        """Waits until it has ended by itself; answers how, in a sentence. Keeps a reserve of disk for it meanwhile."""
        loops = Loops()
        loops.repeat("reserve", self._keep_reserve)
        async with loops:
            with contextlib.suppress(CannotWake):
                return (await self._cluster.wait_end()).sentence()
        return "PostgreSQL ended."

    async def stop(self) -> None:
        """Stops it if it was started here."""
        if self._is_ours:
            await self._cluster.stop("fast")
            sockets.release(self._data_dir)
            self._is_ours = False

    async def _keep_reserve(self) -> float:
        # Without it a full disk is the end of the catalogue: WAL that cannot be written stops PostgreSQL.
        await asyncio.to_thread(lambda: self._reserve.keep(disk_of(self._folder)))
        return RESERVE_CHECK_SECONDS

    def _write_access_rules(self) -> None:
        """Only our own user may connect: not the one that runs PostgreSQL for tenants, not another one on this machine."""
        try:
            me = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:  # a container's user without a name: the socket's folder is closed to others all the same
            rules, names = "local all all trust\n", ""
        else:
            rules, names = "local all all peer map=spg99\n", f'spg99 "{me}" {OWNER}\nspg99 "{me}" {ADMIN}\n'
        for name, text in (("pg_hba.conf", rules), ("pg_ident.conf", names)):
            path = self._folder / name
            write_file(path, "# Written by SPG99 at each start.\n" + text, mode=0o644)

    def _url(self, role: str, database: str) -> str:
        host = quote(str(self._cluster.socket_dir), safe="")
        return f"postgresql://{role}@/{database}?host={host}&port={_PORT}"
