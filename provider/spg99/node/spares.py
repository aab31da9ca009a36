"""Copies of the template, made while nobody waits: the first start of a timeline takes one by a new name.

Here: how many there are and when one is made. Not here: what a copy is and becomes (timelines.py).
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from spg99.node.folder import NodeFolder
from spg99.node.storage_rules import is_short
from spg99.postgres.reserve import disk_of

SPARES: Final = 2
"""Some 18 MB of disk each. More starts at once than there are spares copy for themselves."""
REST_SECONDS: Final = 0.5
"""After one was taken, or the agent has begun: whoever starts a compute needs processor and disk more."""
CHECK_SECONDS: Final = 2.0


class Spares:
    """The spares of one node. Those of a former agent are not used: they may be half made, or of an older template."""

    def __init__(
        self,
        folder: NodeFolder,
        copy: Callable[[Path], Awaitable[None]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._copy = copy
        self._monotonic = monotonic
        self._ready: list[Path] = []
        self._taken_at = monotonic()
        self._is_swept = False

    def take(self, target: Path) -> bool:
        """Moves a spare to `target`, which is not there; False when there is none. It is not durable yet."""
        self._taken_at = self._monotonic()
        while self._ready:
            try:
                self._ready.pop().rename(target)
            except FileNotFoundError:  # somebody has made room by hand
                continue
            return True
        return False

    async def fill(self) -> float:
        """Makes one spare if one is missing and nobody is in need; answers after how many seconds to look again."""
        if not self._is_swept:
            for path in await asyncio.to_thread(lambda: list(self._folder.spares_dir.iterdir())):
                await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            self._is_swept = True
        if len(self._ready) >= SPARES or is_short(disk_of(self._folder.spares_dir)):
            return CHECK_SECONDS
        rest = self._taken_at + REST_SECONDS - self._monotonic()
        if rest > 0:
            return rest
        path = self._folder.spares_dir / secrets.token_hex(8)
        try:
            await self._copy(path)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, path, ignore_errors=True))
            raise
        self._ready.append(path)
        return 0.0
