"""`spg99 import-file`: existing objects as what `pulumi import`, `spg99 import` or Terraform take over. Not here: what stands in it
(bridges/pulumi/dynamic/import_file.py, bridges/terraform/import_blocks.py)."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spg99.client import Client
from spg99.commands.connection import Connection, with_address
from spg99.commands.nouns import NAMINGS
from spg99.resources import Database, Resource, Tenant

KINDS = {naming.command: kind for kind, naming in NAMINGS.items()}


Named = tuple[type[Resource], dict[str, str]]
"""One object: its noun and the fields of its id."""


def _named(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[Named, ...]:
    return tuple(object_of(text) for text in texts)


def object_of(text: str) -> Named:
    """The object that `dbs:acme/app` names. Raises BadParameter with the forms that there are."""
    noun, _, human_id = text.partition(":")
    if noun not in KINDS or not human_id:
        raise click.BadParameter(f"'{text}' is none of {', '.join(f'{known}:ID' for known in KINDS)}.")
    try:
        return KINDS[noun], KINDS[noun].id_values(human_id)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


@click.command("import-file")
@click.option("--all", "everything", is_flag=True, help="Everything that this API key may see, but API keys.")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [default: stdout]"
)
@click.option(
    "--for",
    "tool",
    type=click.Choice(["pulumi", "terraform"]),
    help="Tool that will read it.  [default: terraform for an output ending in .tf, else pulumi]",
)
@click.argument("objects", nargs=-1, callback=_named, metavar="[NOUN:ID]...")
@with_address
def import_file(
    connection: Connection, objects: tuple[Named, ...], everything: bool, output: Path | None, tool: str | None
) -> None:
    """Writes a file with which existing objects are taken into a stack or state; also when that was lost.

    `spg99 import-file dbs:acme/app tenants:acme -o import.json`, then `pulumi import --file import.json --generate-code=false`. Secrets are
    left out; the next refresh reads them into the state, encrypted. `spg99 import-file --all -o import.tf` writes Terraform's `import`
    blocks with their resources, then `terraform apply`.
    """
    if everything == bool(objects):
        raise click.UsageError("Name the objects (dbs:acme/app ...), or give --all.")
    found = connection.call(lambda client: _all(client) if everything else _read(client, objects))
    text = _text(found, tool or ("terraform" if output is not None and output.suffix == ".tf" else "pulumi"))
    if output is None:
        click.echo(text, nl=False)
        return
    output.write_text(text)
    click.echo(f"Wrote {len(found)} objects to {output}.", err=True)


def _text(found: list[Resource], tool: str) -> str:
    # each brings its bridge along, and only one is needed
    if tool == "terraform":
        from spg99.bridges.terraform.import_blocks import import_blocks

        return import_blocks(found)
    from spg99.bridges.pulumi.dynamic.import_file import import_file as content_of

    return json.dumps(content_of(found), indent=2) + "\n"


async def _read(client: Client, objects: tuple[Named, ...]) -> list[Resource]:
    return [await client.read(kind, id_values) for kind, id_values in objects]


async def _all(client: Client) -> list[Resource]:
    found: list[Resource] = []
    async for tenant in client.list(Tenant):
        found.append(tenant)
        found += [database async for database in client.list(Database, {"tenant": tenant.name})]
    return found
