"""`spg99 storage`: the object store, for its operator. Here: the group, and its master key. Not here: what is done (images/)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spg99.clock import SystemClock
from spg99.commands.options import with_settings
from spg99.config import StoreSettings
from spg99.errors import BadRequest

if TYPE_CHECKING:
    from spg99.images import MasterKeyFile
    from spg99.objects import ObjectStore


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


async def _rotated(settings: StoreSettings) -> str:
    from spg99 import images

    async with _opened(settings) as (objects, master):
        done = await images.rotate(objects, master, SystemClock().now())
    keys = "key of 1 tenant was" if done.rewrapped == 1 else f"keys of {done.rewrapped} tenants were"
    return f"The master key is {done.master_key_id}; the {keys} wrapped with it. Former ones in the file: {', '.join(done.former_ids)}."


async def _forgotten(settings: StoreSettings) -> str:
    from spg99 import images

    async with _opened(settings) as (objects, master):
        gone = await images.forget_former(objects, master, SystemClock().now())
    if gone:
        return f"Removed from {master.path}: {', '.join(gone)}."
    if master.former_ids:
        return "Nothing was removed: the former master keys were in use less than an hour ago."
    return "Nothing was removed: there is no former master key."


@contextlib.asynccontextmanager
async def _opened(settings: StoreSettings) -> AsyncIterator[tuple[ObjectStore, MasterKeyFile]]:
    """The store and its master keys. Raises BadRequest when there is no store of ours."""
    from spg99 import images
    from spg99.objects import installation_of, open_store

    place = settings.object_store_place
    nothing = BadRequest(
        f"There is no object store of an installation in {place}. Name it with --object-store, or --data-dir."
    )
    if "://" not in place and not await asyncio.to_thread(Path(place).is_dir):
        raise nothing
    objects = open_store(place)
    try:
        if await installation_of(objects) is None:
            raise nothing
        await images.open_keys(objects, settings.master_keys_path)
        yield objects, images.MasterKeyFile.at(settings.master_keys_path)
    finally:
        await objects.close()
