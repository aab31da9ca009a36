"""`spg99 storage basebackup` and `page`: a moment of a database out of the object store alone, for its operator. Here: whose moment, where it goes, one page. Not here: laying
out (archive/), replaying (postgres/replay.py), reading the store (opened_store.py)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import struct
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from spg99.atomic_write import write_file
from spg99.commands.opened_store import opened
from spg99.commands.options import with_settings
from spg99.config import RecoverSettings
from spg99.errors import BadRequest, NotFound
from spg99.wal.lsn import PAGE_BYTES, format_lsn, parse_lsn

if TYPE_CHECKING:
    from spg99.archive import Point
    from spg99.control_plane.storage.descriptions import DatabaseDescribed
    from spg99.images import TenantKeys
    from spg99.objects import ObjectStore

PAGES_OF_A_FILE: Final = (1 << 30) // PAGE_BYTES
"""PostgreSQL begins another file after each GiB of a relation (`RELSEG_SIZE`)."""
_RELATION: Final = re.compile(r"(?:base/\d+|global)/\d+(?:_(?:fsm|vm|init))?")
_HEADER: Final = struct.Struct("<IIHHHHHHI")
"""`PageHeaderData` (src/include/storage/bufpage.h)."""


class PageHeader(NamedTuple):
    """The head of a page."""

    lsn: int
    """Behind the last record that changed it."""
    checksum: int
    flags: int
    lower: int
    upper: int
    special: int
    page_bytes: int
    version: int
    prune_xid: int

    @classmethod
    def of(cls, page: bytes) -> PageHeader:
        """From the first bytes of a page."""
        high, low, checksum, flags, lower, upper, special, size_and_version, prune_xid = _HEADER.unpack_from(page)
        return cls(
            high << 32 | low, checksum, flags, lower, upper, special, size_and_version & 0xFF00,
            size_and_version & 0xFF, prune_xid,
        )  # fmt: skip


def place_of_page(relation: str, block: int) -> tuple[str, int]:
    """The file of a page, and where in it the page begins, in bytes. `relation` is what `pg_relation_filepath` answers. Raises BadRequest."""
    if _RELATION.fullmatch(relation) is None:
        raise BadRequest(
            f"'{relation[:100]}' is no path of a relation. Ask the database: select pg_relation_filepath('table')."
        )
    number, page = divmod(block, PAGES_OF_A_FILE)
    return f"{relation}.{number}" if number else relation, page * PAGE_BYTES


_lsn = click.option(
    "--lsn", metavar="LSN", help="The moment as a place in the WAL. Default: the end of what is stored."
)
_time = click.option(
    "--time",
    "moment",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"]),
    help="The moment as a time (UTC).",
)
_database = click.argument("database", metavar="TENANT/NAME")


@click.command("basebackup")
@_database
@click.argument("folder", type=click.Path(path_type=Path))
@_lsn
@_time
@with_settings(RecoverSettings, "storage")
def basebackup(
    settings: RecoverSettings, database: str, folder: Path, lsn: str | None, moment: datetime | None
) -> None:
    """Writes a database at a moment into a new FOLDER, as a cluster that PostgreSQL 18 starts on.

    Needs the object store and the file with its master keys, and nothing else of SPG99: no Control Plane, no safekeeper. What only safekeepers have yet is not in it. The image before the
    moment is laid out, and a real PostgreSQL replays the WAL up to it and stops. The folder is complete: no recovery is left to do.
    """
    folder = folder.absolute()
    if folder.exists():
        raise BadRequest(f"{folder} is there already. Name a folder that is not: it is made.")
    if not folder.parent.is_dir():
        raise BadRequest(f"{folder.parent} is no folder.")

    async def write() -> str:
        async with _laid_out(settings, database, _point(lsn, moment)) as (data_dir, end):
            await asyncio.to_thread(_own, data_dir)
            await asyncio.to_thread(shutil.move, data_dir, folder)
        return end

    click.echo(f"{folder}: {database} up to {asyncio.run(write())}.")


@click.command("page")
@_database
@click.argument("relation")
@click.argument("block", type=click.IntRange(min=0))
@_lsn
@_time
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the page's bytes into this file instead."
)
@with_settings(RecoverSettings, "storage")
def page(
    settings: RecoverSettings,
    database: str,
    relation: str,
    block: int,
    lsn: str | None,
    moment: datetime | None,
    out: Path | None,
) -> None:
    """Shows page BLOCK of a RELATION of a database at a moment, for diagnosis.

    RELATION is what `pg_relation_filepath('table')` answers: base/16384/24576. The moment is laid out as for `basebackup`, which for a large database takes its time and room.
    """
    name, offset = place_of_page(relation, block)

    async def read() -> tuple[bytes, str]:
        async with _laid_out(settings, database, _point(lsn, moment)) as (data_dir, end):
            return await asyncio.to_thread(_read, data_dir / name, offset, relation), end

    found, end = asyncio.run(read())
    if out is not None:
        write_file(out, found, durable=False)
        return
    header = PageHeader.of(found)
    click.echo(f"{database} {relation} block {block} at {end}")
    click.echo(
        f"lsn {format_lsn(header.lsn)}, checksum {header.checksum:#06x}, flags {header.flags:#06x}, lower {header.lower}, "
        f"upper {header.upper}, special {header.special}, version {header.version}, prune_xid {header.prune_xid}"
    )
    for at in range(0, PAGE_BYTES, 16):
        line = found[at : at + 16]
        if any(line):
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
            click.echo(f"{at:04x}  {line.hex(' ')}  {text}")


@contextlib.asynccontextmanager
async def _laid_out(settings: RecoverSettings, database: str, point: Point) -> AsyncIterator[tuple[Path, str]]:
    """A stopped cluster of that moment in a folder that goes afterwards, and the place where its WAL ended."""
    from spg99 import archive, images
    from spg99.postgres import find_binaries, prepare_account
    from spg99.postgres.replay import replay_all
    from spg99.processes.safekeeper_clients import SafekeeperClients
    from spg99.protocol.tasks import Kept

    async with opened(settings) as (objects, master):
        keys = images.TenantKeys(objects, master)
        described = await _described(objects, keys, database)
        key = await keys.get(described.tenant_id)
        # The store alone counts: no safekeeper is asked.
        kept = Kept(configuration=described.configuration, addresses={}, tenant_id=described.tenant_id)
        account = await asyncio.to_thread(prepare_account, settings.run_as)
        home = _new_home()
        try:
            binaries = await asyncio.to_thread(
                find_binaries, settings.pg_bin, copy_to=home / "programs", account=account
            )
            data_dir = home / "pg"
            clients = SafekeeperClients()
            laid = await archive.lay_out_at(
                point, described.timeline_id, kept, clients, objects, key, data_dir, account
            )
            end_lsn = await replay_all(data_dir, binaries, account, laid.settings)
            yield data_dir, format_lsn(end_lsn)
        finally:
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


async def _described(objects: ObjectStore, keys: TenantKeys, database: str) -> DatabaseDescribed:
    """The database of this name as the store describes it. Raises NotFound."""
    from spg99.control_plane import recovery

    tenant_name, _, name = database.partition("/")
    contents = await recovery.read_store(objects, keys)
    tenant_ids = {tenant.tenant_id for tenant in contents.tenants if tenant.name == tenant_name}
    for found in contents.databases:
        if found.database.tenant_id in tenant_ids and found.database.name == name:
            return found.database
    raise NotFound(
        f"The object store describes no database '{database[:100]}'. It is TENANT/NAME of one that has safekeepers and was started once; a new one is described within seconds."
    )


def _point(lsn: str | None, moment: datetime | None) -> Point:
    from spg99.archive import Point

    if lsn is not None and moment is not None:
        raise BadRequest("Give --lsn or --time, not both.")
    try:
        return Point(
            lsn=None if lsn is None else parse_lsn(lsn), time=None if moment is None else moment.replace(tzinfo=UTC)
        )
    except ValueError:
        raise BadRequest(f"'{str(lsn)[:40]}' is no place in the WAL; one looks like 0/3A5B1C8.") from None


def _new_home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="spg99-moment-"))
    home.chmod(0o711)  # PostgreSQL of another user replays in there
    return home


def _own(folder: Path) -> None:
    """Gives a folder with all that is in it to whoever runs this."""
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)


def _read(path: Path, offset: int, relation: str) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            found = file.read(PAGE_BYTES)
            pages = os.fstat(file.fileno()).st_size // PAGE_BYTES
    except FileNotFoundError:
        raise NotFound(f"There was no file {path.name} of {relation} at that moment.") from None
    if len(found) < PAGE_BYTES:
        raise BadRequest(f"{path.name} had {pages} pages at that moment; the first is 0.")
    return found
