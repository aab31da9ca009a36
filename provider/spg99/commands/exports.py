"""`spg99 exports`, and what `dbs export --to-store` and `dbs import` have to do with them: archives of databases in the object store. Here: making one, following
it, links. Not here: files on this machine (dump.py), downloading (client/download.py)."""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, Any, Final

import click

from spg99.client import Client
from spg99.client.download import download
from spg99.commands.connection import Connection, with_connection
from spg99.commands.rendering import show_many, show_one
from spg99.errors import Unavailable

POLL_SECONDS: Final = 1.0
_COLUMNS: Final = ("export_id", "database", "state", "size_bytes", "created_at", "expires_at")
_ID_PREFIX: Final = "exp_"


@click.group("exports")
def exports() -> None:
    """Archives of databases in the object store: `spg99 dbs export TENANT/DB --to-store` makes one, `spg99 dbs import TENANT/DB EXPORT_ID` reads one."""


@exports.command("list")
@click.argument("tenant", metavar="TENANT")
@with_connection
def list_all(connection: Connection, tenant: str) -> None:
    """List the exports of a tenant."""

    async def work(client: Client) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {"cursor": cursor} if cursor else {}
            page = await client.call("GET", "/tenants/{tenant}/exports", {"tenant": tenant}, params=params)
            found += page["items"]
            if (cursor := page.get("next_cursor")) is None:
                return found

    show_many(connection.call(work), _COLUMNS, as_json=connection.as_json, nothing=f"There are no exports of {tenant}.")


@exports.command("get")
@click.argument("export_id", metavar="EXPORT_ID")
@with_connection
def get(connection: Connection, export_id: str) -> None:
    """Show an export, and how far it is."""
    show_one(_read(connection, export_id), as_json=connection.as_json)


@exports.command("link")
@click.option("--seconds", type=click.IntRange(1, 604_800), help="How long it is valid.  [default: an hour]")
@click.argument("export_id", metavar="EXPORT_ID")
@with_connection
def link(connection: Connection, export_id: str, seconds: int | None) -> None:
    """Make a link by which an export can be downloaded without an API key, in parts too: `curl -C - -o app.dump LINK`."""
    made = link_of(connection, export_id, seconds=seconds)
    if connection.as_json:
        show_one(made, as_json=True)
    else:
        click.echo(made["url"])
        click.echo(f"Valid until {made['expires_at']}, for everybody who has it.", err=True)


@exports.command("delete")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.argument("export_id", metavar="EXPORT_ID")
@with_connection
def delete(connection: Connection, export_id: str, *, yes: bool) -> None:
    """Delete an export for good, with all links to it."""
    if not yes:
        click.confirm(f"Delete the export {export_id} for good?", abort=True, err=True)
    connection.call(lambda client: client.call("DELETE", "/exports/{export_id}", {"export_id": export_id}))
    if connection.as_json:
        show_one({"deleted": export_id}, as_json=True)
    else:
        click.echo(f"{export_id} is deleted.")


def make(connection: Connection, id_values: dict[str, str], wanted: dict[str, Any]) -> None:
    """Has a database exported, and waits for it; says its id and how to get it."""
    made = connection.call(
        lambda client: client.call("POST", "/tenants/{tenant}/dbs/{name}/exports", id_values, json=wanted)
    )
    export_id = made["export_id"]
    click.echo(f"{export_id}: it goes on by itself; `spg99 exports get {export_id}` tells how far it is.", err=True)
    report = progress()
    while made["state"] in ("waiting", "running"):
        time.sleep(POLL_SECONDS)
        made = _read(connection, export_id)
        report(made["written_bytes"] or 0)
    report(-1)
    if made["state"] != "ready":
        raise Unavailable(f"The export has failed: {made['error'] or made['state']} (export {export_id})")
    if connection.as_json:
        show_one(made, as_json=True)
    else:
        click.echo(export_id)
        click.echo(
            f"{made['size_bytes']:,} bytes, kept until {made['expires_at']}. `spg99 exports link {export_id}` makes a link to it, "
            f"`spg99 dbs import TENANT/DB {export_id}` reads it.",
            err=True,
        )


def is_export(source: str) -> bool:
    """Whether an argument names an export, by its id or by a link to it or to another archive."""
    return source.startswith((_ID_PREFIX, "https://", "http://"))


@contextmanager
def downloaded(connection: Connection, source: str) -> Iterator[IO[bytes]]:
    """The archive that is behind an id or a link, as a file without a name on this machine."""
    ca_file, url = None, source
    if source.startswith(_ID_PREFIX):
        url, ca_file = link_of(connection, source)["url"], connection.settings().ca_file
    elif source.startswith(f"{_origin(connection)}/"):
        ca_file = connection.settings().ca_file
    with TemporaryFile(buffering=0) as file:  # the program that reads it goes on where the descriptor stands
        report = progress()
        download(url, file, context=ssl.create_default_context(cafile=ca_file), report=report)
        report(-1)
        file.flush()
        file.seek(0)
        yield file


def link_of(connection: Connection, export_id: str, *, seconds: int | None = None) -> dict[str, Any]:
    """A link to an export, whole."""
    asked = {} if seconds is None else {"seconds": seconds}
    made = connection.call(
        lambda client: client.call("POST", "/exports/{export_id}/link", {"export_id": export_id}, json=asked)
    )
    return {"url": f"{_origin(connection)}{made['path']}", "expires_at": made["expires_at"]}


def progress() -> Callable[[int], None]:
    """Says to a person how many bytes there are; -1: it is over."""
    is_person = sys.stderr.isatty()

    def report(count: int) -> None:
        if is_person:
            click.echo("\r\033[K" if count < 0 else f"\r{count:,} bytes", err=True, nl=False)

    return report


def _read(connection: Connection, export_id: str) -> dict[str, Any]:
    found: dict[str, Any] = connection.call(
        lambda client: client.call("GET", "/exports/{export_id}", {"export_id": export_id})
    )
    return found


def _origin(connection: Connection) -> str:
    """Scheme, host and port of the Control Plane."""
    return connection.settings().cp_url.removesuffix("/v2")
