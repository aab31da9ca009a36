"""Follows the stream of changes. Here: the stream, and what is believed when it breaks.

Not here: what a change means for a cache (credentials.py, checkouts.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from spg99 import log
from spg99.errors import Conflict, Spg99Error
from spg99.gateway.checkouts import Checkouts
from spg99.gateway.credentials import CredentialsCache
from spg99.protocol.gateway import Change

PAUSE_SECONDS: Final = 0.2
PAUSE_SECONDS_MAX: Final = 2.0

_log = log.get("gateway")


class ChangesApi(Protocol):
    """The part of InternalClient that is used here; it must not retry by itself, or a broken stream looks whole."""

    def changes(
        self, after: int | None, *, on_open: Callable[[], None] | None = None
    ) -> AsyncIterator[tuple[int, Change]]:
        """Changes after a position."""
        ...


@dataclass(slots=True)
class ChangeFeed:
    """Keeps both caches honest."""

    api: ChangesApi
    credentials: CredentialsCache
    checkouts: Checkouts
    monotonic: Callable[[], float]
    on_cancel: Callable[[str], object] = lambda key_hash: None
    """Called with the hash of a cancel key that another Gateway was given."""
    position: int | None = None
    _failures: int = 0

    async def run(self) -> None:
        """Follows the stream for ever; while none stands the caches know it."""
        while True:
            try:
                async for position, change in self.api.changes(self.position, on_open=self._opened):
                    self.apply(change)
                    self.position = position
            except Conflict:
                _log.warning("changes were missed, forgetting what is cached", position=self.position)
                self.position = None
                self.checkouts.forget_all()
            except Spg99Error as error:
                if self._failures == 0:
                    _log.warning("the stream of changes broke", error=str(error))
                self._failures += 1
            finally:
                self.credentials.watched_since = None
            await asyncio.sleep(min(PAUSE_SECONDS * 1.5**self._failures, PAUSE_SECONDS_MAX))

    def apply(self, change: Change) -> None:
        """One change."""
        if change.kind == "cancel":
            self.on_cancel(change.cancel_key_hash or "")
            return
        if change.kind == "tenant":
            self.credentials.forget_tenant(change.tenant_id)
        self.checkouts.changed(change)

    def _opened(self) -> None:
        if self._failures:
            _log.info("the stream of changes stands again")
        self._failures = 0
        if self.position is None:
            # What happened before this moment is not in the stream.
            self.checkouts.forget_all()
        self.credentials.watched_since = self.monotonic()
