"""Which master key a store's keys are wrapped with: an object that every machine reads before it wraps one, so that files of master keys that are not the same
are noticed before a key is wrapped that the others cannot open.

    master_key.json     {"format": 1, "master_key_id"}

Here: that object. Not here: the file (master_keys.py), a tenant's key (keys.py), when it becomes another (rotation.py).
"""

from __future__ import annotations

import json
from typing import Final

from spg99.errors import Conflict, Damaged, NotFound, PreconditionFailed
from spg99.images.master_keys import KeyService
from spg99.objects import ObjectStore

CURRENT_KEY: Final = "master_key.json"
_CURRENT_KEY_FORMAT: Final = 1


async def current_master_key(store: ObjectStore) -> str | None:
    """Its id; None: no key was wrapped yet, or only by versions that did not say. Raises Damaged."""
    return (await _read(store))[0]


async def require_current(store: ObjectStore, service: KeyService, used_ids: set[str]) -> None:
    """Returns when this service has the store's master key, and may wrap. `used_ids`: those that keys in a store are wrapped with that does not say which it is: it
    has to have these, and its own one becomes the store's. Raises Forbidden, having written nothing."""
    wanted = await current_master_key(store)
    if wanted is None:
        for used in sorted(used_ids):
            await service.require(used)
        if await store.put_if_absent(CURRENT_KEY, _text(await service.current_id())) is not None:
            return
        wanted = await current_master_key(store)  # another machine was first, perhaps with another file
        assert wanted is not None, "it was there a moment ago"
    await service.require(wanted)


async def make_current(store: ObjectStore, master_key_id: str) -> None:
    """From now on keys are wrapped by who has this one. Raises Conflict when another machine has made another one current in the same moment."""
    wanted, tag = await _read(store)
    if wanted == master_key_id:
        return
    try:
        if tag is not None:
            await store.put_if_tag(CURRENT_KEY, _text(master_key_id), tag)
        elif await store.put_if_absent(CURRENT_KEY, _text(master_key_id)) is None:
            raise PreconditionFailed("It is there by now.")
    except PreconditionFailed as error:
        raise Conflict("The master key is being rotated on another machine, too. Copy the file from there.") from error


async def _read(store: ObjectStore) -> tuple[str | None, str | None]:
    try:
        found = await store.get(CURRENT_KEY)
    except NotFound:
        return None, None
    try:
        content = json.loads(found.content)
        if content["format"] != _CURRENT_KEY_FORMAT:
            raise ValueError
        return str(content["master_key_id"]), found.tag
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{CURRENT_KEY} of the object store cannot be read. Nothing was written.") from error


def _text(master_key_id: str) -> bytes:
    return json.dumps({"format": _CURRENT_KEY_FORMAT, "master_key_id": master_key_id}).encode()
