"""Objects of a tenant that nobody needed when they were seen last, with the time of that: they are removed after a grace. And who is about to need
one of them again takes it off first. Here: the list and the order of its changes. Not here: what is needed (pageserver/).

    tenants/<tenant_id>/garbage      {"format": 1, "marked": {key: time}, "sweeping": [key, ...]}

Every change of the list hangs on its tag, so of a rescue and the beginning of a sweep one is first: a key that was taken off is not
removed, and one that is being removed is waited for, then put anew. An object that is marked after a build has begun stays longer than any build takes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from spg99.errors import Damaged, NotFound, PreconditionFailed, StoreUnavailable
from spg99.images.manifest import checked_part
from spg99.objects import ObjectStore

_GARBAGE_FORMAT: Final = 1
_SWEEP_WAIT_SECONDS: Final = 1.0
_SWEEP_WAITS: Final = 60
_RESCUES_MAX: Final = 10
UPLOAD_SECONDS_MAX: Final = 6 * 3600.0
"""An image that takes longer to store is not: what it counts on may be gone by then."""
GRACE_SECONDS: Final = 24 * 3600.0
"""Longer than any upload, by far: clocks of machines differ."""


@dataclass(frozen=True)
class Condemned:
    """The list as it was read."""

    marked: dict[str, datetime]
    sweeping: frozenset[str]
    tag: str | None

    @property
    def keys(self) -> set[str]:
        """All that is on it."""
        return {*self.marked, *self.sweeping}


def garbage_key(tenant_id: str) -> str:
    """Where the list lies."""
    return f"tenants/{checked_part(tenant_id)}/garbage"


async def read(objects: ObjectStore, tenant_id: str) -> Condemned:
    """The list. Raises Damaged."""
    try:
        found = await objects.get(garbage_key(tenant_id))
    except NotFound:
        return Condemned({}, frozenset(), None)
    try:
        content = json.loads(found.content)
        if content["format"] != _GARBAGE_FORMAT:
            raise ValueError
        marked = {str(key): datetime.fromisoformat(at) for key, at in content["marked"].items()}
        return Condemned(marked, frozenset(map(str, content["sweeping"])), found.tag)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"The object {garbage_key(tenant_id)} cannot be read.") from error


async def write(
    objects: ObjectStore,
    tenant_id: str,
    before: Condemned,
    marked: dict[str, datetime],
    sweeping: Collection[str] = (),
) -> Condemned:
    """Puts another list in the place of the one that was read. Raises PreconditionFailed when somebody has changed it meanwhile."""
    content = {
        "format": _GARBAGE_FORMAT,
        "marked": {key: at.isoformat() for key, at in marked.items()},
        "sweeping": sorted(sweeping),
    }
    tag = await objects.put_if_tag(garbage_key(tenant_id), json.dumps(content).encode(), before.tag)
    return Condemned(dict(marked), frozenset(sweeping), tag)


async def rescue(objects: ObjectStore, tenant_id: str, keys: Collection[str]) -> None:
    """Returns when none of these is on the list: who puts them now, or finds them there, may count on them. Raises StoreUnavailable when a sweep does
    not come to its end."""
    for _ in range(_RESCUES_MAX):
        found = await read(objects, tenant_id)
        for _ in range(_SWEEP_WAITS):
            if not found.sweeping.intersection(keys):
                break
            await asyncio.sleep(_SWEEP_WAIT_SECONDS)
            found = await read(objects, tenant_id)
        else:
            break
        if not found.marked.keys() & keys:
            return
        rest = {key: at for key, at in found.marked.items() if key not in keys}
        try:
            await write(objects, tenant_id, found, rest, found.sweeping)
        except PreconditionFailed:
            continue
        return
    raise StoreUnavailable("Objects that this image needs are being removed from the store. It is tried again.")
