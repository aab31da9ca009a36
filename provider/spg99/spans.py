"""Named moments on the way of a request through our processes, for whoever measures where the time goes. Here: the one function,
as in faults.py. Not here: which moments there are (`grep -r spans.mark`), adding them up (tests/benchmarks/wake.py).

`SPG99_SPANS_FILE=<path>`: each process appends a line a moment, `<monotonic ns> <name>`; on one machine all of them read one
clock. Unset: free.
"""

from __future__ import annotations

import os
import time

_FILE = os.environ.get("SPG99_SPANS_FILE", "")


def _write(name: str) -> None:
    line = f"{time.monotonic_ns()} {name}\n"
    # Opened for each: the file may be moved away between two rounds, and a process of ours runs as it was started.
    with open(_FILE, "a") as file:
        file.write(line)


def _go_on(_name: str) -> None:
    return


mark = _write if _FILE else _go_on
"""`spans.mark("wake.ordered")`"""
