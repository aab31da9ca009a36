"""Keys of images: a data key per tenant, wrapped by a master key. Here: making, wrapping anew and destroying them, and what a data key does with
bytes. Not here: master keys (master_keys.py), what the bytes are (build.py, lay_out.py), keys of the catalogue's own secrets (control_plane/records).

    tenants/<tenant_id>/key.json     {"format": 1, "tenant_id", "master_key_id", "wrapped": base64}
                                     {"format": 1, "tenant_id", "destroyed_at"}

Whoever puts the second in the place of the first has made all of the tenant's images unreadable (crypto-shredding), whatever else is still there. It
stays for good, so that nobody who comes late makes the tenant a key anew.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spg99.errors import Damaged, Forbidden, NotFound
from spg99.images.current_key import current_master_key, require_current
from spg99.images.master_keys import GCM_NONCE_BYTES, KEY_BYTES, KeyService, Wrapped
from spg99.objects import ObjectStore

_KEYS_FORMAT: Final = 1
_FINGERPRINT_BYTES: Final = 4
_HEAD: Final = bytes([_KEYS_FORMAT])
_ZSTD_LEVEL: Final = 1
_TENANTS: Final = "tenants/"
_AFTER_A_SLASH: Final = chr(ord("/") + 1)
"""Not a control character: S3 clients refuse a place to begin a list at that has one."""


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
        nonce = os.urandom(GCM_NONCE_BYTES)
        packed = self._compressor.compress(raw)
        return _HEAD + self._fingerprint + nonce + self._cipher.encrypt(nonce, packed, self._bound(place))

    def open(self, sealed: bytes, place: str) -> bytes:
        """What was sealed. Raises Forbidden when it was with another key, Damaged when it is not what was sealed there."""
        at = len(_HEAD) + _FINGERPRINT_BYTES
        if sealed[: len(_HEAD)] != _HEAD or len(sealed) < at + GCM_NONCE_BYTES:
            raise Damaged(f"The stored object {place} is damaged: it does not begin as one of ours.")
        if sealed[len(_HEAD) : at] != self._fingerprint:
            raise Forbidden(f"The stored object {place} was encrypted with another key than that of {self.tenant_id}.")
        try:
            packed = self._cipher.decrypt(
                sealed[at : at + GCM_NONCE_BYTES], sealed[at + GCM_NONCE_BYTES :], self._bound(place)
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
    return hashlib.blake2b(key=data_key, digest_size=KEY_BYTES, person=purpose).digest()


class TenantKeys:
    """The data keys of all tenants, in the object store; those that were asked for once are kept in memory."""

    def __init__(self, store: ObjectStore, service: KeyService) -> None:
        self._store, self._service = store, service
        self._opened: dict[str, TenantKey] = {}

    async def get(self, tenant_id: str) -> TenantKey:
        """The tenant's key. Raises NotFound when there is none, or none any more; Forbidden when another master key wrapped it."""
        if (found := self._opened.get(tenant_id)) is not None:
            return found
        wrapped, _ = await _read(self._store, tenant_id)
        key = TenantKey(tenant_id, await self._service.unwrap(wrapped, tenant_id))
        return self._opened.setdefault(tenant_id, key)

    async def was_destroyed(self, tenant_id: str) -> bool:
        """Whether its key was destroyed for good: the note in its place says so. A key that is only missing may be put back from a copy."""
        try:
            await _read(self._store, tenant_id)
        except _Destroyed:
            return True
        except NotFound:
            pass
        return False

    async def get_or_make(self, tenant_id: str) -> TenantKey:
        """The same; a tenant that has none gets one. Of two who make it at once the first one's counts. Raises NotFound when it was destroyed, Forbidden as
        `require_current`; then nothing was written."""
        try:
            return await self.get(tenant_id)
        except _Destroyed:
            raise
        except NotFound:
            await self.require_current()
            wrapped = await self._service.wrap(os.urandom(KEY_BYTES), tenant_id)
            await self._store.put_if_absent(key_of_tenant(tenant_id), _wrapped_text(tenant_id, wrapped))
            return await self.get(tenant_id)

    async def require_current(self) -> None:
        """Raises Forbidden when the service does not have the store's master key (current_key.py): what it wraps, other machines may not open."""
        used: set[str] = set()
        if await current_master_key(self._store) is None:
            used = {
                one
                async for tenant_id in tenants_in(self._store)
                if (one := await master_key_of(self._store, tenant_id))
            }
        await require_current(self._store, self._service, used)

    async def rewrap(self, tenant_id: str) -> bool:
        """Wraps the tenant's key with the current master key; False when it was already, or was destroyed. Chunks stay as they are.

        Raises PreconditionFailed when another did it meanwhile.
        """
        try:
            wrapped, tag = await _read(self._store, tenant_id)
        except _Destroyed:
            return False
        if wrapped.master_key_id == await self._service.current_id():
            return False
        fresh = await self._service.wrap(await self._service.unwrap(wrapped, tenant_id), tenant_id)
        await self._store.put_if_tag(key_of_tenant(tenant_id), _wrapped_text(tenant_id, fresh), tag)
        return True

    async def destroy(self, tenant_id: str, now: datetime) -> None:
        """Destroys the tenant's key for good: nothing that it sealed can be read again. Other processes forget it at their next start."""
        note = {"format": _KEYS_FORMAT, "tenant_id": tenant_id, "destroyed_at": now.isoformat()}
        await self._store.put(key_of_tenant(tenant_id), json.dumps(note).encode())
        self._opened.pop(tenant_id, None)


class _Destroyed(NotFound):
    """There was one."""


async def master_key_of(store: ObjectStore, tenant_id: str) -> str | None:
    """The id of the master key that the tenant's key is wrapped with; None: it has none, or none any more."""
    try:
        return (await _read(store, tenant_id))[0].master_key_id
    except NotFound:
        return None


async def _read(store: ObjectStore, tenant_id: str) -> tuple[Wrapped, str]:
    found = await store.get(key_of_tenant(tenant_id))
    try:
        content = json.loads(found.content)
        if content["format"] != _KEYS_FORMAT or content["tenant_id"] != tenant_id:
            raise ValueError
        if "destroyed_at" in content:
            raise _Destroyed(f"The key of {tenant_id} was destroyed with the tenant, at {content['destroyed_at']}.")
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


async def tenants_in(store: ObjectStore) -> AsyncIterator[str]:
    """The ids of all tenants that have something in the store, in order: a list of one page for each, however many objects it has."""
    after = ""
    while True:
        first = None
        async for entry in store.entries(_TENANTS, after=after):
            first = entry.key
            break
        if first is None:
            return
        tenant_id = first.removeprefix(_TENANTS).partition("/")[0]
        yield tenant_id
        after = f"{_TENANTS}{tenant_id}{_AFTER_A_SLASH}"  # behind all of its keys, before those of the next one
