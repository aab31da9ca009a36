"""What a tenant may do in its own PostgreSQL. Here: role, rights, who may log in. Not here: files and processes.

The superuser exists and can never log in: pg_hba.conf has no line for it, and what must be done as superuser is done in
single-user mode while the cluster is stopped. So not even a Gateway that is fooled about the user name lets a client in as that role.
"""

from __future__ import annotations

import re

from spg99.errors import BadRequest, Internal
from spg99.protocol.safekeeper import ROLE as SAFEKEEPER_ROLE

BLANK_DATABASE = "spg99_blank"
"""The template's database that becomes the tenant's by a new name: faster than CREATE DATABASE at that moment."""

TEMPLATE_REVISION = 3
"""Counts changes of `TEMPLATE_SQL`."""

TEMPLATE_SQL = [
    f"CREATE ROLE {SAFEKEEPER_ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS REPLICATION",
    f"CREATE DATABASE {BLANK_DATABASE} STRATEGY file_copy",
    "REVOKE ALL ON DATABASE template1 FROM PUBLIC",
    # 300 files and 7.5 MB each, in every database. (pg_upgrade wants template0: create it from template1 before.)
    "DROP DATABASE postgres",
    "UPDATE pg_database SET datistemplate = false WHERE datname = 'template0'",
    "DROP DATABASE template0",
]


def tenant_sql(*, database_name: str, pg_user: str) -> list[str]:
    """Turns a copy of the template into the tenant's database.

    REPLICATION is granted: the cluster holds one tenant's data only, so a base backup or a WAL stream shows the tenant
    nothing but its own, and BASE_BACKUP to a file on the server needs pg_write_server_files, which it has not. Slots are
    bounded by max_slot_wal_keep_size. (When WAL receivers vote on commits, their names must not be the tenant's to take.)
    """
    database, role = quoted(database_name), quoted(pg_user)
    return [
        f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS REPLICATION",
        f"ALTER DATABASE {BLANK_DATABASE} OWNER TO {role}",
        f"ALTER DATABASE {BLANK_DATABASE} RENAME TO {database}",
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    ]


def renamed_sql(before: str, after: str) -> list[str]:
    """Gives the database of a branch its own name, and its WAL a segment of its own to begin with."""
    rename = f"ALTER DATABASE {quoted(before)} RENAME TO {quoted(after)}"
    return [*([rename] if before != after else []), "SELECT pg_switch_wal()"]


def hba_rules(*, database_name: str, pg_user: str, may_replicate: bool = True) -> str:
    """pg_hba.conf: one role may enter one database. No password: the Gateway has checked it, and only the agent's and the
    Gateway's own user can enter the socket's folder. Quoted, a name is only a name, also `all` and `replication`.

    `may_replicate` False: where nothing keeps a tenant from calling itself a safekeeper, whose word makes a commit durable.
    """
    database, role = quoted(database_name), quoted(pg_user)
    return (
        f"# Written at every start.\nlocal {database} {role} trust\n"
        + (f"local replication {role} trust\n" if may_replicate else "")
        + f"local replication {SAFEKEEPER_ROLE} trust\n"
    )


def allowed_by(hba_text: str) -> tuple[str, str]:
    """Database and role that `hba_rules` let in. Raises Internal for a text that is not ours."""
    found = re.search(r'^local "([^"]+)" "([^"]+)" trust$', hba_text, flags=re.MULTILINE)
    if found is None:
        raise Internal(
            "The access rules of the database are damaged, so nobody can tell whether it is in use. They are written anew at its "
            "next start: stop it with force, then connect."
        )
    return found[1], found[2]


def quoted(name: str) -> str:
    """An SQL identifier. Names of ours hold no quotes (resources/noun.py); one that does is refused, not mended."""
    if not name or len(name.encode()) > 63 or any(sign in name for sign in '"\n\r\0'):
        raise BadRequest("The name of a database or role is not usable.")
    return f'"{name}"'
