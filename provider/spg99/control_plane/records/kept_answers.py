"""Idempotency keys: the answer to a POST, kept for 24 hours with the change it tells of. Not here: HTTP (serving/idempotency.py)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from spg99.control_plane.store import Transaction
from spg99.processes import WatchedClock

KEPT_FOR = timedelta(hours=24)
"""At least; after a step of the wall clock for as long again: nobody knows how old an answer is then."""


def earliest_now(clock: WatchedClock) -> datetime:
    """The moment by which answers end: a step forward, however far, has made none of them older."""
    return min(clock.now(), clock.unstepped(KEPT_FOR))


@dataclass(frozen=True)
class KeptAnswer:
    """What was answered the first time."""

    request_sha256: str
    response_status: int
    response_headers: dict[str, str]
    response_encrypted: bytes
    expires_at: datetime


async def claim(tx: Transaction, scope_id: str, key: str, clock: WatchedClock) -> KeptAnswer | None:
    """Waits until nobody else works under this key, then answers what was kept; None: the caller is the first.

    Held until the transaction ends. An answer past its time is forgotten here.
    """
    await lock(tx, scope_id, key)
    return await claimed(tx, scope_id, key, clock)


async def lock(tx: Transaction, scope_id: str, key: str) -> None:
    """The first half of `claim`. What is deferred after it sees what whoever was waited for has done."""
    await tx.defer("lock_idempotency_key", lock_name=f"idempotency:{scope_id}:{key}")


async def claimed(tx: Transaction, scope_id: str, key: str, clock: WatchedClock) -> KeptAnswer | None:
    """The other half."""
    kept = await tx.one_or_none(KeptAnswer, "find_idempotency_key", scope_id=scope_id, idempotency_key=key)
    if kept is not None and kept.expires_at <= earliest_now(clock):
        await tx.defer("forget_idempotency_key", scope_id=scope_id, idempotency_key=key)
        return None
    return kept


async def keep(
    tx: Transaction,
    scope_id: str,
    key: str,
    *,
    request_sha256: str,
    status: int,
    headers: dict[str, str],
    body_encrypted: bytes,
    clock: WatchedClock,
) -> None:
    """Keeps an answer in the transaction of the change it tells of."""
    await tx.defer(
        "keep_idempotent_answer",
        scope_id=scope_id,
        idempotency_key=key,
        request_sha256=request_sha256,
        response_status=status,
        response_headers=headers,
        response_encrypted=body_encrypted,
        expires_at=clock.now() + KEPT_FOR,
    )


async def acknowledge(tx: Transaction, scope_id: str, key: str, clock: WatchedClock) -> None:
    """Notes that the answer under this key arrived where it belongs. Twice is once; a key that nobody used may be noted too."""
    mark = _mark(key)
    if await claim(tx, scope_id, mark, clock) is None:
        await keep(tx, scope_id, mark, request_sha256="", status=204, headers={}, body_encrypted=b"", clock=clock)


async def is_acknowledged(tx: Transaction, scope_id: str, key: str) -> bool:
    """Whether the answer under this key was noted to have arrived."""
    mark = _mark(key)
    return await tx.one_or_none(KeptAnswer, "find_idempotency_key", scope_id=scope_id, idempotency_key=mark) is not None


def _mark(key: str) -> str:
    """The row that notes it: beside the answer's, of a key that no client can send (it has a control character)."""
    return "received\x1f" + hashlib.sha256(key.encode()).hexdigest()


async def retime(tx: Transaction, now: datetime) -> int:
    """After a step of the wall clock: every answer is kept from now on as if it had just been given. Twice is as good as once."""
    return await tx.execute("retime_idempotency_keys", expires_at=now + KEPT_FOR)


async def forget_before(tx: Transaction, moment: datetime, *, limit: int) -> int:
    """Deletes at most `limit` answers whose time was over at `moment`."""
    return await tx.execute("forget_idempotency_keys", moment=moment, limit=limit)
