"""Unpacking archives of our own making, on every Python that we take. Not here: archives of strangers."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

# Filters came with 3.11.4; Debian 12 has 3.11.2. Ours hold nothing to be afraid of, and owners matter in one of them.
_TRUSTED: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}


def unpack(archive: Path, folder: Path, *names: str) -> None:
    """Everything in a tar archive, or the members named, with owners and rights, into `folder`."""
    with tarfile.open(archive) as tar:
        members = [tar.getmember(name) for name in names] or None
        tar.extractall(folder, members=members, **_TRUSTED)
