"""SCRAM-SHA-256 secrets: what is kept in place of a password, in PostgreSQL's own form.

Here: making and reading a verifier, the keys. Not here: the conversation (scram_exchange.py), SASLprep (saslprep.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from spg99.errors import BadRequest
from spg99.saslprep import saslprepped

ITERATIONS: Final = 4096
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32

_VERIFIER = re.compile(r"SCRAM-SHA-256\$([0-9]{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class Verifier:
    """Enough to check a password, not enough to log in with (RFC 5803)."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __str__(self) -> str:
        salt, stored, server = (base64.b64encode(v).decode() for v in (self.salt, self.stored_key, self.server_key))
        return f"SCRAM-SHA-256${self.iterations}:{salt}${stored}:{server}"

    def __repr__(self) -> str:
        return "Verifier(...)"


def _stretch(password: bytes, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password, salt, iterations)


def build_verifier(
    password: str,
    *,
    salt: bytes | None = None,
    iterations: int = ITERATIONS,
    stretch: Callable[[bytes, bytes, int], bytes] = _stretch,
) -> str:
    """The text PostgreSQL keeps in `pg_authid.rolpassword`; a fresh salt unless one is given. `stretch`: who has a faster
    PBKDF2 with HMAC-SHA-256 (of password, salt, rounds) than Python's."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    salted = stretch(saslprep(password).encode(), salt, iterations)
    stored_key = hashlib.sha256(mac(salted, b"Client Key")).digest()
    return str(Verifier(iterations, salt, stored_key, mac(salted, b"Server Key")))


def parse_verifier(text: str) -> Verifier:
    """Reads what `build_verifier` or PostgreSQL wrote. Raises BadRequest, without repeating the text."""
    wrong = BadRequest("This is not a SCRAM-SHA-256 verifier.")
    if (match := _VERIFIER.fullmatch(text)) is None:
        raise wrong
    try:
        salt, stored, server = (base64.b64decode(part, validate=True) for part in match.groups()[1:])
    except (binascii.Error, ValueError):
        raise wrong from None
    iterations = int(match[1])
    if iterations < 1 or not salt or len(stored) != KEY_BYTES or len(server) != KEY_BYTES:
        raise wrong
    return Verifier(iterations, salt, stored, server)


def mock_verifier(user: bytes, *, secret: bytes, iterations: int = ITERATIONS) -> Verifier:
    """What an unknown user is asked with: the same salt for the same name each time, and no password that fits."""
    salt = mac(secret, b"salt:" + user)[:SALT_BYTES]
    return Verifier(iterations, salt, mac(secret, b"stored:" + user), mac(secret, b"server:" + user))


def saslprep(password: str) -> str:
    """RFC 4013, and as PostgreSQL does it: a password that SASLprep prohibits is taken as it is."""
    if password.isascii():
        # Control characters are prohibited, so they are left alone as well.
        return password
    prepared = saslprepped(password)
    return password if prepared is None else prepared


def mac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(key, message, "sha256")
