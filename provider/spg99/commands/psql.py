"""`spg99 psql TENANT/DB`: the machine's psql on a database. Here: its environment. Not here: SQL, TLS."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import click

from spg99.commands.connection import Connection, with_address
from spg99.errors import BadRequest, Forbidden, Unavailable

NO_PSQL = (
    "psql is not on the PATH. Install PostgreSQL's client (Debian: postgresql-client, macOS: `brew install libpq`), or "
    "name the program with --psql. The psql in our own PostgreSQL has no TLS and cannot be used."
)


@click.command("psql", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--psql", "program", help="The program.  [default: psql on the PATH]")
@click.argument("human_id", metavar="TENANT/DB")
@click.argument("arguments", metavar="[PSQL ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED)
@with_address
def psql(connection: Connection, human_id: str, arguments: tuple[str, ...], program: str | None) -> None:
    """Opens a database in psql, with the tenant's credentials and the certificate checked.

    A sleeping database wakes. What follows TENANT/DB goes to psql, with or without a `--` between:
    `spg99 psql acme/app -c 'select 1'`.
    """
    from spg99.resources import Database

    found = shutil.which(program or "psql")
    if found is None:
        raise Unavailable(NO_PSQL)
    try:
        # `acme/app@2026-11-26T10:00:00Z` is a moment of acme/app: the Gateway knows it by that name (docs/storage.md, "Time travel").
        whole, at, moment = human_id.partition("@")
        id_values = Database.id_values(whole)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error
    database = connection.call(lambda client: client.read(Database, id_values))
    environment = os.environ | variables(database.connection_string, ca_file=ca_file_of(connection), moment=at + moment)
    # psql itself would take everything behind a `--` for names of a database and a user.
    given = arguments[1:] if arguments[:1] == ("--",) else arguments
    os.execve(found, [found, *given], environment)  # noqa: S606 -- psql takes over this process and its terminal


def variables(connection_string: str, *, ca_file: Path | None, moment: str = "") -> dict[str, str]:
    """libpq's variables for a connection string: the password never stands in an argument that others can see.

    `moment`: `@` and a moment of the database, as the Gateway takes it behind its name.
    With `ca_file` the server's name and certificate are checked, otherwise as the connection string and the user's own
    PGSSLMODE and PGSSLROOTCERT say.
    """
    parts = urlsplit(connection_string)
    if not parts.hostname or not parts.username:
        raise BadRequest("The Control Plane answered a connection string without host or user.")
    if not parts.password:
        raise Forbidden("This API key may not read credentials (can_read_credentials), so it cannot open the database.")
    found = {
        "PGHOST": parts.hostname,
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username),
        "PGPASSWORD": unquote(parts.password),
        "PGDATABASE": unquote(parts.path.lstrip("/")) + moment,
    }
    if ca_file is not None:
        return found | {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(ca_file)}
    if "PGSSLROOTCERT" in os.environ:
        return found | {"PGSSLMODE": "verify-full"}
    return found | {"PGSSLMODE": parse_qs(parts.query).get("sslmode", ["require"])[0]}


def ca_file_of(connection: Connection) -> Path | None:
    """The CA of the dev that runs here, when it is the one that is talked to."""
    folder = connection.folder()
    if not folder.is_locked():
        return None
    state = folder.read()
    return state.ca_file if state.cp_url == connection.settings().cp_url else None
