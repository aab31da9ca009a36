"""`spg99 account`: the account of the API key. Not here: what an account is (control_plane/identity/organizations.py)."""

from __future__ import annotations

import click

from spg99.commands.connection import Connection, with_connection
from spg99.commands.rendering import show_one


@click.group("account")
def account() -> None:
    """The account this API key belongs to."""


@account.command("get")
@with_connection
def get(connection: Connection) -> None:
    """Shows the account."""
    show_one(connection.call(lambda client: client.call("GET", "/account")), as_json=connection.as_json)


@account.command("contact")
@click.option("--email", help="Address of the person to write to.")
@click.option("--name", help="Name of that person.")
@click.option("--company", help="Company.")
@with_connection
def contact(connection: Connection, **fields: str | None) -> None:
    """Sets whom to write to. What is not given stays as it is."""
    body = {name: value for name, value in fields.items() if value is not None}
    if not body:
        raise click.UsageError("Give at least one of --email, --name and --company.")
    show_one(
        connection.call(lambda client: client.call("POST", "/account/contact", json=body)), as_json=connection.as_json
    )
