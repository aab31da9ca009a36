"""`spg99 operations`: what became of an asynchronous call. Not here: waiting for one's own calls (verbs.py)."""

from __future__ import annotations

import click

from spg99.commands.connection import Connection, with_connection
from spg99.commands.rendering import show_one


@click.group("operations")
def operations() -> None:
    """What became of an asynchronous call."""


@operations.command("get")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.IntRange(0, 60),
    default=0,
    help="Wait so many seconds for its end (at most 60).",
)
@click.argument("op_id")
@with_connection
def get(connection: Connection, op_id: str, wait_seconds: int) -> None:
    """Shows one operation."""
    params = {"wait": wait_seconds} if wait_seconds else None
    answer = connection.call(lambda client: client.call("GET", "/operations/{op_id}", {"op_id": op_id}, params=params))
    show_one(answer, as_json=connection.as_json)
