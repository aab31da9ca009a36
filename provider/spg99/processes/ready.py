"""The ready line: one line of JSON on standard output, by which a process says that it serves. Here: saying and reading it.
Not here: when (each process), who reads it (`spg99 dev`, service managers, tests)."""

from __future__ import annotations

import json
import sys
from typing import Any


def say_ready(process: str, **facts: Any) -> None:
    """Says that this process serves. `facts` are what others need to reach it; never a secret but in a URL without one."""
    sys.stdout.write(json.dumps({"ready": True, "process": process, **facts}) + "\n")
    sys.stdout.flush()


def read_ready(line: bytes | str) -> dict[str, Any] | None:
    """What a ready line says; None when the line is anything else."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("ready") is True else None
