"""Slows down who guesses passwords, and nobody else. Here: the rule, with time handed in. Not here: waiting (accept.py).

Failures are counted for an address and a user together: a forgotten job with an old password slows itself. An address as a
whole is slowed only when it fails for a great many users, and even then not for a user who has logged in from there.
Every count is bounded, so all is forgotten FORGOTTEN_SECONDS after the last failure, however many there were.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

FIRST_DELAY_SECONDS: Final = 0.05
DELAY_SECONDS_MAX: Final = 2.0
_DOUBLINGS: Final = 6
"""From the first delay to beyond the longest; failures past them change nothing."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much failing is free, and how fast it is forgiven."""

    free_failures: int
    forgive_seconds: float
    """One failure is forgotten after each such time."""

    @property
    def score_max(self) -> int:
        """The bound: what is counted at most."""
        return self.free_failures + _DOUBLINGS

    def delay_seconds(self, score: float) -> float:
        """What a score costs."""
        beyond = score - self.free_failures
        return 0.0 if beyond < 0 else float(min(DELAY_SECONDS_MAX, FIRST_DELAY_SECONDS * 2**beyond))


USER: Final = Allowance(free_failures=5, forgive_seconds=10.0)
ADDRESS: Final = Allowance(free_failures=200, forgive_seconds=1.0)
FORGOTTEN_SECONDS: Final = max(a.score_max * a.forgive_seconds for a in (USER, ADDRESS))
KNOWN_SECONDS: Final = 24 * 3600.0
"""How long a user who has logged in from an address is known there."""
ANNOUNCED_SECONDS: Final = 600.0
"""Who is slowed for long is announced again no oftener than this."""
ENTRIES_MAX: Final = 20_000
"""Of each kind; the one that was touched longest ago is forgotten first."""

K = TypeVar("K")


class _Scores(Generic[K]):
    """Leaking counters by key."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._scores: OrderedDict[K, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def score(self, key: K, now: float) -> float:
        score, at = self._scores.get(key, (0.0, now))
        return max(0.0, score - (now - at) / self._allowance.forgive_seconds)

    def is_full(self, key: K, now: float) -> bool:
        return self.score(key, now) > self._allowance.score_max - 1

    def add(self, key: K, now: float) -> None:
        self._scores[key] = (min(self.score(key, now) + 1, self._allowance.score_max), now)
        _touch(self._scores, key)

    def forget(self, key: K) -> None:
        self._scores.pop(key, None)

    def delay_seconds(self, key: K, now: float) -> float:
        return self._allowance.delay_seconds(self.score(key, now))


class LoginBackOff:
    """What this gateway remembers of log-ins. `now` is in seconds of a clock that only moves forward."""

    def __init__(self) -> None:
        self._users: _Scores[tuple[str, str]] = _Scores(USER)
        self._addresses: _Scores[str] = _Scores(ADDRESS)
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._announced: OrderedDict[tuple[str, str], float] = OrderedDict()

    @property
    def entry_count(self) -> int:
        """All that is remembered."""
        return len(self._users) + len(self._addresses) + len(self._known) + len(self._announced)

    def failed(self, address: str, user: str, *, now: float) -> bool:
        """A log-in failed. Answers whether this is news: the user is slowed from there by now, and nobody was told for
        ANNOUNCED_SECONDS."""
        network = network_of(address)
        if not self._users.is_full((network, user), now):
            # One user who fails without end is one user: it says nothing about the others behind this address.
            self._addresses.add(network, now)
        self._users.add((network, user), now)
        if not self._users.delay_seconds((network, user), now):
            return False
        announced = self._announced.get((network, user))
        if announced is not None and now - announced < ANNOUNCED_SECONDS:
            return False
        self._announced[network, user] = now
        _touch(self._announced, (network, user))
        return True

    def succeeded(self, address: str, user: str, *, now: float) -> None:
        """A log-in showed the right password."""
        key = (network_of(address), user)
        self._users.forget(key)
        self._known[key] = now
        _touch(self._known, key)

    def delay_seconds(self, address: str, user: str, *, now: float) -> float:
        """How long the verdict on a password is held back, right or wrong alike."""
        network = network_of(address)
        if self._is_known((network, user), now):
            return 0.0
        return max(self._users.delay_seconds((network, user), now), self._addresses.delay_seconds(network, now))

    def _is_known(self, key: tuple[str, str], now: float) -> bool:
        at = self._known.get(key)
        return at is not None and now - at < KNOWN_SECONDS


def _touch(entries: OrderedDict[K, Any], key: K) -> None:
    entries.move_to_end(key)
    if len(entries) > ENTRIES_MAX:
        entries.popitem(last=False)


def network_of(address: str) -> str:
    """Who is meant by an address: whoever has one IPv6 address has its whole /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
