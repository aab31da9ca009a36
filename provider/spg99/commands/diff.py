"""`spg99 dbs diff A B`: what differs between the schemas of two databases. Here: asking both, and how differences look. Not here: comparing
(postgres/schema_differences.py), how pg_dump reaches a database (dump.py)."""

from __future__ import annotations

import difflib
import json
import re
import tempfile
from typing import Any, Final

import click

from spg99.commands import failures
from spg99.commands.connection import Connection, with_address
from spg99.commands.dump import program, reached, variables_of
from spg99.errors import Spg99Error
from spg99.postgres.archive_contents import read_contents
from spg99.postgres.schema_differences import Difference, Schema, differences

DIFFERENT: Final = 1
TROUBLE: Final = 2
"""As diff(1) ends."""
_NOWHERE: Final = "/dev/null"
_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@click.command("diff")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@click.argument("before", metavar="TENANT/DB")
@click.argument("after", metavar="TENANT/DB")
@with_address
def diff(connection: Connection, before: str, after: str) -> None:
    """Shows in what the schema of the second database differs from that of the first: what was added, removed and changed.

    Rows are not compared. The order of objects, what the databases are called and who their tenants are make no difference. Sleeping databases wake. Ends with
    0 when both are the same, with 1 when they differ, with 2 when that cannot be told.
    """
    try:
        first, second = (_schema(connection, human_id) for human_id in (before, after))
    except Spg99Error as error:
        failures.report(error)
        raise click.exceptions.Exit(TROUBLE) from error
    found = differences(first, second)
    if connection.as_json:
        click.echo(json.dumps(_as_json(before, after, found), indent=2))
    else:
        for one in found:
            click.echo(_text(before, after, one))
        click.echo(_summary(before, after, found, len(first.objects)), err=True)
    if found:
        raise click.exceptions.Exit(DIFFERENT)


def _schema(connection: Connection, human_id: str) -> Schema:
    said = variables_of(connection, human_id)
    with reached(said) as environment, tempfile.TemporaryFile() as file:
        with program("pg_dump", "--format=custom", "--schema-only", environment=environment, stdout=file):
            pass
        file.seek(0)
        return Schema.of(read_contents(file.read()), user=said["PGUSER"])


def _text(before: str, after: str, one: Difference) -> str:
    """As `diff -u` would say it of two files, so that what reads such can read it."""
    was = f"{before} {one.object}" if one.before is not None else _NOWHERE
    now = f"{after} {one.object}" if one.after is not None else _NOWHERE
    lines = difflib.unified_diff(_lines(one.before), _lines(one.after), harmless(was), harmless(now), lineterm="")
    first, second, *rest = (harmless(line) for line in lines)
    heading = [click.style(line, bold=True) for line in (first, second)]
    return "\n".join([*heading, *(click.style(line, fg=_COLOURS.get(line[:1])) for line in rest), ""])


def _lines(sql: str | None) -> list[str]:
    return sql.split("\n") if sql is not None else []


def harmless(text: str) -> str:
    """A schema's text for a terminal: control characters in it do nothing."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _as_json(before: str, after: str, found: list[Difference]) -> dict[str, Any]:
    changes = [
        {
            "change": one.kind,
            "type": one.object.kind,
            "schema": one.object.schema or None,
            "name": one.object.name,
            "before": one.before,
            "after": one.after,
        }
        for one in found
    ]
    return {"before": before, "after": after, "same": not found, "changes": changes}


def _summary(before: str, after: str, found: list[Difference], count: int) -> str:
    if not found:
        return f"{before} and {after} have the same schema ({count} objects)."
    kinds = [one.kind for one in found]
    counts = [f"{kinds.count(kind)} {kind}" for kind in ("added", "removed", "changed") if kind in kinds]
    return f"From {before} to {after}: {', '.join(counts)}."
