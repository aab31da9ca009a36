"""What is needed to check passwords, cached. Here: how long an entry may be believed. Not here: checking (session.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from spg99 import log
from spg99.errors import NotFound, Spg99Error, Unavailable
from spg99.gateway.checkouts import concerns_client
from spg99.processes import BoundedTable, SingleFlight, StillUnderWay
from spg99.protocol.gateway import Credentials

UNWATCHED_SECONDS: Final = 1.0
"""How old an entry may be while no stream of changes stands."""
UNKNOWN_SECONDS: Final = 5.0
"""How long an unknown user is believed to be unknown: no change is announced when it is created."""
ASK_SECONDS_MAX: Final = 10.0
ASK_SECONDS_IN_GRACE: Final = 1.0
AGAIN_SECONDS: Final = 0.25
"""A wrong password is no reason to ask more often than this whether it has been changed."""
GRACE_SECONDS: Final = 300.0
"""In an outage of the Control Plane a known user may log in this long, or as long as a checkout's grace if longer."""
_ENTRIES_MAX: Final = 10_000
_UNKNOWN_MAX: Final = 1_000
"""Names that anybody may invent: in a table of their own, or they push out those who are real, whom an outage needs."""

_log = log.get("gateway")


class CredentialsApi(Protocol):
    """The part of InternalClient that is used here."""

    async def credentials(self, pg_user: str) -> Credentials:
        """Raises NotFound for an unknown user."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    credentials: Credentials | None
    """None: the user is unknown."""
    asked_at: float


class CredentialsCache:
    """Credentials by user. `watched_since` is kept by whoever listens to changes; None while nobody does."""

    def __init__(self, api: CredentialsApi, *, monotonic: Callable[[], float]) -> None:
        self._api = api
        self._monotonic = monotonic
        self._entries: BoundedTable[str, _Entry] = BoundedTable(_ENTRIES_MAX)
        self._unknown: BoundedTable[str, _Entry] = BoundedTable(_UNKNOWN_MAX)
        self._requests: SingleFlight[str, _Entry] = SingleFlight()
        self._changes = 0
        # One that is under way may have been answered before the change that somebody asks for.
        self._again: SingleFlight[str, Credentials | None] = SingleFlight(joins_under_way=False)
        self._again_at: BoundedTable[str, float] = BoundedTable(_ENTRIES_MAX)
        """By user, when it was last asked again, and nothing had changed."""
        self.watched_since: float | None = None
        self.grace_seconds = GRACE_SECONDS

    async def get(self, pg_user: str) -> Credentials | None:
        """The credentials, or None for an unknown user. Raises Unavailable when neither is known."""
        entry = self._entries.get(pg_user) or self._unknown.get(pg_user)
        if entry is not None and self._believable(entry):
            return entry.credentials
        in_grace = entry is not None and self._monotonic() - entry.asked_at < self.grace_seconds
        try:
            entry = await self._ask(pg_user, ASK_SECONDS_IN_GRACE if in_grace else ASK_SECONDS_MAX)
        except Spg99Error as error:
            if concerns_client(error):
                raise
            _log.error("no answer from the Control Plane", error=str(error), pg_user=pg_user, cached=in_grace)
            if entry is None or not in_grace:
                raise Unavailable(
                    "The password cannot be checked right now: the Control Plane does not answer. Retry in a moment."
                ) from error
        return entry.credentials

    async def get_again(self, pg_user: str) -> Credentials | None:
        """As they are now, whatever is remembered: a password did not fit, and may have been changed in this very moment, before
        the change was heard of. What is remembered where nobody answers within a second. Takes as long for an unknown user, whom
        it asks nobody about. Raises Unavailable when nothing is remembered and nobody answers.
        """
        try:
            return await self._again.call(pg_user, partial(self._as_now, pg_user), wait_seconds=ASK_SECONDS_IN_GRACE)
        except StillUnderWay:
            entry = self._entries.get(pg_user)
            return None if entry is None else entry.credentials

    async def _as_now(self, pg_user: str) -> Credentials | None:
        rest = self._again_at.get(pg_user, -AGAIN_SECONDS) + AGAIN_SECONDS - self._monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
        self._again_at[pg_user] = self._monotonic()
        entry = self._entries.get(pg_user)
        if entry is None:  # unknown; or the change was heard of since the log-in began
            return None if pg_user in self._unknown else await self.get(pg_user)
        try:
            now = await self._request(pg_user)
        except Spg99Error:
            return entry.credentials
        if now.credentials != entry.credentials:
            self._again_at.pop(pg_user, None)  # the next change may follow at once
        return now.credentials

    def forget_tenant(self, tenant_id: str) -> None:
        """The tenant's credentials have changed."""
        self._changes += 1
        self._requests.leave_behind()  # who asks from now on gets an answer from after the change
        for user in [u for u, e in self._entries.items() if e.credentials and e.credentials.tenant_id == tenant_id]:
            del self._entries[user]

    def _believable(self, entry: _Entry) -> bool:
        age = self._monotonic() - entry.asked_at
        if age <= UNWATCHED_SECONDS:
            return True
        if self.watched_since is None or entry.asked_at < self.watched_since:
            return False
        return entry.credentials is not None or age <= UNKNOWN_SECONDS

    async def _ask(self, pg_user: str, seconds: float) -> _Entry:
        try:
            return await self._requests.call(pg_user, partial(self._request, pg_user), wait_seconds=seconds)
        except StillUnderWay:
            raise Unavailable from None

    async def _request(self, pg_user: str) -> _Entry:
        asked_at, changes = self._monotonic(), self._changes
        found: Credentials | None
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                found = await self._api.credentials(pg_user)
        except NotFound:
            found = None
        except TimeoutError:
            raise Unavailable from None
        entry = _Entry(found, asked_at)
        # An answer that a change has overtaken is good for those who asked before it, and for nobody after.
        if changes == self._changes:
            table, other = (self._unknown, self._entries) if found is None else (self._entries, self._unknown)
            table[pg_user] = entry
            other.pop(pg_user, None)
        return entry
