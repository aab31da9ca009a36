"""Secrets in the catalogue: encrypted passwords and answers, and the DSN made of them.

Here: AES-256-GCM with the installation's key, the tenant's password and verifier, percent-encoding. Not here: who may read them.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spg99.control_plane.store import Transaction
from spg99.errors import BadRequest, Internal
from spg99.resources.tenant_credentials import PASSWORD_LENGTH_MIN

_FORMAT = b"\x01"
_NONCE_BYTES = 12
KEY_BYTES = 32
DATABASE_PLACEHOLDER = "<db-name>"


class SecretBox:
    """Encrypts what the catalogue keeps but must not know."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise BadRequest(f"The secret key must have {KEY_BYTES} bytes.")
        self._cipher = AESGCM(key)
        self._fingerprint_key = hmac.digest(key, b"spg99 fingerprint", "sha256")

    def fingerprint(self, secret: str) -> str:
        """Tells whether two secrets are the same, and nothing to anybody without the installation's key."""
        return hmac.digest(self._fingerprint_key, secret.encode(), "sha256").hex()

    def encrypt(self, plain: bytes, bound_to: str) -> bytes:
        """`plain` encrypted; only the same `bound_to` (a row's id) decrypts it, so rows cannot be swapped."""
        nonce = os.urandom(_NONCE_BYTES)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, plain, bound_to.encode())

    def decrypt(self, sealed: bytes, bound_to: str) -> bytes:
        """The plain text. Raises Internal when the key or the row is another one."""
        sealed = bytes(sealed)
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _FORMAT:
                raise InvalidTag
            return self._cipher.decrypt(nonce, body, bound_to.encode())
        except InvalidTag as error:
            raise Internal(
                "A secret in the catalogue was encrypted with another key. "
                "Every Control Plane of one catalogue needs the same file in SPG99_SECRET_KEY_FILE."
            ) from error


def secret_box(path: Path) -> SecretBox:
    """The box with the key in `path` (base64), which is made (0600) when it is not there.

    Raises BadRequest when the file holds no such key.
    """
    text = read_or_make_secret(path, lambda: base64.b64encode(os.urandom(KEY_BYTES)).decode())
    try:
        return SecretBox(base64.b64decode(text, validate=True))
    except (binascii.Error, BadRequest) as error:
        raise BadRequest(f"The secret key file {path} must hold {KEY_BYTES} bytes in base64.") from error


def read_or_make_secret(path: Path, make: Callable[[], str]) -> str:
    """The text of a secret file; made with `make()`, mode 0600, when it is not there; safe when two processes race."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails when another process was first: then its file counts
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_text().strip()


@dataclass(frozen=True)
class PasswordPair:
    """A new password and what checks it."""

    password: str
    scram_verifier: str


def new_password() -> PasswordPair:
    """A random password (192 bits) and its SCRAM verifier. Takes milliseconds of CPU: call it in a thread."""
    # Late, so that everything else works where the protocol room is not needed.
    from spg99.wire.scram import build_verifier

    password = secrets.token_urlsafe(24)
    return PasswordPair(password, build_verifier(password))


def brought_password(password: str) -> PasswordPair:
    """A password that a user brings, with its SCRAM verifier. Takes milliseconds of CPU: call it in a thread.

    Raises BadRequest on the field `pg_password` when clients could send it in different ways, or when it is too short
    once they have prepared it (SASLprep, RFC 4013: some characters vanish).
    """
    from spg99.wire.scram import build_verifier, saslprepped

    prepared = saslprepped(password)
    if prepared is None:
        complaint = "must have no control characters, and none that SASLprep (RFC 4013) forbids"
    elif len(prepared) < PASSWORD_LENGTH_MIN:
        complaint = f"must have {PASSWORD_LENGTH_MIN} characters after SASLprep (RFC 4013)"
    else:
        return PasswordPair(password, build_verifier(password))
    raise BadRequest("A field has a value that is not allowed.", fields={"pg_password": complaint})


def dsn(*, host: str, port: int, pg_user: str, password: str | None, database: str | None) -> str:
    """A Gateway DSN, everything percent-encoded. No password: without it. No database: the literal `<db-name>`."""
    who = quote(pg_user, safe="") + (f":{quote(password, safe='')}" if password is not None else "")
    where = f"[{host}]" if ":" in host else host
    name = DATABASE_PLACEHOLDER if database is None else quote(database, safe="")
    return f"postgres://{who}@{where}:{port}/{name}?sslmode=require"


@dataclass(frozen=True)
class _Sealed:
    tenant_id: str
    password_encrypted: bytes


async def check_box(tx: Transaction, box: SecretBox) -> None:
    """Raises Internal, with what to do, when what the catalogue holds was encrypted with another key."""
    found = await tx.one_or_none(_Sealed, "any_tenant_secret")
    if found is not None:
        box.decrypt(found.password_encrypted, found.tenant_id)
