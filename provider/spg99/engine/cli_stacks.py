"""Commands on stacks as things: stack, config, cancel. Here: options and words. Not here: what they do (stacks.py, project.py, lock.py)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from spg99.engine import cli_options as options
from spg99.engine import lock, stacks
from spg99.engine.backend import Backend, backend_url
from spg99.engine.display import outputs_json
from spg99.engine.project import find_project, full_key, select_stack, selected_stack
from spg99.engine.values import redact, reveal
from spg99.engine.workspace import need_passphrase
from spg99.errors import BadRequest


@click.group("stack", help="Make, list, select, show and remove stacks.")
def stack_group() -> None:
    """The stack commands."""


def _stack_command(name: str, help_: str) -> Callable[[Callable[..., None]], click.Command]:
    def wrap(function: Callable[..., None]) -> click.Command:
        return stack_group.command(name, help=help_)(options.where(options.guarded(function)))

    return wrap


@stack_group.command("init", help="Make an empty stack and select it.")
@click.argument("name", required=False)
@options.where
@options.guarded
def stack_init(name: str | None, stack: str | None, **where: Any) -> None:
    """Makes a stack."""
    workspace = options.open_stack(name or stack, **where)
    need_passphrase(workspace)
    stacks.create(workspace)
    select_stack(workspace.project, workspace.stack.name, workspace.backend.url)
    click.echo(f"Made the stack '{workspace.stack.name}' at {workspace.backend.url}.")


@_stack_command("ls", "List the stacks of this project.")
def stack_ls(stack: str | None, cwd: Path, backend: str | None, passphrase_file: Path | None) -> None:
    """Lists stacks."""
    project = find_project(cwd)
    folder = Backend(backend_url(backend, os.environ, project), cwd=cwd)
    chosen = selected_stack(project, folder.url)
    for _, name in folder.stacks(project.name):
        click.echo(name + ("*" if name == (chosen or "").rpartition("/")[2] else ""))


@stack_group.command("select", help="Choose the stack that commands work on.")
@click.argument("name", required=False)
@click.option("--create", "-c", is_flag=True, help="Make it when it does not exist.")
@options.where
@options.guarded
def stack_select(name: str | None, create: bool, stack: str | None, **where: Any) -> None:
    """Selects a stack."""
    workspace = options.open_stack(name or stack, **where)
    if not workspace.stack.exists():
        if not create:
            workspace.stack.read()
        need_passphrase(workspace)
        stacks.create(workspace)
    select_stack(workspace.project, workspace.stack.name, workspace.backend.url)


@stack_group.command("output", help="Show the stack's outputs, or one of them.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--show-secrets", is_flag=True, help="Show secret values.")
@options.where
@options.guarded
def stack_output(name: str | None, as_json: bool, show_secrets: bool, stack: str | None, **where: Any) -> None:
    """Shows outputs."""
    outputs = options.open_stack(stack, **where).deployment().outputs()
    see = reveal if show_secrets else redact
    if name is not None:
        if name not in outputs:
            raise BadRequest(f"The stack has no output '{name}'; it has {', '.join(sorted(outputs)) or 'none'}.")
        value = see(outputs[name])
        click.echo(value if isinstance(value, str) and not as_json else json.dumps(value, ensure_ascii=False))
    elif as_json:
        click.echo(json.dumps(outputs_json(outputs, show_secrets=show_secrets), indent=2, ensure_ascii=False))
    else:
        for key in sorted(outputs):
            value = see(outputs[key])
            click.echo(f"{key}  {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@stack_group.command("export", help="Print the state, as `pulumi stack export` does.")
@click.option("--show-secrets", is_flag=True, help="Write secrets in plain text.")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Write it there instead.")
@options.where
@options.guarded
def stack_export(show_secrets: bool, file: Path | None, stack: str | None, **where: Any) -> None:
    """Exports the state."""
    text = stacks.export(options.open_stack(stack, **where), show_secrets=show_secrets)
    if file is None:
        click.echo(text)
        return
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # it may hold secrets
    with os.fdopen(descriptor, "w") as out:
        out.write(text + "\n")


@stack_group.command("import", help="Replace the state by an exported one.")
@click.option("--file", type=click.File("r"), default="-", help="Where it is. Default: standard input.")
@click.option("--force", "-f", is_flag=True, help="Also when it is of another stack.")
@options.where
@options.guarded
def stack_import(file: Any, force: bool, stack: str | None, **where: Any) -> None:
    """Imports a state."""
    count = stacks.import_(options.open_stack(stack, **where), file.read(), force=force)
    click.echo(f"The state now has {count} resources.")


@stack_group.command("rm", help="Forget a stack that has nothing in it any more.")
@click.argument("name", required=False)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--force", "-f", is_flag=True, help="Also when it still has resources; they are left running.")
@options.where
@options.guarded
def stack_rm(name: str | None, yes: bool, force: bool, stack: str | None, **where: Any) -> None:
    """Removes a stack."""
    workspace = options.open_stack(name or stack, **where)
    if not options.confirmed(f"Forget the stack '{workspace.stack.name}' and its configuration?", yes):
        sys.exit(options.FAILED)
    stacks.remove(workspace, force=force)
    if (selected_stack(workspace.project, workspace.backend.url) or "").rpartition("/")[2] == workspace.stack.name:
        select_stack(workspace.project, None, workspace.backend.url)


@click.group("config", help="Configuration of a stack.")
def config_group() -> None:
    """The configuration commands."""


@config_group.command("set", help="Set a value. Without VALUE it is read from standard input.")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--secret", is_flag=True, help="Encrypt it.")
@options.where
@options.guarded
def config_set(key: str, value: str | None, secret: bool, stack: str | None, **where: Any) -> None:
    """Sets a value."""
    workspace = options.open_stack(stack, **where)
    if value is None:
        value = (
            click.prompt("Value", hide_input=secret, err=True)
            if sys.stdin.isatty()
            else sys.stdin.read().removesuffix("\n")
        )
    if secret:
        need_passphrase(workspace)
        workspace.crypter.check()
    workspace.settings.set(key, value, crypter=workspace.crypter if secret else None)


@config_group.command("get", help="Print a value.")
@click.argument("key")
@options.where
@options.guarded
def config_get(key: str, stack: str | None, **where: Any) -> None:
    """Prints a value."""
    workspace = options.open_stack(stack, **where)
    found = workspace.config().get(full_key(key, workspace.project.name))
    if found is None:
        raise BadRequest(f"The configuration of '{workspace.stack.name}' has no value '{key}'.")
    click.echo(reveal(found))


@config_group.command("rm", help="Remove a value.")
@click.argument("key")
@options.where
@options.guarded
def config_rm(key: str, stack: str | None, **where: Any) -> None:
    """Removes a value."""
    options.open_stack(stack, **where).settings.remove(key)


@click.command("cancel", help="Remove what a dead run left behind: its lock, and what it was just writing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@options.where
@options.guarded
def cancel(yes: bool, stack: str | None, **where: Any) -> None:
    """Breaks locks, and removes attributes without which the Pulumi CLI can load the stack again."""
    workspace = options.open_stack(stack, **where)
    found = lock.locks(workspace.stack)
    for _, content in found:
        click.echo(f"Locked by {lock.describe(content)}.", err=True)
    if not found:
        click.echo("The stack is not locked.", err=True)
    elif not options.confirmed("Whoever it was may still be writing. Remove the lock?", yes):
        return
    else:
        lock.break_locks(workspace.stack)
    for torn in workspace.stack.remove_torn_attributes():
        click.echo(f"Removed {torn}, which the Pulumi CLI had half written: it can load the stack again.", err=True)
