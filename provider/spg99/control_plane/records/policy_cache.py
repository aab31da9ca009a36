"""Policy values that every connect asks for, remembered for a few seconds. Not here: their meaning (policies.py)."""

from __future__ import annotations

import time

from spg99.control_plane.records import policies
from spg99.control_plane.store import Transaction
from spg99.processes import BoundedTable

REMEMBERED_SECONDS = 5.0
REMEMBERED_MAX = 10_000


class PolicyCache:
    """Whole-number policies of organizations."""

    def __init__(self) -> None:
        self._known: BoundedTable[tuple[str, str | None], tuple[float, int]] = BoundedTable(REMEMBERED_MAX)

    async def value(self, tx: Transaction, key: str, *, org_id: str | None = None) -> int:
        """The value of a policy, at most a few seconds old."""
        known = self._known.get((key, org_id))
        if known is not None and time.monotonic() - known[0] < REMEMBERED_SECONDS:
            return known[1]
        found = int(await policies.value(tx, key, org_id=org_id))
        self._known[key, org_id] = (time.monotonic(), found)
        return found

    async def read(self, tx: Transaction, keys: tuple[str, ...], *, org_id: str) -> None:
        """Reads, in one question, those of these policies that will soon not be remembered: who needs many asks for them first,
        and they are still there in the transaction after the next."""
        read_at = time.monotonic()
        missing = [
            key
            for key in keys
            if (known := self._known.get((key, org_id))) is None or read_at - known[0] >= REMEMBERED_SECONDS / 2
        ]
        if missing:
            for key, found in (await policies.values(tx, missing, org_id=org_id)).items():
                self._known[key, org_id] = (read_at, int(found))
