"""Limits of an account's plan on databases. Here: refusing with LimitExceeded. Not here: what was used (usage.py)."""

from __future__ import annotations

from datetime import datetime

from spg99.control_plane import identity
from spg99.control_plane.databases import usage
from spg99.control_plane.records import limits, policies
from spg99.control_plane.store import Transaction
from spg99.errors import OperationDisabled

DATABASES_MAX = "limits.databases_max"


async def check_databases(tx: Transaction, org_id: str, policy: int) -> None:
    """Raises LimitExceeded when the account may have no further database by this value of the policy."""
    most = limits.maximum(policy)
    if most is not None:
        await identity.lock_organization(tx, org_id)
        if int(await tx.value("count_databases_of_organization", org_id=org_id)) >= most:
            raise limits.exceeded(DATABASES_MAX, most, f"The account may have {most} database{'s' * (most != 1)}.")


async def check_usage(tx: Transaction, org_id: str, now: datetime) -> None:
    """Raises LimitExceeded when the account has used up its compute time or egress."""

    async def policy(tx: Transaction, key: str) -> int:
        return int(await policies.value(tx, key, org_id=org_id))

    await usage.check(tx, org_id, now, policy)


async def check_start_stop(tx: Transaction, org_id: str) -> None:
    """Raises OperationDisabled when the operator keeps starting and stopping to the Control Plane (managed mode)."""
    if not await policies.value(tx, "operations.start_stop_enabled", org_id=org_id):
        raise OperationDisabled(
            "Databases start on connect and stop when idle by themselves; the operator of this Control Plane has disabled "
            "starting, stopping and scaling by hand."
        )
