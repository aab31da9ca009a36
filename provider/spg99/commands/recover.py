"""`spg99 keys recover`: a new admin key for an owner who has none left. Here: which catalogue, and what a person reads.
Not here: making the key (control_plane/bootstrap.py).
"""

from __future__ import annotations

import asyncio
import shlex
from typing import Final

import click

from spg99.commands.actions import RECOVER_LINE
from spg99.commands.options import with_settings
from spg99.config import MigrateSettings
from spg99.reach import default_data_dir

HELP: Final = f"""{RECOVER_LINE}

For an owner whose last key that may administer the platform is lost, revoked or expired. Whoever may read the data folder
(or knows the catalogue's URL) may do it; the audit log says that it was done. The new key is written to
secrets/admin.key in the data folder, where `spg99 env` finds it, whether `spg99 dev` runs or not. With --catalogue-url it
is printed instead, this once. Keys that are there stay as they are.
"""


@click.command("recover", help=HELP)
@with_settings(MigrateSettings, "migrate")
def recover(settings: MigrateSettings) -> None:
    """The command itself; its help is HELP."""
    if settings.catalogue_url is not None:
        click.echo(asyncio.run(_recovered(settings.catalogue_url, None)))
        click.echo("This is the only time it is shown. Keep it: export SPG99_API_KEY=...", err=True)
        return
    # Loaded here: `spg99 keys list` must not wait for the Control Plane and its database driver (0.3 s).
    from spg99.control_plane.bootstrap import admin_key_file
    from spg99.control_plane.catalogue import EmbeddedCatalogue

    async def beside_the_embedded_catalogue() -> None:
        catalogue = EmbeddedCatalogue(settings.data_dir, settings.pg_bin, run_as=settings.run_as)
        try:
            await _recovered(await catalogue.start(), settings)
        finally:
            await catalogue.stop()

    file = admin_key_file(settings.data_dir)
    if not (settings.data_dir / "catalogue").is_dir():
        raise click.UsageError(
            f"There is no catalogue in {settings.data_dir}. Name another --data-dir, or --catalogue-url."
        )
    asyncio.run(beside_the_embedded_catalogue())
    where = "" if settings.data_dir == default_data_dir() else f" --data-dir {shlex.quote(str(settings.data_dir))}"
    click.echo(f'A new admin key is in {file}. `eval "$(spg99 env{where})"` takes it up.', err=True)


async def _recovered(catalogue_url: str, settings: MigrateSettings | None) -> str:
    from spg99.control_plane import bootstrap
    from spg99.control_plane.store import Store

    store = Store(catalogue_url, pool_size=2)
    await store.open()
    try:
        return await bootstrap.recover_admin_key(store, data_dir=settings.data_dir if settings else None)
    finally:
        await store.close()
