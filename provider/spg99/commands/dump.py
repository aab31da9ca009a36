"""`spg99 dbs export` and `spg99 dbs import`: a database into a file of pg_dump's, and from one or from any running PostgreSQL into a database.

Here: which programs are run with what, and what becomes of the file. Not here: TLS (tunnel.py), finding a database's address (psql.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import click

from spg99.commands import exports
from spg99.commands.connection import Connection, with_address
from spg99.commands.psql import ca_file_of, variables
from spg99.commands.source import server_of, source_variables
from spg99.commands.tunnel import SOCKET_PORT, tunnel
from spg99.errors import BadRequest, Conflict, Unavailable
from spg99.postgres.archive_contents import ARCHIVE_BEGINS

_REPORT_SECONDS: Final = 1.0
_ERROR_LINES: Final = 12
_END_SECONDS: Final = 0.5
_IS_EMPTY: Final = (
    "select not exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_' "
    "and n.nspname <> 'information_schema' and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e'))"
)


@click.command("export")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The file.  [default: NAME.dump]")
@click.option(
    "--plain", is_flag=True, help="SQL as text, instead of pg_dump's custom format (compressed, restorable in parts)."
)
@click.option("--schema-only", is_flag=True, help="Without rows.")
@click.option("--to-store", is_flag=True, help="Into the object store, without this machine and without waking it.")
@click.option("--time", help="With --to-store: of an earlier moment (RFC 3339).")
@click.option("--lsn", help="With --to-store: of a place in the WAL.")
@click.option("--json", "as_json", is_flag=True, help="With --to-store: answer as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@click.argument("human_id", metavar="TENANT/DB")
@with_address
def export(
    connection: Connection,
    human_id: str,
    output: Path | None,
    *,
    plain: bool,
    schema_only: bool,
    overwrite: bool,
    to_store: bool,
    time: str | None,
    lsn: str | None,
) -> None:
    """Writes a database into a file, as pg_dump does: one consistent moment of it, while clients work.

    The file is there when all of it is. A sleeping database wakes. `pg_restore`, `psql` (with --plain) and `spg99 dbs import` read it.
    With --to-store a node writes it into the object store instead; the database needs safekeepers, and sleeps on.
    """
    if to_store:
        if output or plain or overwrite:
            raise click.UsageError("--output, --plain and --overwrite are of a file on this machine.")
        wanted = {"time": time, "lsn": lsn, "schema_only": schema_only or None}
        given = {name: value for name, value in wanted.items() if value is not None}
        exports.make(connection, id_values_of(human_id), given)
        return
    if time or lsn or connection.as_json:
        raise click.UsageError("--time, --lsn and --json need --to-store.")
    file = output or Path(f"{human_id.rpartition('/')[2]}{'.sql' if plain else '.dump'}")
    if file.exists() and not overwrite:
        raise Conflict(f"{file} is there already. Name another with --output, or replace it with --overwrite.")
    # A custom file keeps owners and rights, and who restores it chooses; SQL is run as it stands.
    options = ["--format=plain", "--no-owner", "--no-privileges"] if plain else ["--format=custom"]
    options += ["--schema-only"] if schema_only else []
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with reached(variables_of(connection, human_id)) as environment, draft.open("xb") as into:
            os.fchmod(into.fileno(), 0o600)
            with program("pg_dump", *options, environment=environment, stdout=into) as dump:
                _report(dump, draft)
            os.fsync(into.fileno())
        draft.replace(file)
    except OSError as error:
        raise BadRequest(f"The file {file} cannot be written: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)
    click.echo(f"{human_id}: {file.stat().st_size:,} bytes in {file}", err=True)


@click.command("import")
@click.option("--into-existing", is_flag=True, help="Also when the database has tables already.")
@click.argument("human_id", metavar="TENANT/DB")
@click.argument("source", metavar="FILE|URL|EXPORT_ID")
@with_address
def import_(connection: Connection, human_id: str, source: str, *, into_existing: bool) -> None:
    """Fills a database from a file of pg_dump's (custom format or SQL), from a running PostgreSQL (postgresql://...), or from an export: by its id, or by a link
    (https://...), which may lead to any such file. A download that breaks off goes on where it was.

    In one transaction: all of it is there, or nothing. Owners and rights of the source are left out; everything belongs to the tenant's user. The password of a
    URL may stand in PGPASSWORD instead: arguments can be read by others on this machine.
    """
    is_url = source.startswith(("postgresql://", "postgres://"))
    is_export = exports.is_export(source)
    if not is_url and not is_export and not Path(source).is_file():
        raise BadRequest(
            f"There is no file {source}. A running PostgreSQL is named as postgresql://USER@HOST/DATABASE."
        )
    with reached(variables_of(connection, human_id)) as target:
        if not into_existing and not _is_empty(target):
            raise Conflict(
                f"The database {human_id} has tables already, and nothing was imported. Name an empty one, or say --into-existing."
            )
        if is_url:
            with (
                reached(source_variables(source, os.environ)) as origin,
                program(
                    "pg_dump", "--format=custom", "--compress=0", environment=origin, stdout=subprocess.PIPE
                ) as dump,
                _restore(target, dump.stdout),
            ):
                pass
        else:
            with _opened(connection, source, is_export=is_export) as file:
                is_custom = file.read(len(ARCHIVE_BEGINS)) == ARCHIVE_BEGINS
                file.seek(0)
                with _restore(target, file) if is_custom else _run_sql(target, file):
                    pass
    name = "the archive behind the link" if is_export and "://" in source else source
    click.echo(f"{human_id} holds what {_without_password(source) if is_url else name} held.", err=True)


def _opened(connection: Connection, source: str, *, is_export: bool) -> contextlib.AbstractContextManager[IO[bytes]]:
    if is_export:
        return exports.downloaded(connection, source)
    return open(source, "rb", buffering=0)  # the program goes on where the descriptor stands


def id_values_of(human_id: str) -> dict[str, str]:
    """Tenant and name of a database as a command names it. Raises BadParameter."""
    from spg99.resources import Database

    try:
        return Database.id_values(human_id)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def variables_of(connection: Connection, human_id: str) -> dict[str, str]:
    from spg99.resources import Database

    id_values = id_values_of(human_id)
    database = connection.call(lambda client: client.read(Database, id_values))
    trusted = {name: value for name, value in os.environ.items() if name == "PGSSLROOTCERT"}  # as `spg99 env` says it
    return trusted | variables(database.connection_string, ca_file=ca_file_of(connection))


@contextlib.contextmanager
def reached(said: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment in which our programs reach what libpq's variables say."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if said["PGHOST"].startswith("/"):
        yield ours | said
        return
    with tunnel(server_of(said)) as folder:
        kept = {name: said[name] for name in ("PGUSER", "PGPASSWORD", "PGDATABASE", "PGOPTIONS") if name in said}
        yield ours | kept | {"PGHOST": str(folder), "PGPORT": str(SOCKET_PORT)}


@contextlib.contextmanager
def program(
    name: str, *arguments: str, environment: dict[str, str], stdin: Any = subprocess.DEVNULL, stdout: Any = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs one of PostgreSQL's programs; at the end of the block it is waited for. Raises BadRequest with its own words when it has failed."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [_bin_dir() / name, "--no-password", *arguments], env=environment, stdin=stdin, stdout=stdout, stderr=said
        )
        try:
            yield process
            if process.stdout is not None:
                process.stdout.close()
            process.wait()
        except BaseException as error:
            _ended(process)
            if isinstance(error, BadRequest):  # of who reads what this one writes, perhaps because it has failed
                _require_success(name, process, said)
            raise
        _require_success(name, process, said)
        said.seek(0)
        for line in said.read().decode(errors="replace").splitlines():
            click.echo(line, err=True)


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_SECONDS)  # it may just be about to end by itself, and say why
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _require_success(name: str, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    if process.returncode in (0, -signal.SIGKILL):
        return
    said.seek(0)
    lines = said.read().decode(errors="replace").splitlines()
    words = "\n".join(lines[-_ERROR_LINES:]) or f"It ended with {process.returncode}."
    raise BadRequest(f"{name} has failed, and nothing was changed:\n{words}")


def _restore(target: dict[str, str], source: IO[bytes] | None) -> contextlib.AbstractContextManager[Any]:
    options = (
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        f"--dbname={target['PGDATABASE']}",
    )
    return program("pg_restore", *options, environment=target, stdin=source)


def _run_sql(target: dict[str, str], source: IO[bytes]) -> contextlib.AbstractContextManager[Any]:
    options = (
        "--no-psqlrc",
        "--quiet",
        "--single-transaction",
        "--set=ON_ERROR_STOP=1",
        "--output=/dev/null",
        "--file=-",
    )
    return program("psql", *options, environment=target, stdin=source)


def _is_empty(target: dict[str, str]) -> bool:
    with tempfile.TemporaryFile() as answer:
        with program("psql", "--no-psqlrc", "-Atc", _IS_EMPTY, environment=target, stdout=answer):
            pass
        answer.seek(0)
        return answer.read().strip() == b"t"


def _report(process: subprocess.Popen[bytes], file: Path) -> None:
    """While it runs, says how far it is, to a person."""
    began = time.monotonic()
    while sys.stderr.isatty():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_REPORT_SECONDS)
            click.echo("\r\033[K", err=True, nl=False)
            return
        click.echo(f"\r{file.stat().st_size:,} bytes in {time.monotonic() - began:.0f} s", err=True, nl=False)


def _without_password(url: str) -> str:
    head, at, rest = url.rpartition("@")
    scheme, _, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}@{rest}" if at else url


def _bin_dir() -> Path:
    from spg99.postgres.binaries import wheel_bin_dir

    try:
        return wheel_bin_dir()
    except BadRequest as error:
        raise Unavailable(error.message) from error
