"""`spg99 orphans --import`: into a stack of the file backend by the embedded engine, else as a file that the tool takes. Not here: what
stands in it (taking_in.py, bridges/terraform/import_blocks.py)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from spg99.commands.connection import Connection
from spg99.commands.orphans.rules import Declared
from spg99.commands.orphans.sources import TOOLS, Source
from spg99.commands.orphans.taking_in import ORPHANS_FILE, import_commands, taking_in
from spg99.engine.workspace import Workspace
from spg99.errors import Conflict

DEFAULT_FILES = {"pulumi": ORPHANS_FILE, "terraform": "orphans.tf"}


def import_them(
    connection: Connection, source: Source, orphans: Sequence[Declared], output: Path | None, *, yes: bool
) -> None:
    """Takes orphans in. Raises Conflict that names those which cannot be."""
    from spg99.commands.orphans.command import read_all  # which imports this file when it is needed

    things = connection.call(lambda client: read_all(client, orphans))
    family = TOOLS[source.tool]
    if family == "terraform":
        from spg99.bridges.terraform.import_blocks import import_blocks

        file = output or Path(DEFAULT_FILES[family])
        _write(file, import_blocks([thing for _, thing in things]))
        apply = "tofu apply" if source.tool == "opentofu" else "terraform apply"
        click.echo(
            f"Put it beside the configuration and run `{apply}`. Where the configuration declares one of them already, keep its `import` "
            "block with that address and drop the resource below it.",
            err=True,
        )
        return
    into_stack = source.workspace if output is None else None
    found = taking_in(things, source.state)
    if found.content["resources"] and into_stack is not None:
        _into_stack(into_stack, json.dumps(found.content), len(found.content["resources"]), yes=yes)
    elif found.content["resources"]:
        file = output or Path(DEFAULT_FILES[family])
        _write(file, json.dumps(found.content, indent=2) + "\n")
        (command,) = import_commands(str(file), source.options)
        click.echo(f"Then: `{command}`, or `spg99 import --file {file}{source.options}`.", err=True)
    notes = set(source.state.pending) - ({each.resource for each in orphans} if into_stack is not None else set())
    if notes:
        click.echo(
            f"Then the notes in the state go with `pulumi refresh --clear-pending-creates{source.options}`.", err=True
        )
    if found.lost:
        names = ", ".join(f"{each.noun} {each.id} ({each.resource or 'no URN'})" for each in found.lost)
        raise Conflict(
            f"Nobody can say below which component these belong, because the state does not hold it (or several): {names}. Run the program "
            "again (it finds what it made within a day), or delete them with --delete."
        )


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    click.echo(f"Wrote {file}.", err=True)


def _into_stack(workspace: Workspace, text: str, count: int, *, yes: bool) -> None:
    """Records them by the embedded engine. Raises Conflict with the reasons of those that it could not take."""
    from spg99.engine import importing
    from spg99.engine.events import Event
    from spg99.engine.run import Options

    if not yes:
        what = "this object" if count == 1 else f"these {count} objects"
        click.confirm(f"Take {what} into the stack '{workspace.stack.name}'?", abort=True, err=True)
    events: list[Event] = []
    result = importing.import_all(workspace, Options(), importing.parse(text), events.append)
    if not result.ok:
        raise Conflict("Not all could be taken in: " + " ".join(each.message for each in result.failures))
    click.echo(
        f"{count} taken into the stack '{workspace.stack.name}'. The next refresh reads their secrets.", err=True
    )
