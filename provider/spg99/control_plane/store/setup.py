"""Prepares a server for the catalogue: its owner and its database. Here: doing it once. Not here: tables (migrate.py)."""

from __future__ import annotations

import psycopg
from psycopg import sql


def make_database(admin_url: str, *, database: str, owner: str) -> None:
    """Makes the role and the database it owns unless they are there. `admin_url` names a superuser.

    Each step stands for itself, so a kill in between is finished by the next call.
    """
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=10) as connection:
        if connection.execute("select from pg_roles where rolname = %s", (owner,)).fetchone() is None:
            # createrole: the first migration makes the service role, which owns nothing.
            connection.execute(sql.SQL("create role {} login createrole").format(sql.Identifier(owner)))
        if connection.execute("select from pg_database where datname = %s", (database,)).fetchone() is None:
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(database), sql.Identifier(owner))
            )
