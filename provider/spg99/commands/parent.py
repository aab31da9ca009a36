"""A child of `spg99 dev` ends when its parent ends, however that ended.

The parent holds the write end of the child's standard input and never writes: end of file means that the parent is gone,
also after kill -9, on every platform, without polling. Not here: the parent (supervisor.py).
"""

from __future__ import annotations

import os
import signal
import threading
import time

VARIABLE = "SPG99_ENDS_WITH_STDIN"
_PATIENCE_SECONDS = 25.0


def end_with_parent() -> None:
    """Called before a process does anything, and after it has forked (a thread begins here): when the variable is set, end
    of file on standard input is a SIGTERM."""
    if os.environ.pop(VARIABLE, None) == "1":
        threading.Thread(target=_watch, name="parent-watch", daemon=True).start()


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_SECONDS)
    # The graceful end hangs and nobody is left who would notice.
    os._exit(1)
