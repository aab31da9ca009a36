"""Secrets in the catalogue: what it keeps but must not know. Here: AES-256-GCM with the installation's key, and that key's file.

Not here: what is encrypted (tenants/passwords.py, records/kept_answers.py), who may read it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spg99.atomic_write import create_file, make_folders, write_file
from spg99.errors import BadRequest, Internal

_FORMAT = b"\x01"
_NONCE_BYTES = 12
KEY_BYTES = 32


class SecretBox:
    """Encrypts what the catalogue keeps but must not know."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise BadRequest(f"The secret key must have {KEY_BYTES} bytes.")
        self._cipher = AESGCM(key)
        self._fingerprint_key = hmac.digest(key, b"spg99 fingerprint", "sha256")
        self._signature_key = hmac.digest(key, b"spg99 signature", "sha256")

    def fingerprint(self, secret: str) -> str:
        """Tells whether two secrets are the same, and nothing to anybody without the installation's key."""
        return hmac.digest(self._fingerprint_key, secret.encode(), "sha256").hex()

    def signature(self, text: str) -> str:
        """What only the installation can say of a text: HMAC-SHA256, 64 hex digits."""
        return hmac.digest(self._signature_key, text.encode(), "sha256").hex()

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
        make_folders(path.parent, mode=0o700)
        create_file(path, make() + "\n", mode=0o600)  # when another process was first, its file counts
        return path.read_text().strip()


def write_secret(path: Path, text: str) -> None:
    """Puts `text` into a secret file (0600), in the place of what it held: a reader sees the one or the other."""
    make_folders(path.parent, mode=0o700)
    write_file(path, text + "\n", mode=0o600)
