"""`spg99 nodes`: the machines of an installation, for its operator. Not here: what a drain means (control_plane/databases/decide.py)."""

from __future__ import annotations

from typing import Any

import click

from spg99.commands.connection import Connection, all_pages, with_connection
from spg99.commands.rendering import show_many, show_one

COLUMNS = ("name", "status", "silent", "computes", "only_copies", "disk_free_bytes", "network_address")


@click.group("nodes")
def nodes() -> None:
    """The machines that run databases: list, empty and remove them. Needs a key that may administer the platform."""


@nodes.command("list")
@with_connection
def list_(connection: Connection) -> None:
    """Lists the nodes."""
    found = connection.call(lambda client: all_pages(client, "/nodes"))
    show_many(found, COLUMNS, as_json=connection.as_json, nothing="There are no nodes yet.")


@nodes.command("get")
@click.argument("node")
@with_connection
def get(connection: Connection, node: str) -> None:
    """Shows a node by name or id."""
    _show(connection, "GET", "/nodes/{node}", node)


@nodes.command("cordon")
@click.argument("node")
@with_connection
def cordon(connection: Connection, node: str) -> None:
    """Gives a node no new databases; those that it has stay."""
    _show(connection, "POST", "/nodes/{node}/cordon", node)


@nodes.command("uncordon")
@click.argument("node")
@with_connection
def uncordon(connection: Connection, node: str) -> None:
    """Gives a node databases again; ends a drain."""
    _show(connection, "POST", "/nodes/{node}/uncordon", node)


@nodes.command("drain")
@click.argument("node")
@click.option(
    "--end-sessions",
    is_flag=True,
    help="Stop databases that are in use, too: clients that come again find them on another node.",
)
@with_connection
def drain(connection: Connection, node: str, end_sessions: bool) -> None:
    """Empties a node of databases that safekeepers keep: they wake on other nodes."""
    _show(connection, "POST", "/nodes/{node}/drain", node, {"ends_sessions": end_sessions})


@nodes.command("remove")
@click.argument("node")
@with_connection
def remove(connection: Connection, node: str) -> None:
    """Removes a node for good. Refused while it runs databases, or has the only copy of one."""
    connection.call(lambda client: client.call("DELETE", "/nodes/{node}", {"node": node}))


@nodes.command("token")
@click.option(
    "--for",
    "kind",
    type=click.Choice(["node", "gateway", "safekeeper", "pageserver"]),
    default="node",
    show_default=True,
    help="What is to join.",
)
@with_connection
def token(connection: Connection, kind: str) -> None:
    """Makes a token with which one node, gateway, safekeeper or pageserver joins: single use, 15 minutes, shown this once."""
    answer = connection.call(lambda client: client.call("POST", "/enrolment-tokens", json={"kind": kind}))
    if connection.as_json:
        show_one(answer, as_json=True)
    else:
        click.echo(answer["enrolment_token"])


def _show(connection: Connection, method: str, path: str, node: str, body: dict[str, Any] | None = None) -> None:
    answer = connection.call(lambda client: client.call(method, path, {"node": node}, json=body))
    show_one(answer, as_json=connection.as_json)
