"""`spg99 storage check`: the object store compared with itself and with the catalogue, as a table. Not here: what is compared (pageserver/checking.py)."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from spg99.commands.opened_store import opened
from spg99.commands.options import with_settings
from spg99.config import RecoverSettings

if TYPE_CHECKING:
    from spg99.pageserver.checking import KnownTimeline, Report

LINES_MAX = 200


@click.command("check")
@click.option("--read", is_flag=True, help="Read every object too, and check its seal and its hash.")
@with_settings(RecoverSettings, "storage")
def check(settings: RecoverSettings, read: bool) -> None:
    """Names what is missing in the object store, what is nobody's, and what is damaged.

    Compares it with itself, and with the catalogue of --catalogue-url or of the `spg99 dev` that runs in the data folder. Changes nothing; may be run at any time. Ends with 1
    when something is wrong.
    """
    report, compared = asyncio.run(_checked(settings, read))
    for found in report.found[:LINES_MAX]:
        click.echo(f"{found.finding:8} {found.key}  {found.why}")
    if len(report.found) > LINES_MAX:
        click.echo(f"... and {len(report.found) - LINES_MAX} more")
    counts = {
        "tenants": report.tenants,
        "timelines": report.timelines,
        "images": report.images,
        "chunks": report.chunks,
        "chunks of no image": report.unneeded_chunks,
        "pieces of WAL": report.pieces,
    }
    if read:
        counts["MB read"] = report.read_bytes >> 20
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()) + ".")
    if not compared:
        click.echo("The catalogue was not compared: none runs in the data folder. Name it with --catalogue-url.")
    click.echo("Nothing is wrong." if not report.found else f"{len(report.found)} things are wrong.")
    if report.found:
        sys.exit(1)


async def _checked(settings: RecoverSettings, read: bool) -> tuple[Report, bool]:
    from spg99 import images
    from spg99.commands.dev_folder import DevFolder
    from spg99.pageserver.checking import check as walk

    catalogue_url = settings.catalogue_url
    folder = DevFolder(settings.data_dir)
    if catalogue_url is None and folder.is_locked():
        catalogue_url = folder.read().catalogue_url
    known = await _known(catalogue_url) if catalogue_url is not None else None
    async with opened(settings) as (objects, master):
        return await walk(objects, images.TenantKeys(objects, master), known, reads=read), known is not None


async def _known(catalogue_url: str) -> list[KnownTimeline]:
    from spg99.control_plane import storage
    from spg99.control_plane.store import Store
    from spg99.pageserver.checking import KnownTimeline

    store = Store(catalogue_url, pool_size=2)
    await store.open()
    try:
        async with store.transaction() as tx:
            rows = await storage.kept_timelines(tx)
    finally:
        await store.close()
    return [KnownTimeline(row.timeline_id, row.tenant_id, row.has_started) for row in rows]
