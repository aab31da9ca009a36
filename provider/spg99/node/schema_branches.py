"""The files of a branch that begins with the schema of its source and with none of its rows.

The source's moment is laid out beside them, as for any branch, and pg_dump reads the schema there; pg_restore makes it in a copy of the template. So no page and no WAL of the
source is ever in the branch's files. Both run as the tenant's own user, who could have made each of these objects: nothing that a tenant has written runs as superuser.

Here: these steps. Not here: laying out a moment (archive/), copying the template (timelines.py), what begins with the files (keeping.py).
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spg99 import faults, images, log
from spg99.atomic_write import sync_file_system, sync_folder, write_file
from spg99.node import access
from spg99.node.branching import SHARED_BUFFERS, Brancher, require_room
from spg99.node.folder import TimelineFolder
from spg99.node.sandbox import Sandbox
from spg99.node.timelines import Timelines
from spg99.objects import ObjectStore
from spg99.postgres.accounts import make_folder
from spg99.postgres.archive_contents import Entry, read_contents
from spg99.protocol.tasks import ComputeStart, Origin

_STOP_SECONDS: Final = 300.0
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
        sandbox = Sandbox(order.timeline_id, self.timelines, self.extensions_dir, order.database_name, order.pg_user)
        draft, its = folder.draft(order.timeline_id), sandbox.folder
        for one in (draft, its):
            await self.timelines.remove_remains(one.root)
        make_folder(its.root, mode=0o755, durable=False)
        try:
            end_lsn = await self._dump(order, origin, brancher, objects, key, sandbox)
            await asyncio.to_thread(shutil.rmtree, its.data_dir)
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
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, its.root, ignore_errors=True))
        return end_lsn

    async def _dump(
        self,
        order: ComputeStart,
        origin: Origin,
        brancher: Brancher,
        objects: ObjectStore,
        key: images.TenantKey,
        sandbox: Sandbox,
    ) -> int:
        laid = await brancher.lay_out(origin, objects, key, sandbox.folder)
        _log.info(
            "the schema of a branch is read", timeline_id=order.timeline_id, origin=origin.timeline_id, image_id=laid.image.image_id
        )  # fmt: skip
        cluster = sandbox.cluster(sandbox.folder.data_dir)
        # The user may have taken rights from itself that pg_dump needs.
        may_read = f"GRANT pg_read_all_data TO {access.quoted(order.pg_user)}"
        await cluster.single_user(
            [*access.renamed_sql(origin.database_name, order.database_name), may_read],
            settings=laid.settings | {"shared_buffers": SHARED_BUFFERS},
        )
        async with sandbox.served(cluster):
            await sandbox.run(cluster, "pg_dump", "--format=custom", "--schema-only", into=sandbox.dump_file)
            await sandbox.run(cluster, "psql", "-XAtc", _OF_NO_ARCHIVE, into=sandbox.settings_file)
        return laid.end_lsn

    async def _restore(self, order: ComputeStart, sandbox: Sandbox, draft: TimelineFolder) -> None:
        entries = read_contents(await asyncio.to_thread(sandbox.dump_file.read_bytes))
        settings = await asyncio.to_thread(sandbox.settings_file.read_text)
        script = sandbox.folder.root / "of_database.sql"
        write_file(script, of_the_database(entries, order.database_name) + settings, mode=0o600, durable=False)
        cluster = sandbox.cluster(draft.data_dir)
        async with sandbox.served(cluster):
            database = f"--dbname={order.database_name}"
            await sandbox.run(cluster, "pg_restore", "--exit-on-error", database, read_from=sandbox.dump_file)
            await sandbox.run(cluster, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", "-", read_from=script)
            await cluster.stop("fast", timeout_seconds=_STOP_SECONDS)
        await asyncio.to_thread(sync_file_system, draft.data_dir)


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
