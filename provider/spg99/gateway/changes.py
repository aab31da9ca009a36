"""Follows the stream of changes. Here: one stream, and what is believed when it breaks. A loop of the process (server.py) begins the next.

Not here: what a change means for a cache (credentials.py, checkouts.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from spg99 import log
from spg99.errors import Conflict, Unavailable
from spg99.gateway.checkouts import Checkouts
from spg99.gateway.credentials import CredentialsCache
from spg99.protocol.gateway import Change

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
    on_open: Callable[[], None] = lambda: None
    """Called each time a stream stands."""

    async def run(self) -> None:
        """Follows the stream until it breaks, and raises why; while none stands the caches know it."""
        try:
            async for position, change in self.api.changes(self.position, on_open=self._opened):
                self.apply(change)
                self.position = position
        except Conflict:
            _log.warning("changes were missed, forgetting what is cached", position=self.position)
            self.position = None
            self.checkouts.forget_all()
            raise
        finally:
            self.credentials.watched_since = None
        raise Unavailable("The Control Plane has ended the stream of changes.")

    def apply(self, change: Change) -> None:
        """One change."""
        if change.kind == "cancel":
            self.on_cancel(change.cancel_key_hash or "")
            return
        if change.kind == "tenant":
            self.credentials.forget_tenant(change.tenant_id)
        self.checkouts.changed(change)

    def _opened(self) -> None:
        self.on_open()
        if self.position is None:
            # What happened before this moment is not in the stream.
            self.checkouts.forget_all()
        self.credentials.watched_since = self.monotonic()
