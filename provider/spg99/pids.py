"""A process told from a later one of the same number, on this machine. Here: when it began, as the system counts it, which no
step of the wall clock changes. Not here: PostgreSQL's processes (postgres/postmaster.py)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

UNKNOWN: Final = "0"
"""The start of a process that lives, where the system does not tell when it began."""


def started(pid: int) -> str:
    """When a process began, in ticks since the boot; `UNKNOWN` where nobody tells; empty when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return _signalled(pid)
    state, *rest = stat.rpartition(")")[2].split()
    # A dead process that nobody has buried yet still has its line.
    return "" if state in ("Z", "X") else rest[18]


def lives(pid: int, since: str) -> bool:
    """Whether the process that began then (`started`) may still live. One that lives and of which no start is known does:
    whoever is taken for dead loses what he holds."""
    now = started(pid)
    return now != "" and (now in (UNKNOWN, since) or since in ("", UNKNOWN))


def _signalled(pid: int) -> str:
    # No /proc, or one that hides other users' processes.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except (OSError, OverflowError):
        return UNKNOWN
    return UNKNOWN
