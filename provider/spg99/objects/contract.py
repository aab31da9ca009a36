"""What every object store does, and what a key is. Not here: doing it (folder.py, s3.py)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from spg99.errors import BadRequest

KEY_BYTES_MAX: Final = 1024
"""S3's own bound. A part of a key may have 200: a folder's files add a little to it while they are drafts."""
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class Stored:
    """An object as it was read: its bytes, and the tag by which a conditional write knows that it is still the same."""

    content: bytes
    tag: str


@dataclass(frozen=True)
class Entry:
    """What a list says of an object."""

    key: str
    size_bytes: int
    modified_at: datetime


class ObjectStore(Protocol):
    """The contract; the package's docstring has it in short. All methods may be called at once by one event loop."""

    async def put(self, key: str, content: bytes) -> str:
        """Puts an object in the place of what was there, and answers its tag."""

    async def put_if_absent(self, key: str, content: bytes) -> str | None:
        """The object's tag; None, changing nothing, where there is one."""

    async def put_if_tag(self, key: str, content: bytes, tag: str | None) -> str:
        """Replaces the object that was read with this tag (None = there was none) and answers the new tag.

        Raises PreconditionFailed, changing nothing, when it is another one by now. After StoreUnavailable it may have been
        written or not: read it.
        """

    async def put_contents(self, objects: Mapping[str, bytes]) -> None:
        """Puts many objects whose keys name their contents: one that is there is as good. All last when this returns.

        When it raises, any of them may be there, each of them whole.
        """

    async def get(self, key: str) -> Stored:
        """The object. Raises NotFound."""

    async def get_range(self, key: str, first: int, length: int) -> bytes:
        """`length` bytes from the byte `first` on; fewer where the object ends. Raises NotFound."""

    async def head(self, key: str) -> Entry | None:
        """What is known of an object without reading it; None when there is none."""

    def entries(self, prefix: str, *, after: str = "") -> AsyncIterator[Entry]:
        """All objects whose keys begin with `prefix`, in the order of their keys, from behind `after`.

        What is put or deleted meanwhile may be in it or not.
        """

    async def delete(self, key: str) -> None:
        """Removes an object. One that is not there is a success."""

    async def close(self) -> None:
        """Ends threads and connections. The store is not used any more."""


def checked_key(key: str) -> str:
    """The key, if it can be one in every store: parts of letters, digits, `._-` between slashes, none begins with a dot or dash.

    So no key leaves a folder, and none is absolute. Raises BadRequest otherwise.
    """
    if len(key) <= KEY_BYTES_MAX and all(_PART.fullmatch(part) for part in key.split("/")):
        return key
    raise BadRequest(f"'{key[:80]}' cannot be the key of an object.")


def checked_prefix(prefix: str) -> str:
    """The same of the beginning of a key; empty = all objects."""
    head, _, last = prefix.rpartition("/")
    if head:
        checked_key(head)
    if last:
        checked_key(last)
    return prefix
