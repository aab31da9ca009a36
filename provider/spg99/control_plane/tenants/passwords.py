"""Passwords of tenants and the DSN made of them. Here: making, checking and percent-encoding. Not here: who may read them.

Encrypting them is records/secret_box.py's business.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from spg99.control_plane.records.secret_box import SecretBox, secret_box
from spg99.control_plane.store import Transaction
from spg99.errors import BadRequest, Internal
from spg99.rules import password_is_sent_alike
from spg99.wire.scram import build_verifier

DATABASE_PLACEHOLDER = "<db-name>"


@dataclass(frozen=True)
class PasswordPair:
    """A new password and what checks it."""

    password: str = field(repr=False)
    scram_verifier: str = field(repr=False)


def new_password(salt: bytes | None = None) -> PasswordPair:
    """A random password (192 bits) and its SCRAM verifier. Takes milliseconds of CPU: call it in a thread.

    `salt`: that of the password before. A Gateway that has not heard of the change can check the new one all the same."""
    password = secrets.token_urlsafe(24)
    return PasswordPair(password, build_verifier(password, salt=salt, stretch=_stretch))


def brought_password(password: str, salt: bytes | None = None) -> PasswordPair:
    """A password that a user brings, with its SCRAM verifier; `salt` as in `new_password`. Takes milliseconds of CPU: call it in
    a thread.

    Raises BadRequest on the field `pg_password` when clients could send it in different ways (rules.py).
    """
    if (complaint := password_is_sent_alike({"pg_password": password})) is not None:
        raise BadRequest(
            "A field has a value that is not allowed.", fields={"pg_password": complaint.partition(": ")[2]}
        )
    return PasswordPair(password, build_verifier(password, salt=salt, stretch=_stretch))


def _stretch(password: bytes, salt: bytes, iterations: int) -> bytes:
    # As hashlib's, in half the time where Python is built with OpenSSL 3, which begins each of the rounds anew.
    return PBKDF2HMAC(SHA256(), SHA256.digest_size, salt, iterations).derive(password)


def dsn(*, host: str, port: int, pg_user: str, password: str | None, database: str | None) -> str:
    """A Gateway DSN, everything percent-encoded. No password: without it. No database: the literal `<db-name>`.

    A connection string says `postgresql://`, which every client takes; the template keeps the contract's `postgres://`.
    """
    before, after = _around_database(host, port, pg_user, password)
    if database is None:
        return f"postgres{before}{DATABASE_PLACEHOLDER}{after}"
    return f"postgresql{before}{quote(database, safe='')}{after}"


def dsn_of_any(*, host: str, port: int, pg_user: str, password: str | None) -> Callable[[str], str]:
    """As `dsn`, for many databases of one user: what does not depend on the database is put together once."""
    before, after = _around_database(host, port, pg_user, password)

    def dsn_of(database: str) -> str:
        name = database if database.isascii() and database.isidentifier() else quote(database, safe="")
        return f"postgresql{before}{name}{after}"

    return dsn_of


def _around_database(host: str, port: int, pg_user: str, password: str | None) -> tuple[str, str]:
    who = quote(pg_user, safe="") + (f":{quote(password, safe='')}" if password is not None else "")
    where = f"[{host}]" if ":" in host else host
    return f"://{who}@{where}:{port}/", "?sslmode=require"


@dataclass(frozen=True)
class _Sealed:
    tenant_id: str
    password_encrypted: bytes = field(repr=False)


async def box_of(tx: Transaction, file: Path) -> SecretBox:
    """The box with the installation's key, which is made only while the catalogue holds nothing that needs it.

    Raises Internal, with what to do, when the file is lost: a new key in its place would open nothing, and whoever puts
    the right one back would find the place taken.
    """
    if not await asyncio.to_thread(file.exists) and await tx.one_or_none(_Sealed, "any_tenant_secret") is not None:
        raise Internal(
            f"The secret key file {file} is missing, and the credentials in the catalogue are encrypted with it. Put it back "
            "from your copy, or name it with --secret-key-file (SPG99_SECRET_KEY_FILE). Nothing was written in its place."
        )
    box = secret_box(file)
    await check_box(tx, box)
    return box


async def check_box(tx: Transaction, box: SecretBox) -> None:
    """Raises Internal, with what to do, when what the catalogue holds was encrypted with another key."""
    found = await tx.one_or_none(_Sealed, "any_tenant_secret")
    if found is not None:
        box.decrypt(found.password_encrypted, found.tenant_id)
