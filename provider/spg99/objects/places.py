"""Where an object store is, by one text: a folder or a URL. Here: choosing. Not here: what the stores do (folder.py, s3.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from spg99.errors import BadRequest
from spg99.objects.contract import ObjectStore
from spg99.objects.folder import FolderStore


def open_store(place: str, options: Mapping[str, str] | None = None) -> ObjectStore:
    """The store in a folder (a path, `file:///path`) or behind a URL. Nothing is asked of a server yet.

    Raises BadRequest when the place is not understood.
    """
    parts = urlsplit(place)
    if parts.scheme == "file":
        if parts.netloc:
            raise BadRequest(f"'{place}' names another machine. Write file:///path.")
        return FolderStore(Path(parts.path))
    if "://" not in place:
        return FolderStore(Path(place))
    # 16 MB of library that a store in a folder has no use for.
    from spg99.objects.s3 import RemoteStore

    return RemoteStore(place, options)


def is_remote(place: str) -> bool:
    """Whether the store there is behind a line, and not a folder."""
    return "://" in place and urlsplit(place).scheme != "file"
