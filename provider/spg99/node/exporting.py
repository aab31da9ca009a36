"""An export: a moment of a database as an archive of pg_dump's (custom format), in the object store. Its compute is asked nothing and notices nothing: the moment
is laid out beside, as for a branch, and pg_dump reads it there.

    tenants/<tenant_id>/exports/<export_id>/<attempt_id>/<number>      pieces of `PIECE_BYTES`, each sealed with the tenant's key

The archive never stands on the node's disk. An attempt that came to nothing is removed by the next one.

Here: these steps. Not here: who asks for it and who may read it (the Control Plane).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spg99 import faults, images, log
from spg99.errors import CannotWake
from spg99.ids import new_id
from spg99.node import access
from spg99.node.branching import SHARED_BUFFERS, Brancher, require_room
from spg99.node.sandbox import Sandbox, complaint_of
from spg99.node.timelines import Timelines
from spg99.objects import ObjectStore
from spg99.postgres import Cluster
from spg99.postgres.accounts import make_folder
from spg99.protocol.tasks import TimelineExport, TimelineExported

PIECE_BYTES: Final = 4 << 20
SECONDS_MAX: Final = 6 * 3600.0

_log = log.get("node")


@dataclass(frozen=True)
class Exporter:
    """Makes exports on one node. The caller sees to it that it makes one at a time."""

    timelines: Timelines
    extensions_dir: Path

    async def export(
        self, order: TimelineExport, brancher: Brancher, objects: ObjectStore, key: images.TenantKey
    ) -> TimelineExported:
        """The whole archive is in the store when this returns. Raises as a branch's first start does, and CannotWake with pg_dump's own words."""
        await _remove_attempts(objects, key.tenant_id, order.export_id)
        folder = self.timelines.folder
        require_room(folder)
        sandbox = Sandbox(order.export_id, self.timelines, self.extensions_dir, order.database_name, order.pg_user)
        its = sandbox.folder
        await self.timelines.remove_remains(its.root)
        make_folder(its.root, mode=0o755, durable=False)
        try:
            laid = await brancher.lay_out(order.origin, objects, key, its)
            cluster = sandbox.cluster(its.data_dir)
            user = access.quoted(order.pg_user)
            # Rights that the user has taken from itself are no reason to leave rows out.
            all_rows = [f"GRANT pg_read_all_data TO {user}", f"ALTER ROLE {user} BYPASSRLS"]
            await cluster.single_user(
                [*access.renamed_sql(order.origin.database_name, order.database_name), *all_rows],
                settings=laid.settings | {"shared_buffers": SHARED_BUFFERS},
            )
            async with sandbox.served(cluster):
                return await _dump(order, sandbox, cluster, objects, key)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, its.root, ignore_errors=True))


async def _dump(
    order: TimelineExport, sandbox: Sandbox, cluster: Cluster, objects: ObjectStore, key: images.TenantKey
) -> TimelineExported:
    attempt_id, size_bytes, number = new_id("att"), 0, 0
    prefix = f"{_prefix(key.tenant_id, order.export_id)}{attempt_id}/"
    options = ["--format=custom", *(["--schema-only"] if order.origin.schema_only else [])]
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *sandbox.command(cluster, "pg_dump", *options),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=said,
            **sandbox.process_options(cluster),
        )
        assert process.stdout is not None, "it is a pipe"
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while piece := await _piece(process.stdout):
                    place = f"{prefix}{number:08d}"
                    await objects.put(place, await asyncio.to_thread(key.seal, piece, place))
                    size_bytes, number = size_bytes + len(piece), number + 1
                    faults.point("export.piece")
                code = await process.wait()
        except TimeoutError:
            raise CannotWake(f"The export took longer than {SECONDS_MAX / 3600:.0f} hours.") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if code != 0:
            said.seek(0)
            raise CannotWake(f"The database cannot be exported: {complaint_of(said.read())}")
    _log.info("an export was stored", export_id=order.export_id, timeline_id=order.timeline_id, size_bytes=size_bytes)
    return TimelineExported(
        timeline_id=order.timeline_id,
        export_id=order.export_id,
        attempt_id=attempt_id,
        size_bytes=size_bytes,
        piece_bytes=PIECE_BYTES,
    )


async def _piece(stream: asyncio.StreamReader) -> bytes:
    """The next one; shorter at the end, empty behind it."""
    try:
        return await stream.readexactly(PIECE_BYTES)
    except asyncio.IncompleteReadError as error:
        return error.partial


async def _remove_attempts(objects: ObjectStore, tenant_id: str, export_id: str) -> None:
    async for entry in objects.entries(_prefix(tenant_id, export_id)):
        await objects.delete(entry.key)


def _prefix(tenant_id: str, export_id: str) -> str:
    return f"tenants/{tenant_id}/exports/{export_id}/"
