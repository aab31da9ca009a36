"""How an error looks on the command line. Here: sentence and exit code. Not here: the errors (errors.py)."""

from __future__ import annotations

import os
import sys
import traceback

import click

from spg99.errors import Spg99Error, kind_and_place

FAILED = 1
INTERRUPTED = 130


def report(error: BaseException) -> int:
    """Writes the error to stderr for people and answers the exit code. SPG99_DEBUG=1 adds the traceback."""
    if os.environ.get("SPG99_DEBUG") == "1" and not isinstance(error, click.exceptions.Exit | click.UsageError):
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        if isinstance(error.__cause__, KeyboardInterrupt):
            return INTERRUPTED
        click.echo("Nothing was done.", err=True)  # a question was not answered with yes
        return FAILED
    if isinstance(error, click.ClickException):
        error.show(sys.stderr)
        return error.exit_code
    for line in lines(error):
        click.echo(line, err=True)
    return FAILED


def lines(error: BaseException) -> list[str]:
    """The error as lines: one sentence, then a line for each bad field, then the request id."""
    if isinstance(error, Spg99Error):
        found = [f"error: {error.message}"]
        found += [f"  {path.replace('_', '-')}: {reason}" for path, reason in error.fields.items()]
        if error.retry_after_seconds:
            found.append(f"  retry in {error.retry_after_seconds} s")
        if error.request_id:
            found.append(f"  request id: {error.request_id}")
        return found
    if isinstance(error, BaseExceptionGroup):
        return [line for member in error.exceptions for line in lines(member)]
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return [f"error: {error.strerror}{where}"]
    return [
        f"error: something failed that should not ({kind_and_place(error)}).",
        "  SPG99_DEBUG=1 shows where.",
    ]
