"""`spg99 branches` and `spg99 dbs branch`: databases that begin in others. Not here: the rest of a database's commands (nouns.py)."""

from __future__ import annotations

from typing import Any, Final

import click

from spg99.client import Client
from spg99.commands import verbs
from spg99.commands.connection import Connection, with_connection
from spg99.commands.rendering import show_many, values_of
from spg99.resources import Database

_COLUMNS: Final = (
    "name", "source_database", "source_time", "source_lsn", "branch_lsn", "schema_only", "state", "created_at", "expires_at",
)  # fmt: skip


@click.command("branches")
@click.argument("whose", metavar="TENANT[/DATABASE]")
@with_connection
def branches(connection: Connection, whose: str) -> None:
    """List databases that begin in others: all of a tenant, or those that begin in one database."""
    tenant, _, source = whose.partition("/")

    async def work(client: Client) -> list[dict[str, Any]]:
        return [
            values_of(one, show_secrets=connection.show_secrets)
            async for one in client.list(Database, {"tenant": tenant})
            if one.source_database is not None and source in ("", one.source_database)
        ]

    show_many(connection.call(work), _COLUMNS, as_json=connection.as_json, nothing=f"Nothing begins in {whose}.")


def branch_command() -> click.Command:
    """`dbs branch`."""
    from spg99.commands.nouns import id_argument  # which mounts this command

    def body(connection: Connection, human_id: dict[str, str], name: str, **fields: Any) -> None:
        given = {field: value for field, value in fields.items() if value not in (None, False)}
        values = {"tenant": human_id["tenant"], "name": name, "source_database": human_id["name"], **given}
        verbs.create(connection, Database, values, wait=True, show_secrets=False)

    decorated: Any = click.argument("name", metavar="BRANCH")(body)
    for option in (
        click.option("--expires-at", help="When it is deleted by itself (RFC 3339)."),
        click.option("--idle-timeout-seconds", type=int, help="Its idle timeout."),
        click.option("--size", help="Product class of the new database.  [default: L1]"),
        click.option("--schema-only", is_flag=True, help="Its schema, and none of its rows."),
        click.option("--lsn", "source_lsn", help="The place in the WAL, as pg_current_wal_lsn() says it."),
        click.option("--time", "source_time", help="The moment (RFC 3339).  [default: now]"),
    ):
        decorated = option(decorated)
    text = "Create a database that begins in this one, with its content of now or of a moment."
    return click.command("branch", help=text)(with_connection(id_argument(Database)(decorated)))
