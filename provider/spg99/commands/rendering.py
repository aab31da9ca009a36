"""How answers look: a table on a terminal, aligned plain columns elsewhere, JSON when asked for. Secrets stay hidden.

Here: text. Not here: which fields there are (resources/) and where they come from (client/).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from spg99.resources import Mark, Resource

HIDDEN = "[secret]"


def values_of(thing: Resource, *, show_secrets: bool) -> dict[str, Any]:
    """The fields of an object as plain values; a secret that is set is hidden unless it shall be shown."""
    secret = frozenset() if show_secrets else thing.marked(Mark.SECRET)
    found = thing.model_dump(mode="json")
    return {name: HIDDEN if name in secret and value is not None else value for name, value in found.items()}


def columns_of(kind: type[Resource]) -> list[str]:
    """The columns of a list: what names the object, what a user wrote that is plain, where it stands, since when."""
    first = [name for name in (*kind.id_fields(), "name") if name in kind.model_fields]
    wanted = [name for name, field in kind.inputs().items() if field.is_required() or name in _TELLING]
    rest = [name for name in ("state", "last_used_at", "created_at") if name in kind.model_fields]
    return list(dict.fromkeys([*first, *wanted, *rest]))


_TELLING = frozenset({"size", "scope", "tenant", "project", "idle_timeout_seconds", "permissions"})


def show_one(values: dict[str, Any], *, as_json: bool) -> None:
    """One object: a line for each field that has a value."""
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    shown = {name: cell(value) for name, value in values.items() if value not in (None, [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, text in shown.items():
        click.echo(f"{click.style(name.ljust(width), dim=True)}  {text}")


def show_many(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool, nothing: str) -> None:
    """A list. Nothing is written to stdout for an empty one unless JSON is asked for."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo(nothing, err=True)
    elif sys.stdout.isatty():
        _table(rows, columns)
    else:
        for line in aligned([[cell(row.get(name)) for name in columns] for row in rows], columns):
            click.echo(line)


def show_line(values: dict[str, Any], columns: Iterable[str], *, as_json: bool) -> None:
    """One line of a watch, written at once."""
    click.echo(json.dumps(values) if as_json else "  ".join(cell(values.get(name)) for name in columns))
    sys.stdout.flush()


def aligned(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> list[str]:
    """Rows under a heading, columns set with two spaces; no cell holds a line break, so `awk` can read it."""
    whole = [[name.upper() for name in columns], *rows]
    widths = [max(len(row[index]) for row in whole) for index in range(len(columns))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in whole]


def cell(value: Any) -> str:
    """A value in one line."""
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(cell(item) for item in value)
    text = json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)
    return " ".join(text.split())


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row.get(name))) for name in columns))
    Console().print(table)
