"""The event loop of the gateway's processes: uvloop, and asyncio where it is missing. Nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Runs to the end. `SPG99_EVENT_LOOP=asyncio` takes Python's own loop, for comparing."""
    if os.environ.get("SPG99_EVENT_LOOP") != "asyncio":
        try:
            import uvloop  # not on every machine
        except ImportError:
            pass
        else:
            uvloop.run(main)
            return
    asyncio.run(main)
