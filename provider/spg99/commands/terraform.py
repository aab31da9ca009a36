"""`spg99 terraform`: lays the provider where Terraform and OpenTofu install from. Not here: the layout (bridges/terraform/installation.py)."""

from __future__ import annotations

from pathlib import Path

import click

from spg99 import __version__


@click.group("terraform")
def terraform() -> None:
    """The provider for Terraform and OpenTofu."""


@terraform.command("install")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the file-system mirror.  [default: ~/.terraform.d/plugins, where both tools look by themselves]",
)
@click.option("--version", default=__version__, show_default=True, help="Version number to install it under.")
def install(folder: Path | None, version: str) -> None:
    """Lays the provider into a file-system mirror and says how a configuration uses it."""
    from spg99.bridges.terraform import installation

    mirror = (folder or installation.default_mirror()).expanduser().resolve()
    for path in installation.install(mirror, version):
        click.echo(f"Installed {path}", err=True)
    if folder is not None:
        # On stdout alone, so that it can be sent into a file.
        click.echo("\nThe command line's configuration (~/.terraformrc, for OpenTofu ~/.tofurc):\n", err=True)
        click.echo(installation.cli_configuration(mirror))
    click.echo("\nIn your configuration, then `terraform init` (or `tofu init`):\n", err=True)
    click.echo(installation.required_providers(version), nl=False, err=True)
