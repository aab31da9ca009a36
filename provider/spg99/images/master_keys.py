"""Master keys, which wrap the keys of tenants: in a file, or at whoever keeps them. Here: wrapping, and the file with its rotation. Not here: the keys
of tenants (keys.py)."""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spg99.atomic_write import create_file, make_folders, write_file
from spg99.errors import BadRequest, Damaged, Forbidden
from spg99.ids import new_id

_MASTER_KEYS_FORMAT: Final = 1
KEY_BYTES: Final = 32
GCM_NONCE_BYTES: Final = 12
"""Random ones: safe for 2^32 objects of one tenant, a petabyte of chunks (NIST SP 800-38D, 8.3)."""
FORGOTTEN_AFTER: Final = timedelta(hours=1)
"""A process that has wrapped a key with the master key of a moment ago has stored it by then (objects/s3.py tries for a minute)."""


@dataclass(frozen=True)
class Wrapped:
    """A data key that only the service which wrapped it can open."""

    master_key_id: str
    content: bytes


class KeyService(Protocol):
    """Who keeps master keys: a file (below), or a KMS."""

    async def wrap(self, data_key: bytes, bound_to: str) -> Wrapped:
        """With the current master key; only the same `bound_to` opens it."""

    async def unwrap(self, wrapped: Wrapped, bound_to: str) -> bytes:
        """The data key. Raises Forbidden when this service does not have the master key it was wrapped with."""

    async def current_id(self) -> str:
        """Of the master key that `wrap` uses."""

    async def require(self, master_key_id: str) -> None:
        """Raises Forbidden when this service does not have this one: what it wraps, others may not be able to open."""


@dataclass(frozen=True)
class _Content:
    current: str
    keys: dict[str, bytes]
    retired_at: dict[str, str]


class MasterKeyFile:
    """Master keys in a file of mode 0600: `{"format": 1, "current": id, "keys": {id: base64}, "retired_at": {id: time}}`.

    Read at the beginning, and again before a key is wrapped or when one was wrapped by a master key that was not there: it may have been rotated.
    """

    def __init__(self, path: Path, content: _Content) -> None:
        self.path = path
        self._content = content

    @classmethod
    def at(cls, path: Path) -> MasterKeyFile:
        """That of `path`, made when it is not there; safe when two processes race.

        Raises BadRequest when the file holds no keys, or others than its owner may read it.
        """
        if not path.exists():
            make_folders(path.parent, mode=0o700)
            first = new_id("mk")
            create_file(path, _file_text(_Content(first, {first: os.urandom(KEY_BYTES)}, {})), mode=0o600)
        return cls(path, _read_file(path))

    async def wrap(self, data_key: bytes, bound_to: str) -> Wrapped:
        """As the protocol says."""
        self._content = _read_file(self.path)
        nonce = os.urandom(GCM_NONCE_BYTES)
        current = self._content.current
        return Wrapped(current, nonce + AESGCM(self._content.keys[current]).encrypt(nonce, data_key, bound_to.encode()))

    async def unwrap(self, wrapped: Wrapped, bound_to: str) -> bytes:
        """As the protocol says."""
        if wrapped.master_key_id not in self._content.keys:
            self._content = _read_file(self.path)
        if (master := self._content.keys.get(wrapped.master_key_id)) is None:
            raise self._lacks(
                wrapped.master_key_id, f"The key of {bound_to} was wrapped with the master key {wrapped.master_key_id}"
            )
        nonce, sealed = wrapped.content[:GCM_NONCE_BYTES], wrapped.content[GCM_NONCE_BYTES:]
        try:
            return AESGCM(master).decrypt(nonce, sealed, bound_to.encode())
        except (InvalidTag, ValueError) as error:
            raise Damaged(
                f"The wrapped key of {bound_to} is damaged, or the master key {wrapped.master_key_id} of {self.path} is not the "
                "one of that id."
            ) from error

    async def current_id(self) -> str:
        """As the protocol says."""
        return self._content.current

    async def require(self, master_key_id: str) -> None:
        """As the protocol says."""
        self._content = _read_file(self.path)
        if master_key_id not in self._content.keys:
            raise self._lacks(master_key_id, f"The master key of the object store is {master_key_id}")

    def _lacks(self, master_key_id: str, sentence: str) -> Forbidden:
        return Forbidden(
            f"{sentence}, which {self.path} does not hold (it holds {', '.join(sorted(self._content.keys))}). All machines need the same file: copy the one "
            f"that holds {master_key_id} here, from the machine on which `spg99 storage rotate-key` was called last, from any agent that works, or from your backup. "
            "Nothing was written."
        )

    @property
    def former_ids(self) -> list[str]:
        """Master keys that only open what they have wrapped."""
        return sorted(self._content.keys.keys() - {self._content.current})

    def rotate(self, now: datetime) -> str:
        """Adds a new master key, which is the current one from now on; the former ones still open what they wrapped.

        Then every tenant's key is wrapped anew (`TenantKeys.rewrap`), then `forget`. No chunk is touched.
        """
        before = _read_file(self.path)
        fresh = new_id("mk")
        self._write(
            _Content(
                fresh,
                {**before.keys, fresh: os.urandom(KEY_BYTES)},
                {**before.retired_at, before.current: now.isoformat()},
            )
        )
        return fresh

    def forget(self, now: datetime) -> list[str]:
        """Removes former master keys that nobody can be wrapping with any more; answers them. What they have wrapped and was not wrapped anew
        cannot be opened any more: the caller has seen that there is nothing."""
        before = _read_file(self.path)
        gone = [
            key_id
            for key_id in before.keys
            if key_id != before.current
            and now - datetime.fromisoformat(before.retired_at.get(key_id, now.isoformat())) >= FORGOTTEN_AFTER
        ]
        if gone:
            self._write(
                _Content(
                    before.current,
                    {key_id: key for key_id, key in before.keys.items() if key_id not in gone},
                    {key_id: at for key_id, at in before.retired_at.items() if key_id not in gone},
                )
            )
        return gone

    def _write(self, content: _Content) -> None:
        write_file(self.path, _file_text(content), mode=0o600)
        self._content = content


def _read_file(path: Path) -> _Content:
    try:
        if path.stat().st_mode & 0o077:
            raise BadRequest(f"The master key file {path} can be read by others. Set its mode to 0600.")
        content = json.loads(path.read_text())
        keys = {str(name): base64.b64decode(text, validate=True) for name, text in content["keys"].items()}
        current = str(content["current"])
        retired_at = {str(name): str(at) for name, at in content.get("retired_at", {}).items()}
        if (
            content["format"] != _MASTER_KEYS_FORMAT
            or current not in keys
            or {len(key) for key in keys.values()} != {KEY_BYTES}
        ):
            raise ValueError
    except FileNotFoundError:
        raise BadRequest(f"The master key file {path} is missing. Put it back from a copy.") from None
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        # Without the cause: its text may hold a part of a key.
        raise BadRequest(f"The master key file {path} holds no master keys. Put it back from a copy.") from None
    return _Content(current, keys, retired_at)


def _file_text(content: _Content) -> str:
    encoded = {name: base64.b64encode(key).decode() for name, key in content.keys.items()}
    return (
        json.dumps(
            {
                "format": _MASTER_KEYS_FORMAT,
                "current": content.current,
                "keys": encoded,
                "retired_at": content.retired_at,
            },
            indent=2,
        )
        + "\n"
    )
