"""How many tenants an account may have. Here: refusing with LimitExceeded. Not here: where the limit comes from (records/limits.py)."""

from __future__ import annotations

from spg99.control_plane import identity
from spg99.control_plane.records import limits
from spg99.control_plane.store import Transaction
from spg99.control_plane.tenants import rows

POLICY = "limits.tenants_max"


async def check_tenants(tx: Transaction, org_id: str, policy: int) -> None:
    """Raises LimitExceeded when the account may have no further tenant by this value of the policy."""
    most = limits.maximum(policy)
    if most is not None:
        await identity.lock_organization(tx, org_id)
        if await rows.count(tx, org_id) >= most:
            raise limits.exceeded(POLICY, most, f"The account may have {most} tenant{'s' * (most != 1)}.")
