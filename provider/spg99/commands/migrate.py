"""`spg99 migrate`: the catalogue's schema. Here: which catalogue, and lines for people. Not here: migrating (store/migrate.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import click

from spg99.commands.options import with_settings
from spg99.config import MigrateSettings


@click.group("migrate")
def migrate() -> None:
    """The catalogue's schema: up, down, status.

    Without --catalogue-url it is the one embedded in the data folder, started for the while if it does not run.
    """


@migrate.command("up")
@click.option("--to", type=click.IntRange(min=1), help="Stop after this version.  [default: the newest]")
@with_settings(MigrateSettings, "migrate")
def up(settings: MigrateSettings, to: int | None) -> None:
    """Applies what is missing. Safe to repeat; one process at a time does it."""
    from spg99.control_plane.store import migrate as steps

    done = _on_catalogue(settings, lambda url: steps.up(url, to=to))
    _print([f"applied {step}" for step in done], nothing="The schema is up to date.")


@migrate.command("down")
@click.option(
    "--to", type=click.IntRange(min=0), required=True, help="Take back everything after this version; 0 = all."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@with_settings(MigrateSettings, "migrate")
def down(settings: MigrateSettings, to: int, yes: bool) -> None:
    """Takes migrations back, newest first. What only the newer schema can hold is lost."""
    from spg99.control_plane.store import migrate as steps

    if not yes:
        click.confirm(f"Take the catalogue back to version {to}? Data is lost.", abort=True, err=True)
    done = _on_catalogue(settings, lambda url: steps.down(url, to))
    _print([f"took back {step}" for step in done], nothing=f"The schema is at version {to} or before.")


@migrate.command("status")
@with_settings(MigrateSettings, "migrate")
def status(settings: MigrateSettings) -> None:
    """Shows every migration and when it was applied."""
    from spg99.commands.rendering import aligned
    from spg99.control_plane.store import migrate as steps

    rows = [
        [
            f"{step.version:04d}",
            step.name,
            f"{step.applied_at:%Y-%m-%d %H:%M:%S}" if step.applied_at else "missing",
            "" if step.known else "newer than this program",
        ]
        for step in _on_catalogue(settings, steps.status)
    ]
    for line in aligned(rows, ["version", "name", "applied", ""]):
        click.echo(line)


def _print(lines: list[str], *, nothing: str) -> None:
    for line in lines or [nothing]:
        click.echo(line)


def _on_catalogue(settings: MigrateSettings, work: Callable[[str], Any]) -> Any:
    if settings.catalogue_url is not None:
        return work(settings.catalogue_url)

    async def embedded() -> Any:
        from spg99.control_plane.catalogue import EmbeddedCatalogue

        catalogue = EmbeddedCatalogue(settings.data_dir, settings.pg_bin, run_as=settings.run_as)
        try:
            return await asyncio.to_thread(work, await catalogue.start())
        finally:
            await catalogue.stop()

    return asyncio.run(embedded())
