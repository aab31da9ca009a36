"""Slows down an address that guesses passwords. Here: the rule, with time handed in. Not here: waiting (session.py)."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

FREE_FAILURES: Final = 5
FIRST_DELAY_SECONDS: Final = 0.05
DELAY_SECONDS_MAX: Final = 2.0
FORGIVE_SECONDS: Final = 2.0
"""One failure is forgotten after each such time."""
_ADDRESSES_MAX: Final = 20_000


class BackOff:
    """Remembers failures by address; the oldest is forgotten when there are too many to remember."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def failed(self, address: str, *, now: float) -> None:
        """A log-in from `address` failed at `now` (seconds of a clock that only moves forward)."""
        network = _network(address)
        self._failures[network] = (self._score(network, now) + 1, now)
        self._failures.move_to_end(network)
        if len(self._failures) > _ADDRESSES_MAX:
            self._failures.popitem(last=False)

    def delay_seconds(self, address: str, *, now: float) -> float:
        """How long the verdict on a password from `address` is held back, right or wrong alike."""
        beyond = self._score(_network(address), now) - FREE_FAILURES
        if beyond < 0:
            return 0.0
        return float(min(DELAY_SECONDS_MAX, FIRST_DELAY_SECONDS * 2 ** min(beyond, 32)))

    def _score(self, network: str, now: float) -> float:
        score, at = self._failures.get(network, (0.0, now))
        return max(0.0, score - (now - at) / FORGIVE_SECONDS)


def _network(address: str) -> str:
    # Whoever has one IPv6 address has its whole /64.
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
