"""Whose object store it is. Here: claiming an empty one, refusing that of another installation. Not here: what is kept in it."""

from __future__ import annotations

import json
from typing import Final

from spg99.errors import Damaged, ForeignStore, NotFound
from spg99.objects.contract import ObjectStore

KEY: Final = "installation.json"
_INSTALLATION_FORMAT: Final = 1


async def require_installation(store: ObjectStore, installation_id: str) -> None:
    """Returns when the store is this installation's; one that nobody has used becomes its own.

    Raises ForeignStore, having written nothing, when it is another's: two installations in one store would sweep each other's
    objects. Raises Damaged when what stands there cannot be read.
    """
    mine = json.dumps({"format": _INSTALLATION_FORMAT, "installation_id": installation_id}).encode()
    owner_id = await installation_of(store)
    if owner_id is None:
        if await store.put_if_absent(KEY, mine) is not None:
            return
        owner_id = await installation_of(store)  # another process was first, perhaps of another installation
    if owner_id != installation_id:
        raise ForeignStore(
            f"The object store belongs to the installation {owner_id}, this one is {installation_id}. Nothing in it was changed."
        )


async def installation_of(store: ObjectStore) -> str | None:
    """Whose it is; None: nobody's yet. Raises ForeignStore when a newer version has written it, Damaged when it cannot be read."""
    try:
        found = await store.get(KEY)
    except NotFound:
        return None
    try:
        owner = json.loads(found.content)
        owner_id, written_format = str(owner["installation_id"]), int(owner["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{KEY} of the object store cannot be read. Nothing in the store was changed.") from error
    if written_format != _INSTALLATION_FORMAT:
        raise ForeignStore(
            f"The object store was written by a newer version of spg99 (format {written_format}; this one knows {_INSTALLATION_FORMAT}). "
            "Nothing in it was changed."
        )
    return owner_id
