"""`spg99 storage`: the object store, for its operator. Here: the group, its master key, a lost catalogue. Not here: what is done (images/,
control_plane/recovery.py)."""

from __future__ import annotations

import asyncio

import click

from spg99.clock import SystemClock
from spg99.commands.opened_store import opened
from spg99.commands.options import with_settings
from spg99.commands.storage_check import check
from spg99.commands.storage_moments import basebackup, page
from spg99.config import RecoverSettings, StoreSettings
from spg99.errors import Conflict


@click.group("storage")
def storage() -> None:
    """The object store, for its operator.

    The settings are those of the agents: the store, and the file with the master keys.
    """


@storage.command("rotate-key")
@click.option(
    "--forget", is_flag=True, help="Remove the former master keys from the file instead, once nothing needs them."
)
@with_settings(StoreSettings, "storage")
def rotate_key(settings: StoreSettings, forget: bool) -> None:
    """Gives the store another master key, while everything runs.

    Adds a new master key to the file and wraps the key of each tenant with it anew; no image is touched. May be interrupted and repeated.
    The former master keys stay in the file: copy it to every machine of an agent first, then remove them with --forget, an hour later or more. Keep
    copies of the file as long as copies of the store.
    """
    click.echo(asyncio.run(_forgotten(settings) if forget else _rotated(settings)))


@storage.command("recover")
@with_settings(RecoverSettings, "storage")
def recover(settings: RecoverSettings) -> None:
    """Makes a lost catalogue anew from the object store.

    For an empty catalogue: that of the data folder (it is made where there is none), or that of --catalogue-url. Needs the object store and the file with its
    master keys. Tenants come back with their ids and passwords, so their connection strings go on working, and with them the databases
    that have safekeepers; nodes and safekeepers come back when they are started again with an enrolment token, as `spg99 dev` gives them. Not in the store are API
    keys, policies, databases without safekeepers, events and the audit log. Stop all Control Planes of this catalogue before.
    """
    # Loaded here: a rotation must not wait for the Control Plane and its database driver.
    from spg99.commands.dev_folder import DevFolder
    from spg99.control_plane.catalogue import EmbeddedCatalogue

    async def beside_the_embedded_catalogue() -> list[str]:
        catalogue = EmbeddedCatalogue(settings.data_dir, settings.pg_bin, run_as=settings.run_as)
        try:
            return await _recovered(settings, await catalogue.start())
        finally:
            await catalogue.stop()

    if settings.catalogue_url is not None:
        lines = asyncio.run(_recovered(settings, settings.catalogue_url))
    elif DevFolder(settings.data_dir).is_locked():
        raise Conflict(f"A `spg99 dev` runs in {settings.data_dir}. Stop it first.")
    else:
        lines = asyncio.run(beside_the_embedded_catalogue())
    for line in lines:
        click.echo(line)


async def _recovered(settings: RecoverSettings, catalogue_url: str) -> list[str]:
    from spg99 import images
    from spg99.control_plane import recovery
    from spg99.control_plane.records.secret_box import secret_box
    from spg99.control_plane.store import Store, migrate

    async with opened(settings) as (objects, master):
        contents = await recovery.read_store(objects, images.TenantKeys(objects, master))
    await asyncio.to_thread(migrate.up, catalogue_url)
    store = Store(catalogue_url, pool_size=2)
    await store.open()
    try:
        file = settings.secret_key_file or settings.data_dir / "secrets" / "catalogue.key"
        await recovery.recover(store, contents, await asyncio.to_thread(secret_box, file))
    finally:
        await store.close()
    return [
        f"Recovered installation {contents.installation_id}: tenants {len(contents.tenants)}, databases {len(contents.databases)}.",
        *contents.left_out,
    ]


async def _rotated(settings: StoreSettings) -> str:
    from spg99 import images

    async with opened(settings) as (objects, master):
        done = await images.rotate(objects, master, SystemClock().now())
    keys = "key of 1 tenant was" if done.rewrapped == 1 else f"keys of {done.rewrapped} tenants were"
    return f"The master key is {done.master_key_id}; the {keys} wrapped with it. Former ones in the file: {', '.join(done.former_ids)}."


async def _forgotten(settings: StoreSettings) -> str:
    from spg99 import images

    async with opened(settings) as (objects, master):
        gone = await images.forget_former(objects, master, SystemClock().now())
    if gone:
        return f"Removed from {master.path}: {', '.join(gone)}."
    if master.former_ids:
        return "Nothing was removed: the former master keys were in use less than an hour ago."
    return "Nothing was removed: there is no former master key."


storage.add_command(check)
storage.add_command(basebackup)
storage.add_command(page)
