"""Idempotency keys: the answer to a POST, kept for 24 hours with the change it tells of. Not here: HTTP (serving/idempotency.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from spg99.control_plane.store import Transaction

KEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True)
class KeptAnswer:
    """What was answered the first time."""

    request_sha256: str
    response_status: int
    response_headers: dict[str, str]
    response_encrypted: bytes


async def claim(tx: Transaction, scope_id: str, key: str, now: datetime) -> KeptAnswer | None:
    """Waits until nobody else works under this key, then answers what was kept; None: the caller is the first.

    Held until the transaction ends. An answer past its time is forgotten here.
    """
    await tx.execute("lock_idempotency_key", lock_name=f"idempotency:{scope_id}:{key}")
    await tx.execute("expire_idempotency_key", scope_id=scope_id, idempotency_key=key, now=now)
    return await tx.one_or_none(KeptAnswer, "find_idempotency_key", scope_id=scope_id, idempotency_key=key)


async def keep(
    tx: Transaction,
    scope_id: str,
    key: str,
    *,
    request_sha256: str,
    status: int,
    headers: dict[str, str],
    body_encrypted: bytes,
    now: datetime,
) -> None:
    """Keeps an answer in the transaction of the change it tells of."""
    await tx.execute(
        "keep_idempotent_answer",
        scope_id=scope_id,
        idempotency_key=key,
        request_sha256=request_sha256,
        response_status=status,
        response_headers=headers,
        response_encrypted=body_encrypted,
        expires_at=now + KEPT_FOR,
    )


async def forget_before(tx: Transaction, now: datetime) -> int:
    """Deletes answers whose time is over."""
    return await tx.execute("forget_idempotency_keys", now=now)
