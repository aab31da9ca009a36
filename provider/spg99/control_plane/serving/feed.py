"""The newest events, read once per process and handed to every stream. Not here: HTTP (events.py), numbering (records/outbox.py)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from spg99.control_plane.records import outbox
from spg99.control_plane.records.outbox import Event
from spg99.control_plane.store import Store, Wakeups

EVENTS_HELD_MAX = 1000
_PAGE = 500


class Subscriber:
    """One stream: everything after `begins_after` arrives here, until it falls too far behind."""

    def __init__(self, begins_after: int) -> None:
        self.begins_after = begins_after
        self.fell_behind = False
        """True: events were dropped; read the catalogue from the last one seen and subscribe again."""
        self._held: deque[Event] = deque()
        self._offered = asyncio.Event()

    def offer(self, event: Event) -> None:
        """Takes an event, unless too many wait already."""
        if len(self._held) >= EVENTS_HELD_MAX:
            self.fell_behind = True
            self._held.clear()
        if not self.fell_behind:
            self._held.append(event)
        self._offered.set()

    def wake(self) -> None:
        """Ends a wait without an event."""
        self._offered.set()

    async def take(self, wait_seconds: float) -> list[Event]:
        """What has arrived; waits for it, `wait_seconds` at most."""
        if not self._held and not self.fell_behind:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._offered.wait()
        self._offered.clear()
        taken = list(self._held)
        self._held.clear()
        return taken


class Feed:
    """Follows the outbox for all streams of this process."""

    def __init__(self, store: Store, wakeups: Wakeups) -> None:
        self._store = store
        self._wakeups = wakeups
        self._subscribers: set[Subscriber] = set()
        self._position = 0
        self.ready = asyncio.Event()
        """Set once the feed knows where it is."""

    @property
    def closing(self) -> bool:
        """True once the process is on its way out: streams end now, clients go on elsewhere."""
        return self._wakeups.closing

    @property
    def subscribers(self) -> int:
        """How many streams are open."""
        return len(self._subscribers)

    @contextmanager
    def subscribe(self) -> Iterator[Subscriber]:
        """Everything from this moment on arrives at the subscriber while the block runs."""
        subscriber = Subscriber(self._position)
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    async def follow(self) -> None:
        """Hands everything that was published since the last time to all streams."""
        if self.closing:
            self.wake_all()
        if not self.ready.is_set():
            async with self._store.transaction() as tx:
                self._position = await outbox.last_position(tx)
            self.ready.set()
        while True:
            async with self._store.reading() as tx:
                if not self._subscribers:  # nobody to hand them to
                    last = await outbox.last_position(tx)
                    if not self._subscribers:  # still: who has come meanwhile begins where we were
                        self._position = max(self._position, last)
                        return
                events = await outbox.since(tx, self._position, limit=_PAGE)
            for event in events:
                self._position = event.position
                for subscriber in self._subscribers:
                    subscriber.offer(event)
            if len(events) < _PAGE:
                return

    def wake_all(self) -> None:
        """Ends every wait for an event: the process is on its way out."""
        for subscriber in self._subscribers:
            subscriber.wake()
