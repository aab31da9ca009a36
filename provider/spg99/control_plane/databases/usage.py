"""Usage: the compute time and egress of an account, databases that are gone included, and its limits.

Here: sums, and refusing with LimitExceeded. Not here: counting (leases.py: egress, computes.py: time), when to ask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.records.limits import NO_LIMIT
from spg99.control_plane.store import Transaction
from spg99.errors import LimitExceeded

COMPUTE_LIMIT, EGRESS_LIMIT = "limits.compute_seconds_max", "limits.egress_bytes_max"
LIMITS = (COMPUTE_LIMIT, EGRESS_LIMIT)

PolicyOf = Callable[[Transaction, str], Awaitable[int]]
"""Answers the value of a policy for the account in question."""


@dataclass(frozen=True)
class Usage:
    """What an account has used since it exists."""

    compute_seconds: int
    """A compute that runs counts until now."""
    egress_bytes: int
    """Bytes sent to clients, as far as Gateways have reported them."""


async def of_organization(tx: Transaction, org_id: str, now: datetime) -> Usage:
    """What an account has used."""
    return await tx.one(Usage, "usage_of_organization", org_id=org_id, now=now)


async def keep(tx: Transaction, db_id: str, compute_milliseconds: int) -> None:
    """Keeps what a database has used with its account; called once, in the transaction that removes it."""
    await tx.execute("keep_usage_of_database", db_id=db_id, compute_milliseconds=compute_milliseconds)


async def check(tx: Transaction, org_id: str, now: datetime, policy: PolicyOf) -> None:
    """Raises LimitExceeded when the account has used up its compute time or egress, so that nothing may start for it.

    What runs already runs on. Costs no look at the usage while nothing is limited.
    """
    seconds_max, bytes_max = await policy(tx, COMPUTE_LIMIT), await policy(tx, EGRESS_LIMIT)
    if seconds_max == NO_LIMIT and bytes_max == NO_LIMIT:
        return
    used = await of_organization(tx, org_id, now)
    if seconds_max != NO_LIMIT and used.compute_seconds >= seconds_max:
        raise LimitExceeded(
            f"The account has used its {seconds_max} seconds of compute time: no further database starts. "
            "Ask for a larger plan.",
            details={"limit": COMPUTE_LIMIT, "maximum": seconds_max},
        )
    if bytes_max != NO_LIMIT and used.egress_bytes >= bytes_max:
        raise LimitExceeded(
            f"The account has used its {_gibibytes(bytes_max)} of data sent to clients: no further database starts. "
            "Ask for a larger plan.",
            details={"limit": EGRESS_LIMIT, "maximum": bytes_max},
        )


def _gibibytes(count: int) -> str:
    return f"{count} bytes" if count % 2**30 else f"{count // 2**30} GiB"
