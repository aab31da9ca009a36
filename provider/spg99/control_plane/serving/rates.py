"""How many requests a key may send: a token bucket. Pure: time is handed in. Not here: whose bucket it is (known_keys.py)."""

from __future__ import annotations

import math


class Bucket:
    """Holds up to one minute's worth of requests and refills evenly.

    Each Control Plane process counts for itself, so behind n processes a key gets up to n times its rate.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self._per_minute = per_minute
        self._left = float(per_minute)
        self._at = now

    def take(self, per_minute: int, now: float, *, requests: int = 1) -> int | None:
        """Takes one request at `now` (seconds that only grow); None: granted, else the seconds to wait. With `requests` 0 it
        only tells whether one would be granted."""
        refilled = self._left + max(now - self._at, 0.0) * self._per_minute / 60
        if per_minute > self._per_minute:
            refilled += per_minute - self._per_minute  # a raised limit helps at once
        self._per_minute, self._at = per_minute, now
        self._left = min(refilled, float(per_minute))
        if self._left >= 1.0:
            self._left -= requests
            return None
        return max(1, math.ceil((1.0 - self._left) * 60 / per_minute))
