"""`spg99 moments`: which moments of databases somebody reads now. Not here: opening one, which a connection to `<database>@<time>` does."""

from __future__ import annotations

import click

from spg99.commands.connection import Connection, all_pages, with_connection
from spg99.commands.rendering import show_many

_COLUMNS = ("name", "state", "lsn", "active_connections", "opened_at")


@click.command("moments")
@click.argument("tenant")
@with_connection
def moments(connection: Connection, tenant: str) -> None:
    """List the moments of a tenant's databases that are open for reading (connect to `app@2026-11-26T10:00:00Z`)."""
    found = connection.call(lambda client: all_pages(client, "/tenants/{tenant}/moments", {"tenant": tenant}))
    show_many(found, _COLUMNS, as_json=connection.as_json, nothing=f"Nobody reads a moment of {tenant}.")
