"""Named points at which a test may kill a process. Here: the points' one function. Not here: which points exist
(`grep -r faults.point`), or the tests that use them.

`SPG99_FAULT_POINT=reconcile.before_commit` kills this process at the first pass of that point, `...:3` at the third.
`SPG99_FAULT_FILE=<path>` does the same for whoever gets there first, once: whenever the file holds `<name>[:nth] [pid ...]`,
the process that passes the point takes the order away (renames it to `<path>.taken`, so a restarted child lives) and kills
the processes named, itself when none is. Unset: free.
"""

from __future__ import annotations

import contextlib
import os
import signal

_NAME, _, _NTH = os.environ.get("SPG99_FAULT_POINT", "").partition(":")
_ORDER_FILE = os.environ.get("SPG99_FAULT_FILE", "")
_passes_left = int(_NTH or 1)
_passes: dict[str, int] = {}


def _kill_at(name: str) -> None:
    global _passes_left
    if name == _NAME:
        _passes_left -= 1
        if _passes_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _kill_as_ordered(name: str) -> None:
    try:
        with open(_ORDER_FILE) as file:
            order = file.read().strip()
    except FileNotFoundError:
        return
    what, _, victims = order.partition(" ")
    wanted, _, nth = what.partition(":")
    if wanted != name:
        return
    _passes[order] = _passes.get(order, 0) + 1
    if _passes[order] < int(nth or 1):
        return
    try:
        os.rename(_ORDER_FILE, _ORDER_FILE + ".taken")
    except FileNotFoundError:  # another process was faster
        return
    for pid in [int(pid) for pid in victims.split()] or [os.getpid()]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _at_both(name: str) -> None:
    _kill_at(name)
    _kill_as_ordered(name)


def _go_on(_name: str) -> None:
    return


point = _at_both if _NAME and _ORDER_FILE else _kill_at if _NAME else _kill_as_ordered if _ORDER_FILE else _go_on
"""`faults.point("wake.before_commit")`: kill -9 when a test asked for it, nothing otherwise."""
