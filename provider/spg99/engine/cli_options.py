"""What the engine's commands share: options, opening a stack, errors as sentences. Not here: the commands (cli.py, cli_stacks.py)."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from spg99.engine.crypt import PASSPHRASE, PASSPHRASE_FILE, find_passphrase
from spg99.engine.run import DEFAULT_PARALLEL
from spg99.engine.workspace import Workspace, open_workspace
from spg99.errors import BadRequest, Spg99Error

FAILED = 255  # Pulumi's exit code for everything that went wrong

F = TypeVar("F", bound=Callable[..., Any])


def where(command: F) -> F:
    """The options that say which stack of which project."""
    for option in (
        click.option(
            "--passphrase-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"File with the passphrase of the stack's secrets. Default: {PASSPHRASE} or {PASSPHRASE_FILE}.",
        ),
        click.option(
            "--backend", help="Where state is, such as file://./state. Default: PULUMI_BACKEND_URL, else file://~."
        ),
        click.option(
            "--cwd", "-C", type=click.Path(path_type=Path), default=Path("."), help="Run as if started in this folder."
        ),
        click.option("--stack", "-s", help="Name of the stack. Default: the selected one."),
    ):
        command = option(command)
    return command


def how(command: F) -> F:
    """The options of a run."""
    for option in (
        click.option(
            "--json", "-j", "as_json", is_flag=True, help="Print the result as JSON; progress goes to stderr."
        ),
        click.option(
            "--config", "-c", multiple=True, metavar="KEY=VALUE", help="Configuration for this run only. Repeatable."
        ),
        click.option("--debug", "-d", is_flag=True, help="Show what providers and the SDK say for their developers."),
        click.option("--expect-no-changes", is_flag=True, help="Fail when anything would change or has changed."),
        click.option("--diff", is_flag=True, help="Show each changed property."),
        click.option(
            "--parallel",
            "-p",
            type=click.IntRange(min=1),
            default=DEFAULT_PARALLEL,
            show_default=True,
            help="Resources to work on at a time.",
        ),
        click.option("--target-dependents", is_flag=True, help="Also work on what needs a target."),
        click.option(
            "--target", "-t", "targets", multiple=True, help="URN to work on, `*` and `**` allowed. Repeatable."
        ),
    ):
        command = option(command)
    return command


def guarded(command: F) -> F:
    """Errors as one sentence on stderr, exit code as Pulumi's."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except Spg99Error as error:
            click.echo(f"error: {error.message}", err=True)
            sys.exit(FAILED)

    return cast(F, run)


def open_stack(
    stack: str | None, cwd: Path, backend: str | None, passphrase_file: Path | None, config: tuple[str, ...] = ()
) -> Workspace:
    """The stack that the options mean. On a terminal the passphrase is asked for when nothing else gives it."""
    environment: dict[str, str] = {}
    if passphrase_file is None and find_passphrase(os.environ) is None and sys.stdin.isatty():
        question = "Passphrase of the stack's secrets"
        environment[PASSPHRASE] = click.prompt(question, hide_input=True, default="", show_default=False, err=True)
    return open_workspace(
        cwd,
        stack,
        url=backend,
        passphrase_file=passphrase_file,
        config=dict(_pair(text) for text in config),
        environment=environment,
    )


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise BadRequest(f"'{text}' is no configuration; write KEY=VALUE.")
    return key, value


def confirmed(question: str, yes: bool) -> bool:
    """Whether the user agrees. Raises BadRequest when nobody can be asked."""
    if yes or os.environ.get("PULUMI_SKIP_CONFIRMATIONS", "").lower() in ("1", "true"):
        return True
    if not sys.stdin.isatty():
        raise BadRequest("Nobody can be asked here: add --yes.")
    return click.confirm(question)
