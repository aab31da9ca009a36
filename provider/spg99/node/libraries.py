"""Libraries of ours that servers of this node load. Here: a copy where the account that runs PostgreSQL can read it. Not here: what they do
(provider/storage_limit, provider/lazy_pages)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from spg99.atomic_write import write_if_changed
from spg99.node.folder import NodeFolder
from spg99.postgres.accounts import make_folder


def shared_library(library: Path, folder: NodeFolder, name: str) -> Path | None:
    """The copy; None when none was built. One in use stays as it is, and one that is not what was built is replaced."""
    try:
        text = library.read_bytes()
    except OSError:
        return None
    target = folder.lib_dir / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}.so"
    make_folder(folder.lib_dir, mode=0o755)
    # Never by its name alone: an empty library is loaded without a word, and then it holds nothing.
    write_if_changed(target, text, mode=0o755)
    return target
