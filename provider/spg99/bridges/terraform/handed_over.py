"""Create tokens of objects that Terraform was told of: each goes when its state is seen to hold the object, or after a day.

Here: which file names which object. Not here: how tokens are written and claimed (create_tokens.py). Every call on an object
passes here, so it imports next to nothing and looks into the folder once.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FOLDER = "spg99-creates"
KEPT_SECONDS = 24 * 3600.0
"""The Control Plane forgets a create after a day; an older token means nothing to it."""


class HandedOver:
    """The tokens that earlier runs left behind, as one run of this provider finds them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = os.path.join(environment.get("TF_DATA_DIR") or ".terraform", FOLDER)
        self._lock = allocate_lock()
        self._left: dict[str, list[str]] | None = None  # uid -> paths

    def is_held(self, uid: Any) -> None:
        """Terraform's state holds the object of this uid: nobody has to find it by its token any more."""
        with self._lock:
            if self._left is None:
                self._left = _left(self._folder)
            paths = self._left.pop(uid, ()) if isinstance(uid, str) else ()
        for path in paths:
            _remove(path)


def _left(folder: str) -> dict[str, list[str]]:
    """Paths by uid; removes what is too old to mean anything."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    oldest, found = time.time() - KEPT_SECONDS, dict[str, list[str]]()
    for name in names:
        path, parts = os.path.join(folder, name), name.split(".")
        try:
            is_old = os.stat(path).st_mtime < oldest
        except OSError:
            continue  # another process was quicker
        if is_old:
            _remove(path)
        elif len(parts) == 4:
            found.setdefault(parts[3], []).append(path)
    return found


def _remove(path: str) -> None:
    try:  # noqa: SIM105 - contextlib would be one more import of a start
        os.unlink(path)
    except OSError:
        pass  # another process was quicker, or the folder is not ours to write to: then it stays for a day
