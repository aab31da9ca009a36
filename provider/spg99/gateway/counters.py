"""What one worker has counted since it was last asked. Here: counters. Not here: their names for Prometheus (metrics.py)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from spg99.gateway.relay import Relay


class Counters:
    """Errors sent to clients, and bytes by database; live sessions are counted as they go."""

    def __init__(self) -> None:
        self._errors: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._bytes: dict[str, list[int]] = {}
        self._live: dict[Relay, tuple[str, list[int]]] = {}

    def accepted(self, via: str) -> None:
        """A connection has come: `direct`, or handed on by a `proxy`."""
        self._accepted[via] += 1

    def error(self, sqlstate: str) -> None:
        """This was sent to a client."""
        self._errors[sqlstate] += 1

    def session_started(self, relay: Relay, db_id: str) -> None:
        """A session is relayed from now on."""
        self._live[relay] = (db_id, [0, 0])

    def session_ended(self, relay: Relay) -> None:
        """A session has ended."""
        self._count(relay)
        self._live.pop(relay, None)

    def take(self, *, half_open: int) -> dict[str, Any]:
        """Everything since the last time."""
        for relay in self._live:
            self._count(relay)
        counted = {
            "errors": dict(self._errors),
            "accepted": dict(self._accepted),
            "bytes": self._bytes,
            "half_open": half_open,
        }
        self._errors, self._accepted, self._bytes = Counter(), Counter(), {}
        return counted

    def _count(self, relay: Relay) -> None:
        if (live := self._live.get(relay)) is None:
            return
        db_id, seen = live
        now = [relay.to_client, relay.from_client.received]
        if now != seen:
            sums = self._bytes.setdefault(db_id, [0, 0])
            for i in range(2):
                sums[i] += now[i] - seen[i]
                seen[i] = now[i]
