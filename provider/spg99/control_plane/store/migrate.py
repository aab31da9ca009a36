"""Moves the catalogue's schema forward and back: numbered SQL files, one at a time, checked by checksum.

Here: which files have been applied, and applying them. Not here: the SQL itself (migrations/NNNN_name.{up,down}.sql).
Everything is synchronous (`asyncio.to_thread` from a server). A session advisory lock lets one process migrate at a time;
each file runs in one transaction together with its row in `schema_migrations`, so a kill leaves it applied or not applied.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from spg99.control_plane.store.transaction import SERVICE_ROLE, Transaction
from spg99.errors import BadRequest, Conflict, Unavailable

SERVER_VERSION_MIN = 160000
_ADVISORY_LOCK = 7_399_014_001  # any number; the same in every version of ours, for ever
_FILE = re.compile(r"^(\d{4})_([a-z0-9_]+)\.up\.sql$")
_FOLDER = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Migration:
    """One step of the schema, as this version of the program knows it."""

    version: int
    name: str
    up_sql: str
    down_sql: str

    @property
    def checksum_up(self) -> str:
        """SHA-256 of the way forward."""
        return hashlib.sha256(self.up_sql.encode()).hexdigest()

    @property
    def checksum_down(self) -> str:
        """SHA-256 of the way back."""
        return hashlib.sha256(self.down_sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.version:04d}_{self.name}"


@dataclass(frozen=True)
class Step:
    """Where one migration stands in a catalogue."""

    version: int
    name: str
    applied_at: datetime | None
    """None: still to be applied."""
    known: bool
    """False: applied by a newer version of the program."""


@dataclass(frozen=True)
class _Version:
    version: int


@dataclass(frozen=True)
class _Applied:
    version: int
    name: str
    checksum_up: str
    checksum_down: str
    applied_at: datetime


def known(folder: Path = _FOLDER) -> list[Migration]:
    """All migrations of a folder, in order. A missing way back or a gap in the numbers is a programmer's error."""
    found = []
    for path in sorted(folder.glob("*.up.sql")):
        match = _FILE.match(path.name)
        if match is None:
            raise ValueError(f"{path.name} is not called NNNN_name.up.sql")
        down = path.with_name(path.name.replace(".up.sql", ".down.sql"))
        found.append(Migration(int(match[1]), match[2], path.read_text(), down.read_text()))
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations must be numbered 1, 2, 3 ... without gap or repeat")
    return found


def up(url: str, *, to: int | None = None, folder: Path = _FOLDER) -> list[Migration]:
    """Applies what is missing (up to version `to`); answers what it applied.

    Raises Conflict when an applied file was edited since, BadRequest when the server is older than PostgreSQL 16.
    """
    migrations = known(folder)
    done = []
    with _alone(url) as connection:
        applied = _applied(connection)
        _check_unedited(migrations, applied)
        for migration in migrations:
            if migration.version in applied or (to is not None and migration.version > to):
                continue
            with connection.transaction():
                connection.execute(migration.up_sql.encode())
                connection.execute(
                    "insert into schema_migrations (version, name, checksum_up, checksum_down) values (%s, %s, %s, %s)",
                    (migration.version, migration.name, migration.checksum_up, migration.checksum_down),
                )
                _let_service_read(connection)
            done.append(migration)
    return done


def down(url: str, to: int, *, folder: Path = _FOLDER) -> list[Migration]:
    """Takes back every migration after version `to` (0 = all), newest first; answers what it took back.

    Raises Conflict when one of them was edited since or comes from a newer version of the program.
    """
    by_version = {m.version: m for m in known(folder)}
    done = []
    with _alone(url) as connection:
        applied = _applied(connection)
        _check_unedited(list(by_version.values()), applied)
        for version in sorted((v for v in applied if v > to), reverse=True):
            migration = by_version.get(version)
            if migration is None:
                raise Conflict(
                    f"Migration {version:04d}_{applied[version].name} was applied by a newer version of SPG99, "
                    "which alone knows the way back. Run `migrate down` with that version."
                )
            with connection.transaction():
                connection.execute(migration.down_sql.encode())
                connection.execute("delete from schema_migrations where version = %s", (version,))
            done.append(migration)
    return done


def status(url: str, *, folder: Path = _FOLDER) -> list[Step]:
    """Every migration, known or applied, in order. Changes nothing. Raises Conflict when an applied one was edited."""
    migrations = known(folder)
    with _connection(url) as connection:
        exists = connection.execute("select to_regclass('schema_migrations') is not null").fetchone()
        applied = _rows(connection) if exists and exists[0] else {}
    _check_unedited(migrations, applied)
    ours = {m.version: m for m in migrations}
    return [
        Step(
            version,
            ours[version].name if version in ours else applied[version].name,
            applied[version].applied_at if version in applied else None,
            version in ours,
        )
        for version in sorted(ours.keys() | applied.keys())
    ]


async def applied_versions(tx: Transaction) -> frozenset[int]:
    """Which migrations a catalogue has, as the service role sees it."""
    return frozenset(row.version for row in await tx.many(_Version, "applied_migrations"))


@contextmanager
def _connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            found = connection.info.server_version
            if found < SERVER_VERSION_MIN:
                raise BadRequest(
                    f"The catalogue needs PostgreSQL 16 or newer; this server is version {found // 10000}. "
                    "Name a newer one in SPG99_CATALOGUE_URL, or leave it out to use the embedded catalogue."
                )
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise BadRequest(
            f"The catalogue refused the migration: {error.diag.message_primary}. The role in SPG99_CATALOGUE_URL must own "
            f"the database's tables and may create roles (or the role {SERVICE_ROLE} must exist and be granted to it)."
        ) from error
    except psycopg.OperationalError as error:
        raise Unavailable("The catalogue cannot be reached. Check SPG99_CATALOGUE_URL and that it runs.") from error


@contextmanager
def _alone(url: str) -> Iterator[psycopg.Connection[Any]]:
    with _connection(url) as connection:
        # Ends with the session, so a killed migration never blocks the next one.
        connection.execute("select pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
        connection.execute(
            """create table if not exists schema_migrations (
                   version        integer primary key,
                   name           text not null,
                   checksum_up    text not null,
                   checksum_down  text not null,
                   applied_at     timestamptz not null default clock_timestamp()
               )"""
        )
        yield connection


def _applied(connection: psycopg.Connection[Any]) -> dict[int, _Applied]:
    # Read after the lock is held: whoever held it before us may have applied something.
    return _rows(connection)


def _rows(connection: psycopg.Connection[Any]) -> dict[int, _Applied]:
    rows = connection.execute(
        "select version, name, checksum_up, checksum_down, applied_at from schema_migrations order by version"
    ).fetchall()
    return {row[0]: _Applied(*row) for row in rows}


def _check_unedited(migrations: list[Migration], applied: dict[int, _Applied]) -> None:
    for migration in migrations:
        row = applied.get(migration.version)
        if row is None:
            continue
        for way, ours, theirs in (
            ("up", migration.checksum_up, row.checksum_up),
            ("down", migration.checksum_down, row.checksum_down),
        ):
            if ours != theirs:
                raise Conflict(
                    f"Migration {migration} ({way}) was edited after it had been applied on {row.applied_at:%Y-%m-%d}. "
                    "Restore the file, and put the change into a new migration."
                )


def _let_service_read(connection: psycopg.Connection[Any]) -> None:
    # /readyz compares the catalogue with the program as the service role, which owns nothing.
    found = connection.execute("select from pg_roles where rolname = %s", (SERVICE_ROLE,)).fetchone()
    if found is not None:
        connection.execute(f"grant select on schema_migrations to {SERVICE_ROLE}".encode())
