"""Secrets at rest, in Pulumi's passphrase format. Here: keys and ciphers. Not here: where ciphertexts stand (state.py).

key = PBKDF2-HMAC-SHA256(passphrase, 8-byte salt, 1,000,000 rounds); ciphertext = `v1:<nonce>:<AES-256-GCM>`; the salt's text
is `v1:<salt>:<ciphertext of the word pulumi>` and stands in the state and as `encryptionsalt` in Pulumi.<stack>.yaml.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spg99.errors import BadRequest, Unauthorized

PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"
PASSPHRASE_FILE = "PULUMI_CONFIG_PASSPHRASE_FILE"
_ROUNDS = 1_000_000
_PROBE = "pulumi"


def find_passphrase(environment: Mapping[str, str]) -> str | None:
    """The passphrase from the environment, or None when it names none. An empty one counts, as with Pulumi."""
    if PASSPHRASE in environment:
        return environment[PASSPHRASE]
    if not (path := environment.get(PASSPHRASE_FILE)):
        return None
    try:
        return Path(path).expanduser().read_text().strip()
    except OSError as error:
        raise BadRequest(f"The passphrase file {path} cannot be read: {error.strerror}.") from error


class Crypter:
    """Encrypts and decrypts one stack's secrets.

    Deriving the key takes about a third of a second, so it happens once: for a stack that has a salt in a thread that starts
    at once, for a new one when its first secret comes. Each plaintext is encrypted once: an unchanged secret keeps its ciphertext through every write.
    """

    def __init__(self, passphrase: str | None, salt_text: str | None = None, *, rounds: int = _ROUNDS) -> None:
        self._passphrase = passphrase
        self._rounds = rounds
        self._salt, self._probe = _read_salt(salt_text) if salt_text else (os.urandom(8), "")
        self._key: AESGCM | None = None
        self._lock = threading.Lock()
        self._checked = salt_text is None
        self._plaintexts: dict[str, str] = {}
        self._ciphertexts: dict[str, str] = {}
        if passphrase is not None and salt_text is not None:
            threading.Thread(target=self._derive_quietly, daemon=True).start()

    def _derive_quietly(self) -> None:
        with self._lock:
            if self._key is None and self._passphrase is not None:
                self._key = AESGCM(_derive(self._passphrase, self._salt, self._rounds))

    def _cipher(self) -> AESGCM:
        if self._passphrase is None:
            raise Unauthorized(
                f"This stack has secrets: set {PASSPHRASE} or {PASSPHRASE_FILE} (or --passphrase-file) to its passphrase."
            )
        self._derive_quietly()
        assert self._key is not None
        return self._key

    def check(self) -> None:
        """Raises Unauthorized when the passphrase is missing or is not the one of the salt."""
        if self._checked and self._passphrase is not None:
            return
        cipher = self._cipher()
        if _open(cipher, self._probe) != _PROBE:
            raise Unauthorized(f"The passphrase is not the one this stack was encrypted with. Check {PASSPHRASE}.")
        self._checked = True

    def salt_text(self) -> str:
        """What `encryptionsalt` holds."""
        if not self._probe:
            self._probe = _seal(self._cipher(), _PROBE)
        return f"v1:{base64.b64encode(self._salt).decode()}:{self._probe}"

    def encrypt(self, plaintext: str) -> str:
        """The ciphertext; the same one for the same plaintext as long as this object lives."""
        if (known := self._ciphertexts.get(plaintext)) is not None:
            return known
        self.check()
        ciphertext = _seal(self._cipher(), plaintext)
        self._remember(plaintext, ciphertext)
        return ciphertext

    def decrypt(self, ciphertext: str) -> str:
        """The plaintext. Raises Unauthorized when the passphrase is not the right one."""
        if (known := self._plaintexts.get(ciphertext)) is not None:
            return known
        self.check()
        plaintext = _open(self._cipher(), ciphertext)
        if plaintext is None:
            raise Unauthorized(f"A secret of this stack cannot be decrypted: wrong passphrase? Check {PASSPHRASE}.")
        self._remember(plaintext, ciphertext)
        return plaintext

    def _remember(self, plaintext: str, ciphertext: str) -> None:
        self._plaintexts[ciphertext] = plaintext
        self._ciphertexts.setdefault(plaintext, ciphertext)


@functools.lru_cache(maxsize=16)
def _derive(passphrase: str, salt: bytes, rounds: int) -> bytes:
    """The key. Kept for the process: a preview and the `up` after it, or a test's many runs, are of one stack."""
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, rounds, 32)


def _read_salt(text: str) -> tuple[bytes, str]:
    version, _, rest = text.partition(":")
    salt, _, probe = rest.partition(":")
    try:
        raw = base64.b64decode(salt, validate=True)
    except binascii.Error:
        raw = b""
    if version != "v1" or not raw or not probe:
        raise BadRequest(
            "The stack's encryption salt is damaged (`encryptionsalt` in its settings file or state). "
            "Put it back: the other of the two has it, or a copy of the settings file."
        )
    return raw, probe


def _seal(cipher: AESGCM, plaintext: str) -> str:
    nonce = os.urandom(12)
    sealed = cipher.encrypt(nonce, plaintext.encode(), None)
    return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"


def _open(cipher: AESGCM, ciphertext: str) -> str | None:
    try:
        version, nonce, sealed = ciphertext.split(":")
        if version != "v1":
            return None
        return cipher.decrypt(base64.b64decode(nonce), base64.b64decode(sealed), None).decode()
    except (ValueError, InvalidTag, binascii.Error):
        return None
