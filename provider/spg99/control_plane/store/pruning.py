"""Deleting many old rows: a bounded number in each transaction, until there are none. Not here: what is old (the domains)."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol

from spg99.control_plane.store.transaction import Store, Transaction

ROWS_AT_ONCE: Final = 5_000
"""Rows that one transaction deletes: it holds their locks, and what it writes a standby or a backup has to take at once."""


class Forget(Protocol):
    """A domain's deletion of what is older than a moment."""

    async def __call__(self, tx: Transaction, moment: datetime, /, *, limit: int) -> int:
        """Deletes at most `limit` rows; answers how many."""
        ...


async def prune(store: Store, forget: Forget, moment: datetime, *, rows_at_once: int = ROWS_AT_ONCE) -> int:
    """Deletes what is older than `moment`, in one transaction after the other; answers how many rows went."""
    total, deleted = 0, rows_at_once
    while deleted == rows_at_once:
        async with store.transaction() as tx:
            deleted = await forget(tx, moment, limit=rows_at_once)
        total += deleted
    return total
