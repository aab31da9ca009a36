"""Storage limits: which one holds for a database, and what nodes tell of them. Not here: holding them (the node's storage.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from spg99 import log
from spg99.control_plane.databases import rows
from spg99.control_plane.store import Transaction
from spg99.protocol.node import ComputeSeen

PolicyOf = Callable[[str, str], Awaitable[int]]
"""Answers the value of a policy (key) for an account (org_id)."""

_log = log.get("databases")


@dataclass(frozen=True)
class _Storage:
    db_id: str
    timeline_id: str
    size: str
    storage_limit_bytes: int | None
    storage_state: str
    storage_held_by: str | None
    org_id: str


async def limit_bytes(policy: PolicyOf, *, own: int | None, size: str, org_id: str) -> int:
    """The limit that holds for a database: its own, else the policy's of its size. 0 = none."""
    return own if own is not None else int(await policy(policy_of(size), org_id))


def policy_of(size: str) -> str:
    """The policy that limits databases of a size."""
    return f"database.storage_limit_bytes.{size}"


async def take_in(tx: Transaction, node_id: str, computes: Iterable[ComputeSeen], policy: PolicyOf) -> dict[str, int]:
    """Notes who may grow and who may not, with an event for each change; answers limits that the node does not hold yet."""
    reported = {seen.timeline_id: seen.storage for seen in computes if seen.running and seen.storage is not None}
    if not reported:
        return {}
    differing = {}
    for known in await tx.many(_Storage, "storage_of_computes", node_id=node_id, timeline_ids=sorted(reported)):
        storage = reported[known.timeline_id]
        limit = await limit_bytes(policy, own=known.storage_limit_bytes, size=known.size, org_id=known.org_id)
        if storage.limit_bytes != limit:
            differing[known.timeline_id] = limit
        if storage.state != known.storage_state:
            await _note_state(tx, known, storage.state)
        if storage.held_by != known.storage_held_by:
            await tx.execute("note_storage_held_by", db_id=known.db_id, storage_held_by=storage.held_by)
    return differing


async def _note_state(tx: Transaction, known: _Storage, state: str) -> None:
    if await tx.value("note_storage_state", db_id=known.db_id, storage_state=state) is None:
        return
    row = await rows.by_id(tx, known.db_id)
    assert row is not None, "it was changed a moment ago, in this transaction"
    _log.info("storage state changed", db_id=known.db_id, state=state)
    await rows.publish(tx, row, f"database.storage_{state}")
