"""The event loop of the gateway's processes: uvloop, and asyncio where it is missing. Nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

try:
    import uvloop
except ImportError:  # not on every machine
    _run = asyncio.run
else:
    _run = uvloop.run


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Runs to the end. `SPG99_EVENT_LOOP=asyncio` takes Python's own loop, for comparing."""
    (asyncio.run if os.environ.get("SPG99_EVENT_LOOP") == "asyncio" else _run)(main)
