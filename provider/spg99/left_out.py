"""Packages that a library loads when they are installed, for what we never use of it. Here: leaving them out while the library is
loaded. Not here: what is left out (log.py, client/)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def left_out(*names: str) -> Iterator[None]:
    """While this lasts, the modules of these names cannot be imported, unless they are loaded already; afterwards as before.

    Only where the library takes their absence for an ordinary case (`except ImportError`).
    """
    added = [name for name in names if name not in sys.modules]
    for name in added:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's own word for "there is none"
    try:
        yield
    finally:
        for name in added:
            if sys.modules.get(name, sys) is None:
                del sys.modules[name]
