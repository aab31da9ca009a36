"""The command line of a running process as `ps` shows it, for one that was forked and not executed. Linux only.

Here: writing it where the kernel reads it. Not here: what it says (whoever forks).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


def bytes_max() -> int:
    """Bytes that a command line may have here: that of the program and its environment as they were handed to it. 0: none."""
    start, _, end = _area()
    return max(0, end - start - 1)


def set_title(text: str) -> None:
    """Makes `text` the command line of this process, as one string; what has no room is cut off. Does nothing where the
    system does not say where it is."""
    start, arguments_end, end = _area()
    if start == 0:
        return
    # Variables lie behind the arguments: those that C code may still ask for are put elsewhere before the place is used.
    variables = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    title = os.fsencode(text).replace(b"\0", b" ")[: end - start - 1]
    # Beyond the arguments the kernel reads on only when their last byte is none: so it is, or all else is zeros.
    assert len(title) < end - start and arguments_end <= end
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, title, len(title))


def _area() -> tuple[int, int, int]:
    """Where the arguments begin and end, and where the variables behind them end; zeros where nobody tells."""
    try:
        fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
        start, arguments_end, variables_start, variables_end = (int(each) for each in fields[45:49])
    except (OSError, ValueError):
        return 0, 0, 0
    if start == 0 or arguments_end <= start:
        return 0, 0, 0
    return start, arguments_end, variables_end if variables_start == arguments_end else arguments_end
