"""Keys of images: a data key per tenant, wrapped by a master key. Here: making, wrapping, rotating and destroying them, and what a
data key does with bytes. Not here: what the bytes are (build.py, lay_out.py), keys of the catalogue's own secrets (control_plane/records).

    tenants/<tenant_id>/key.json     {"format": 1, "tenant_id", "master_key_id", "wrapped": base64}

Whoever deletes that object has made all of the tenant's images unreadable (crypto-shredding), whatever else is still there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spg99.atomic_write import create_file, make_folders, write_file
from spg99.errors import BadRequest, Damaged, Forbidden, NotFound
from spg99.ids import new_id
from spg99.objects import ObjectStore

_KEYS_FORMAT: Final = 1
_KEY_BYTES: Final = 32
_GCM_NONCE_BYTES: Final = 12
"""Random ones: safe for 2^32 objects of one tenant, a petabyte of chunks (NIST SP 800-38D, 8.3)."""
_FINGERPRINT_BYTES: Final = 4
_HEAD: Final = bytes([_KEYS_FORMAT])
_ZSTD_LEVEL: Final = 1


class TenantKey:
    """What a tenant's data key does: names chunks, seals and opens objects. Any thread may use it."""

    def __init__(self, tenant_id: str, data_key: bytes) -> None:
        self.tenant_id = tenant_id
        self._naming = _derived(data_key, b"spg99 name")
        self._cipher = AESGCM(_derived(data_key, b"spg99 seal"))
        self._fingerprint = _derived(data_key, b"spg99 which")[:_FINGERPRINT_BYTES]
        self._per_thread = threading.local()

    def name(self, raw: bytes | memoryview) -> str:
        """The name of a chunk: its keyed hash, 64 hex digits."""
        return hashlib.blake2b(raw, key=self._naming, digest_size=32).hexdigest()

    def digest(self, raw: bytes) -> str:
        """A short keyed hash by which a manifest knows the content of a small file, 32 hex digits."""
        return hashlib.blake2b(raw, key=self._naming, digest_size=16, person=b"file").hexdigest()

    def seal(self, raw: bytes | memoryview, place: str) -> bytes:
        """Compressed and encrypted; only what claims to be from the same `place` (a key or a chunk's name) opens."""
        nonce = os.urandom(_GCM_NONCE_BYTES)
        packed = self._compressor.compress(raw)
        return _HEAD + self._fingerprint + nonce + self._cipher.encrypt(nonce, packed, self._bound(place))

    def open(self, sealed: bytes, place: str) -> bytes:
        """What was sealed. Raises Forbidden when it was with another key, Damaged when it is not what was sealed there."""
        at = len(_HEAD) + _FINGERPRINT_BYTES
        if sealed[: len(_HEAD)] != _HEAD or len(sealed) < at + _GCM_NONCE_BYTES:
            raise Damaged(f"The stored object {place} is damaged: it does not begin as one of ours.")
        if sealed[len(_HEAD) : at] != self._fingerprint:
            raise Forbidden(f"The stored object {place} was encrypted with another key than that of {self.tenant_id}.")
        try:
            packed = self._cipher.decrypt(
                sealed[at : at + _GCM_NONCE_BYTES], sealed[at + _GCM_NONCE_BYTES :], self._bound(place)
            )
            return self._decompressor.decompress(packed)
        except (InvalidTag, zstandard.ZstdError) as error:
            raise Damaged(f"The stored object {place} is damaged: it is not what was stored there.") from error

    def open_chunk(self, sealed: bytes, name: str) -> bytes:
        """The same of a chunk, whose name is its hash: that is checked, too."""
        raw = self.open(sealed, name)
        if self.name(raw) != name:
            raise Damaged(f"The stored object {name} is damaged: its content does not have the hash that names it.")
        return raw

    def _bound(self, place: str) -> bytes:
        return f"{self.tenant_id}\0{place}".encode()

    @property
    def _compressor(self) -> zstandard.ZstdCompressor:
        if not hasattr(self._per_thread, "compressor"):  # none of them may be used by two threads at once
            self._per_thread.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        found: zstandard.ZstdCompressor = self._per_thread.compressor
        return found

    @property
    def _decompressor(self) -> zstandard.ZstdDecompressor:
        if not hasattr(self._per_thread, "decompressor"):
            self._per_thread.decompressor = zstandard.ZstdDecompressor()
        found: zstandard.ZstdDecompressor = self._per_thread.decompressor
        return found


def _derived(data_key: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2b(key=data_key, digest_size=_KEY_BYTES, person=purpose).digest()


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


class MasterKeyFile:
    """Master keys in a file of mode 0600: `{"format": 1, "current": id, "keys": {id: base64}}`. Read once."""

    def __init__(self, path: Path, current: str, keys: dict[str, bytes]) -> None:
        self._path, self._current, self._keys = path, current, keys

    @classmethod
    def at(cls, path: Path) -> MasterKeyFile:
        """That of `path`, made when it is not there; safe when two processes race.

        Raises BadRequest when the file holds no keys, or others than its owner may read it.
        """
        if not path.exists():
            make_folders(path.parent, mode=0o700)
            first = new_id("mk")
            create_file(path, _file_text(first, {first: os.urandom(_KEY_BYTES)}), mode=0o600)
        if path.stat().st_mode & 0o077:
            raise BadRequest(f"The master key file {path} can be read by others. Set its mode to 0600.")
        try:
            content = json.loads(path.read_text())
            keys = {str(name): base64.b64decode(text, validate=True) for name, text in content["keys"].items()}
            current = str(content["current"])
            if (
                content["format"] != _KEYS_FORMAT
                or current not in keys
                or {len(key) for key in keys.values()} != {_KEY_BYTES}
            ):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
            # Without the cause: its text may hold a part of a key.
            raise BadRequest(f"The master key file {path} holds no master keys. Put it back from a copy.") from None
        return cls(path, current, keys)

    async def wrap(self, data_key: bytes, bound_to: str) -> Wrapped:
        """As the protocol says."""
        nonce = os.urandom(_GCM_NONCE_BYTES)
        sealed = AESGCM(self._keys[self._current]).encrypt(nonce, data_key, bound_to.encode())
        return Wrapped(self._current, nonce + sealed)

    async def unwrap(self, wrapped: Wrapped, bound_to: str) -> bytes:
        """As the protocol says."""
        if (master := self._keys.get(wrapped.master_key_id)) is None:
            raise Forbidden(
                f"The key of {bound_to} was wrapped with the master key {wrapped.master_key_id}, which {self._path} does not hold."
            )
        nonce, sealed = wrapped.content[:_GCM_NONCE_BYTES], wrapped.content[_GCM_NONCE_BYTES:]
        try:
            return AESGCM(master).decrypt(nonce, sealed, bound_to.encode())
        except (InvalidTag, ValueError) as error:
            raise Damaged(f"The wrapped key of {bound_to} is damaged.") from error

    async def current_id(self) -> str:
        """As the protocol says."""
        return self._current

    def rotate(self) -> str:
        """Adds a new master key, which is the current one from now on; the former ones still open what they wrapped.

        Then every tenant's key is wrapped anew (`TenantKeys.rewrap`), then `forget_former`. No chunk is touched.
        """
        fresh = new_id("mk")
        self._write(fresh, {**self._keys, fresh: os.urandom(_KEY_BYTES)})
        return fresh

    def forget_former(self) -> None:
        """Removes all master keys but the current one. What was not wrapped anew cannot be opened any more."""
        self._write(self._current, {self._current: self._keys[self._current]})

    def _write(self, current: str, keys: dict[str, bytes]) -> None:
        write_file(self._path, _file_text(current, keys), mode=0o600)
        self._current, self._keys = current, keys


def _file_text(current: str, keys: dict[str, bytes]) -> str:
    encoded = {name: base64.b64encode(key).decode() for name, key in keys.items()}
    return json.dumps({"format": _KEYS_FORMAT, "current": current, "keys": encoded}, indent=2) + "\n"


class TenantKeys:
    """The data keys of all tenants, in the object store; those that were asked for once are kept in memory."""

    def __init__(self, store: ObjectStore, service: KeyService) -> None:
        self._store, self._service = store, service
        self._opened: dict[str, TenantKey] = {}

    async def get(self, tenant_id: str) -> TenantKey:
        """The tenant's key. Raises NotFound when there is none (any more), Forbidden when another master key wrapped it."""
        if (found := self._opened.get(tenant_id)) is not None:
            return found
        wrapped, _ = await self._read(tenant_id)
        key = TenantKey(tenant_id, await self._service.unwrap(wrapped, tenant_id))
        return self._opened.setdefault(tenant_id, key)

    async def get_or_make(self, tenant_id: str) -> TenantKey:
        """The same; a tenant that has none gets one. Of two who make it at once the first one's counts."""
        try:
            return await self.get(tenant_id)
        except NotFound:
            wrapped = await self._service.wrap(os.urandom(_KEY_BYTES), tenant_id)
            await self._store.put_if_absent(key_of_tenant(tenant_id), _wrapped_text(tenant_id, wrapped))
            return await self.get(tenant_id)

    async def rewrap(self, tenant_id: str) -> bool:
        """Wraps the tenant's key with the current master key; False when it was already. Chunks stay as they are."""
        wrapped, tag = await self._read(tenant_id)
        if wrapped.master_key_id == await self._service.current_id():
            return False
        fresh = await self._service.wrap(await self._service.unwrap(wrapped, tenant_id), tenant_id)
        await self._store.put_if_tag(key_of_tenant(tenant_id), _wrapped_text(tenant_id, fresh), tag)
        return True

    async def destroy(self, tenant_id: str) -> None:
        """Deletes the tenant's key: nothing that it sealed can be read again. Other processes forget it at their next start."""
        await self._store.delete(key_of_tenant(tenant_id))
        self._opened.pop(tenant_id, None)

    async def _read(self, tenant_id: str) -> tuple[Wrapped, str]:
        found = await self._store.get(key_of_tenant(tenant_id))
        try:
            content = json.loads(found.content)
            if content["format"] != _KEYS_FORMAT or content["tenant_id"] != tenant_id:
                raise ValueError
            wrapped = Wrapped(str(content["master_key_id"]), base64.b64decode(content["wrapped"], validate=True))
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"The wrapped key of {tenant_id} cannot be read.") from error
        return wrapped, found.tag


def key_of_tenant(tenant_id: str) -> str:
    """Where a tenant's wrapped key lies."""
    return f"tenants/{tenant_id}/key.json"


def _wrapped_text(tenant_id: str, wrapped: Wrapped) -> bytes:
    return json.dumps(
        {
            "format": _KEYS_FORMAT,
            "tenant_id": tenant_id,
            "master_key_id": wrapped.master_key_id,
            "wrapped": base64.b64encode(wrapped.content).decode(),
        }
    ).encode()
