"""Commands of the embedded engine that run programs; `COMMANDS` is what the command line mounts. Here: options and words. Not
here: what a run does (operations.py), the commands on stacks (cli_stacks.py)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console

from spg99.engine import cli_options as options
from spg99.engine import importing
from spg99.engine.child import collect_seldom
from spg99.engine.cli_refusals import EngineCommand
from spg99.engine.cli_stacks import cancel, config_group, stack_group
from spg99.engine.display import Display, outputs_json
from spg99.engine.events import Failure, Result
from spg99.engine.graph import matcher
from spg99.engine.operations import deploy, destroy_stack, refresh_stack
from spg99.engine.run import Options
from spg99.engine.workspace import Workspace

BANNER = (
    "Embedded engine: one machine, state in Pulumi's file backend. For policies, more languages or a team's shared state, "
    "run `pulumi` in this folder: it continues where this stops."
)


def _perform(
    title: str, operation: Callable[..., Result], workspace: Workspace, *, dry_run: bool, how: dict[str, Any]
) -> Result:
    """Runs an operation and shows it."""
    collect_seldom()  # this process ends with the run, and what a run makes lives as long
    console = Console(stderr=how["as_json"], highlight=False)
    asked = Options(
        dry_run=dry_run,
        parallel=how["parallel"],
        targets=matcher(how["targets"]) if how["targets"] else None,
        target_dependents=how["target_dependents"],
        debug=how["debug"],
        clear_pending_creates=how.get("clear_pending_creates", False),
    )
    console.print(f"{title} ({workspace.stack.name}):", style="bold magenta")
    with Display(console, preview=dry_run, diff=how["diff"], debug=how["debug"]) as display:
        result = operation(workspace, asked, display)
    if result.ok and how["expect_no_changes"] and result.changed:
        result.failures.append(Failure("No changes were expected, but there are some."))
    display.finish(result)
    console.print()
    return result


def _end(result: Result, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_as_json(result), indent=2))
    if not result.ok:
        sys.exit(options.FAILED)


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "ok": result.ok,
        "changes": result.changes,
        "steps": [
            {"op": str(s.kind), "urn": s.urn, "seconds": round(s.seconds, 3), "error": s.error} for s in result.steps
        ],
        "errors": [{"urn": f.urn, "message": f.message} for f in result.failures],
        "outputs": outputs_json(result.outputs, show_secrets=False),
        "seconds": round(result.seconds, 3),
    }


def _changing(
    name: str, noun: str, doing: str, question: str, operation: Callable[..., Result], help_: str
) -> click.Command:
    """A command that shows first what it would do, asks, and does it."""

    @click.command(name, cls=EngineCommand, help=help_)
    @click.option("--yes", "-y", is_flag=True, help="Do not ask.")
    @click.option("--skip-preview", "-f", is_flag=True, help="Do not ask, and do not show first what would be done.")
    @options.how
    @options.where
    @options.guarded
    def command(
        yes: bool,
        skip_preview: bool,
        stack: str | None,
        cwd: Path,
        backend: str | None,
        passphrase_file: Path | None,
        **how: Any,
    ) -> None:
        click.echo(BANNER, err=True)
        workspace = options.open_stack(stack, cwd, backend, passphrase_file, how["config"])
        if not skip_preview:
            shown = _perform(f"Previewing {noun}", operation, workspace, dry_run=True, how=how)
            if not shown.ok:
                _end(shown, as_json=how["as_json"])
            if not options.confirmed(question, yes):
                click.echo("Nothing was done.", err=True)
                sys.exit(options.FAILED)
        result = _perform(doing, operation, workspace, dry_run=False, how=how)
        _end(result, as_json=how["as_json"])

    return command


up = _changing("up", "update", "Updating", "Do this?", deploy, "Bring the stack to what the program says.")
refresh = _changing(
    "refresh",
    "refresh",
    "Refreshing",
    "Write this into the state?",
    refresh_stack,
    "Bring the state to what really is.",
)
click.option(
    "--clear-pending-creates", is_flag=True, help="Forget creates that were interrupted; you know that nothing is left."
)(refresh)
destroy = _changing(
    "destroy", "destroy", "Destroying", "Destroy all this?", destroy_stack, "Delete everything of the stack."
)


@click.command("preview", cls=EngineCommand, help="Show what `up` would do, and change nothing.")
@options.how
@options.where
@options.guarded
def preview(stack: str | None, cwd: Path, backend: str | None, passphrase_file: Path | None, **how: Any) -> None:
    """Shows what `up` would do."""
    click.echo(BANNER, err=True)
    workspace = options.open_stack(stack, cwd, backend, passphrase_file, how["config"])
    _end(_perform("Previewing update", deploy, workspace, dry_run=True, how=how), as_json=how["as_json"])


@click.command(
    "import", cls=EngineCommand, help="Take existing resources into the state: TYPE NAME ID, or a file with many."
)
@click.argument("type_", metavar="[TYPE]", required=False)
@click.argument("name", required=False)
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--file", "-f", type=click.File("r"), help="Import file, as `pulumi import --file` takes it.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@options.how
@options.where
@options.guarded
def import_command(
    type_: str | None,
    name: str | None,
    id_: str | None,
    file: TextIO | None,
    yes: bool,
    stack: str | None,
    cwd: Path,
    backend: str | None,
    passphrase_file: Path | None,
    **how: Any,
) -> None:
    """Imports resources."""
    if file is None and not (type_ and name and id_):
        raise click.UsageError("Give TYPE NAME ID, or --file.")
    if file is not None:
        entries = importing.parse(file.read())
    else:
        entries = [importing.Entry(type=type_ or "", name=name or "", id=id_ or "")]
    click.echo(BANNER, err=True)
    workspace = options.open_stack(stack, cwd, backend, passphrase_file, how["config"])
    if not options.confirmed(f"Import {len(entries)} resources into '{workspace.stack.name}'?", yes):
        sys.exit(options.FAILED)

    def operation(opened: Workspace, asked: Options, listener: Display) -> Result:
        return importing.import_all(opened, asked, entries, listener)

    _end(_perform("Importing", operation, workspace, dry_run=False, how=how), as_json=how["as_json"])


COMMANDS: list[click.Command] = [up, preview, refresh, destroy, import_command, stack_group, config_group, cancel]
