"""Limits of an account, from policies; none by default. Here: reading one, refusing with LimitExceeded. Not here: counting."""

from __future__ import annotations

from spg99.control_plane.records import policies
from spg99.control_plane.store import Transaction
from spg99.errors import LimitExceeded

NO_LIMIT = -1


async def maximum(tx: Transaction, key: str, org_id: str) -> int | None:
    """The limit an account has; None: no limit."""
    found = int(await policies.value(tx, key, org_id=org_id))
    return None if found == NO_LIMIT else found


def exceeded(key: str, most: int, sentence: str) -> LimitExceeded:
    """The refusal of one more."""
    return LimitExceeded(f"{sentence} Delete one, or ask for a larger plan.", details={"limit": key, "maximum": most})
