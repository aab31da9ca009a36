"""API keys as this process has seen them within the last second: who has this token, how fast may they, when were they here.

Here: remembering, so that a request needs no look into the catalogue to know its caller. Not here: what a key may do (serving/call.py).
A change is known at once in the process that made it, is told to the others by a notification (`spg99_keys`) and, should that be lost,
comes by itself after a second.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.identity import keys, organizations
from spg99.control_plane.identity.keys import KeyRow
from spg99.control_plane.records import policies
from spg99.control_plane.serving.call import is_id
from spg99.control_plane.serving.interfaces import Key
from spg99.control_plane.serving.rates import Bucket
from spg99.control_plane.store import Store
from spg99.errors import NotFound, TooManyRequests, Unauthorized, Unavailable
from spg99.processes import BoundedTable, WatchedClock

REMEMBERED_SECONDS = 1.0
KEYS_MAX = 10_000
ADDRESSES_MAX = 10_000
GUESSES_PER_MINUTE = 120
"""Tokens from one address that open nothing; each costs a look into the catalogue, whose connections everybody shares."""


@dataclass(frozen=True)
class KnownKey:
    """A key and how fast it may call."""

    row: KeyRow
    requests_per_minute: int
    read_at: float


class KnownKeys:
    """The keys this process knows."""

    def __init__(self, store: Store, clock: WatchedClock) -> None:
        self._store = store
        self._clock = clock
        self._forgotten_at = time.monotonic()
        self._known: BoundedTable[str, KnownKey] = BoundedTable(KEYS_MAX)
        self._buckets: BoundedTable[str, Bucket] = BoundedTable(KEYS_MAX)
        self._were_right: BoundedTable[str, None] = BoundedTable(KEYS_MAX)
        """Tokens that opened a key before: read again without asking how much was guessed from their address."""
        self._guesses: BoundedTable[str, Bucket] = BoundedTable(ADDRESSES_MAX)
        """By address: tokens that opened nothing."""
        self._last_used: dict[str, datetime] = {}

    async def of(self, token: str, *, address: str | None = None) -> KnownKey:
        """The key that `token` opens now. Raises Unauthorized: the same words for unknown, expired and revoked; and
        TooManyRequests for a token never seen here, from an address that has guessed too often."""
        token_sha256 = keys.sha256_of(token)
        known = self._known.get(token_sha256)
        if known is None or time.monotonic() - known.read_at > REMEMBERED_SECONDS:
            known = await self._read(token_sha256, address)
        if known is None or not known.row.accepts(token_sha256, keys.earliest_now(self._clock)):
            raise Unauthorized
        self._note_use(known.row.key_id, self._clock.now())
        return known

    async def admit(self, token: str, *, address: str | None = None) -> KeyRow:
        """The key that `token` opens now, for one request. Raises Unauthorized, and TooManyRequests beyond its rate."""
        known = await self.of(token, address=address)
        wait_seconds = self.seconds_to_wait(known)
        if wait_seconds is not None:
            raise TooManyRequests(retry_after_seconds=wait_seconds)
        return known.row

    async def check(self, token: str) -> None:
        """Raises Unauthorized unless `token` opens a key now."""
        await self.of(token)

    async def account_of(self, key: Key, wanted: str | None) -> str:
        """The account a call acts for. Raises NotFound when the key may not act for the one that is wanted."""
        if key.org_id is not None:
            if wanted not in (None, key.org_id):
                raise _no_account(wanted)
            return key.org_id
        if wanted is None:
            return organizations.DEFAULT_ORG_ID
        if is_id(wanted):
            async with self._store.transaction() as tx:
                if await organizations.find(tx, wanted) is not None:
                    return wanted
        raise _no_account(wanted)

    def seconds_to_wait(self, known: KnownKey) -> int | None:
        """None: this request is within the key's rate; else how long to wait."""
        key_id, per_minute, now = known.row.key_id, known.requests_per_minute, time.monotonic()
        if key_id not in self._buckets:
            self._buckets[key_id] = Bucket(per_minute, now)
        return self._buckets[key_id].take(per_minute, now)

    async def write_last_used(self) -> None:
        """Brings to the catalogue when keys were used since the last time."""
        noted, self._last_used = self._last_used, {}
        if not noted:
            return
        try:
            async with self._store.transaction() as tx:
                await keys.note_use(tx, noted)
        except Unavailable:
            self._last_used = noted | self._last_used
            raise

    def forget_all(self) -> None:
        """Forgets what is remembered: a key or a policy has changed."""
        self._known.clear()
        self._forgotten_at = time.monotonic()

    async def _read(self, token_sha256: str, address: str | None) -> KnownKey | None:
        if address is not None and token_sha256 not in self._were_right:
            self._check_guesses(address, taken=0)
        self._known.pop(token_sha256, None)
        read_at = time.monotonic()  # before the look: what changes during it must not count as known
        async with self._store.transaction() as tx:
            row = await keys.by_token(tx, token_sha256)
            if row is None:
                if address is not None:
                    self._check_guesses(address, taken=1)
                return None  # not remembered: a flood of guesses must not push real keys out
            rate = await policies.value(tx, "api.requests_per_minute", org_id=row.org_id)
        self._were_right[token_sha256] = None
        known = KnownKey(row, int(rate), read_at)
        if read_at > self._forgotten_at:  # else it may have been read before what was changed meanwhile
            self._known[token_sha256] = known
        return known

    def _note_use(self, key_id: str, now: datetime) -> None:
        self._last_used[key_id] = now.replace(second=0, microsecond=0)

    def _check_guesses(self, address: str, *, taken: int) -> None:
        """Raises TooManyRequests for an address that has guessed too often."""
        now = time.monotonic()
        if address not in self._guesses:
            self._guesses[address] = Bucket(GUESSES_PER_MINUTE, now)
        wait_seconds = self._guesses[address].take(GUESSES_PER_MINUTE, now, requests=taken)
        if wait_seconds is not None:
            raise TooManyRequests(
                "Too many API keys that are not valid came from this address. Wait and retry with a valid one.",
                retry_after_seconds=wait_seconds,
            )


def _no_account(wanted: str) -> NotFound:
    return NotFound(
        f"There is no account '{wanted[:100]}', or this API key may not see it. Leave it out to act for the key's own, or name "
        "another.",
        details={"account_id": wanted[:100]},
    )
