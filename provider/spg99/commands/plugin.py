"""`spg99 plugin`: Pulumi's native plugin, installed or packed. Not here: which files that means (emit/pulumi_plugin.py)."""

from __future__ import annotations

from pathlib import Path

import click

from spg99.commands.click_types import Repeated


@click.group("plugin")
def plugin() -> None:
    """Pulumi's native plugin, which serves every language."""


@plugin.command("install")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of plugins.  [default: $PULUMI_HOME/plugins, else ~/.pulumi/plugins]",
)
def install(folder: Path | None) -> None:
    """Puts the plugin where the Pulumi CLI and `spg99 up` look. It starts the spg99 that is installed here."""
    from spg99.emit import pulumi_plugin

    made = pulumi_plugin.install(folder or pulumi_plugin.plugins_folder())
    click.echo(f"Installed {made}")


@plugin.command("package")
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("dist"),
    show_default=True,
    help="Folder to write to.",
)
@click.option(
    "--platform",
    "targets",
    cls=Repeated,
    metavar="OS-ARCH",
    help="Repeat the option for each.  [default: this machine's]",
)
@click.option(
    "--python", "pythons", cls=Repeated, metavar="VERSION", help="Repeat the option for each.  [default: this one's]"
)
def package(output: Path, targets: tuple[str, ...], pythons: tuple[str, ...]) -> None:
    """Writes archives for machines that have a Python of these versions but no spg99.

    A Control Plane serves those in the folder `downloads` of its data folder, and makes its own machine's by itself. For
    other platforms and versions uv fetches the compiled parts.
    """
    from spg99.emit import pulumi_plugin

    for target in targets or (pulumi_plugin.this_platform(),):
        made = pulumi_plugin.archive(output, target, pythons)
        click.echo(f"{pulumi_plugin.checksum(made)}  {made}")
