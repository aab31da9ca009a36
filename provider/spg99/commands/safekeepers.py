"""`spg99 safekeepers`: the processes that keep WAL, for their operator. Not here: who takes the place of a lost one (control_plane/databases/members.py)."""

from __future__ import annotations

import click

from spg99.commands.connection import Connection, all_pages, with_connection
from spg99.commands.rendering import show_many, show_one

COLUMNS = ("name", "silent", "databases", "only_copies", "disk_free_bytes", "network_address", "trouble")


@click.group("safekeepers")
def safekeepers() -> None:
    """The processes that keep the WAL of databases: list them, remove one that is lost. Needs a key that may administer the platform."""


@safekeepers.command("list")
@with_connection
def list_(connection: Connection) -> None:
    """Lists the safekeepers."""
    found = connection.call(lambda client: all_pages(client, "/safekeepers"))
    show_many(found, COLUMNS, as_json=connection.as_json, nothing="There are no safekeepers yet.")


@safekeepers.command("get")
@click.argument("safekeeper")
@with_connection
def get(connection: Connection, safekeeper: str) -> None:
    """Shows a safekeeper by name or id."""
    answer = connection.call(lambda client: client.call("GET", "/safekeepers/{safekeeper}", {"safekeeper": safekeeper}))
    show_one(answer, as_json=connection.as_json)


@safekeepers.command("remove")
@click.argument("safekeeper")
@click.option(
    "--loses-wal",
    is_flag=True,
    help="Remove it though it may have the only copy of WAL: commits that no object store has yet are lost.",
)
@with_connection
def remove(connection: Connection, safekeeper: str, loses_wal: bool) -> None:
    """Says that a safekeeper is lost for good: another takes its place at once. Refused while it may have the only copy of a database's WAL."""
    connection.call(
        lambda client: client.call(
            "DELETE",
            "/safekeepers/{safekeeper}",
            {"safekeeper": safekeeper},
            params={"loses_wal": "true"} if loses_wal else None,
        )
    )
