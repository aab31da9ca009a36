"""The root command: finds a command by the table of contents, loads only that one, and is the edge where errors end.

Not here: the commands. Exit codes: 0 done, 1 an error with a sentence, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import click

from spg99 import __version__
from spg99.commands.contents import CONTENTS, Entry, entries
from spg99.commands.failures import INTERRUPTED, report


class Root(click.Group):
    """Loads commands lazily and lists them in sections."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table of contents."""
        return list(entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        entry = entries().get(cmd_name)
        return None if entry is None else _load(entry)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but a wrong name is answered with the nearest right ones."""
        if args and args[0] not in entries() and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], entries(), n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else " `spg99 --help` lists all commands."
            raise click.UsageError(f"There is no command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of contents."""
        for section in CONTENTS:
            with formatter.section(section.title):
                formatter.write_dl([(entry.name, entry.line) for entry in section.entries], col_max=16)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Runs and exits. Every error ends here, as one line for people."""
        extra["standalone_mode"] = False
        try:
            result = super().main(args, *rest, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader (`| head`) has seen enough. Nothing may be written at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except Exception as error:  # noqa: BLE001 -- the edge: a user reads a sentence, never a traceback
            sys.exit(report(error))
        sys.exit(result if isinstance(result, int) else 0)


def _load(entry: Entry) -> click.Command:
    path, _, key = entry.where.rstrip("]").partition("[")
    module_name, _, attribute = path.partition(":")
    with _interrupts_end_it():
        found: Any = getattr(importlib.import_module(module_name), attribute)
    command: click.Command = next(each for each in found if each.name == key) if key else found
    command.name = entry.name
    return command


@contextlib.contextmanager
def _interrupts_end_it() -> Iterator[None]:
    """Ctrl-C while modules load is the end at once: nothing has begun. As an exception it would come out as whatever the
    library at work makes of it (pydantic: "Error building validator")."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@click.group(
    "spg99",
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings of a process: flags, then SPG99_* variables, then the file of --config. "
    "`spg99 <command> --help` shows them all.",
)
@click.version_option(__version__, prog_name="spg99")
def app() -> None:
    """Serverless PostgreSQL you declare."""
