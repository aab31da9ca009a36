"""Wake-ups: one LISTEN connection per process, fanned out to everybody who waits; what this process notifies is told here at once
(`Store.listener`). Here: waking. Not here: what to look at.

A wake-up says "read again", never what is there: whoever is woken reads the rows. So a lost connection loses nothing:
after it is back everybody is woken once.

    with wakeups.waiter(("spg99_database", db_id)) as wakeup:
        while True:
            wakeup.clear()                # before reading: a change after that wakes again
            ... read; return when it is there or the time is over ...
            await wakeup.wait_for(seconds)    # and stop when `wakeups.closing`
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spg99.control_plane.store.transaction import Store
from spg99.errors import Unavailable
from spg99.processes import Wakeup

CHANNELS = (
    "spg99_cancel",
    "spg99_database",
    "spg99_keys",
    "spg99_operation",
    "spg99_outbox",
    "spg99_published",
    "spg99_reconcile",
    "spg99_task",
    "spg99_tasks",
    "spg99_tenant",
)
"""Everything that a Control Plane notifies; the payload is an id or empty."""

Topic = tuple[str, str | None]
"""A channel and the payload to wake for; None = any payload."""


class Wakeups:
    """Everybody in this process who waits for a notification of the catalogue."""

    def __init__(self, store: Store, channels: tuple[str, ...] = CHANNELS) -> None:
        self._store = store
        self._channels = channels
        self._waiting: dict[Topic, set[Wakeup]] = {}
        self._calls: dict[str, list[Callable[[], None]]] = {}
        store.listener = self.wake
        self.listening = asyncio.Event()
        """Set while the connection stands."""
        self.on_listening: Callable[[], None] = lambda: None
        """Called each time it stands (again)."""
        self.closing = False
        """True once the process is on its way out: whoever waits answers now."""

    @contextmanager
    def waiter(self, *topics: Topic) -> Iterator[Wakeup]:
        """Is woken for these topics while the block runs."""
        wakeup = Wakeup()
        for topic in topics:
            self.begin(topic, wakeup)
        try:
            yield wakeup
        finally:
            for topic in topics:
                self.end(topic, wakeup)

    def begin(self, topic: Topic, wakeup: Wakeup) -> None:
        """From here on this one is woken for the topic."""
        self._waiting.setdefault(topic, set()).add(wakeup)
        if self.closing:
            wakeup.wake()

    def end(self, topic: Topic, wakeup: Wakeup) -> None:
        """It no longer is; it need not have been."""
        if (waiting := self._waiting.get(topic)) is not None:
            waiting.discard(wakeup)
            if not waiting:
                del self._waiting[topic]

    def call(self, channel: str, hook: Callable[[], None]) -> None:
        """Calls `hook` whenever `channel` is notified, or something may have been missed; after a change of this process before
        that change's caller goes on. For what is remembered here of the catalogue, which must not answer who has changed it."""
        self._calls.setdefault(channel, []).append(hook)

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len({wakeup for waiting in self._waiting.values() for wakeup in waiting})

    def wake(self, channel: str, payload: str) -> None:
        """Wakes who waits for this payload of the channel, or for any."""
        for hook in self._calls.get(channel, ()):
            hook()
        for topic in ((channel, payload), (channel, None)):
            for wakeup in tuple(self._waiting.get(topic, ())):
                wakeup.wake(payload)

    def wake_all(self) -> None:
        """Wakes everybody: something may have been missed, or the process ends."""
        for hooks in self._calls.values():
            for hook in hooks:
                hook()
        for waiting in self._waiting.values():
            for wakeup in waiting:
                wakeup.wake()

    def close(self) -> None:
        """Wakes everybody for the last time."""
        self.closing = True
        self.wake_all()

    async def run(self) -> None:
        """Listens until the connection is lost, and raises Unavailable then: a loop of the process listens again."""
        try:
            async for channel, payload in self._store.notifications(*self._channels):
                if channel:
                    self.wake(channel, payload)
                else:
                    self.listening.set()
                    self.on_listening()
                    self.wake_all()
        finally:
            self.listening.clear()
        raise Unavailable("The connection to the catalogue was lost.")
