"""The audit log: one row per privileged change, in the transaction of the change; refusals too; for ever.

Here: writing it. Not here: what is privileged. Metadata keys are allow-listed by the catalogue (a check on `audit_logs`),
and a value is never a token, a password or a payload.
"""

from __future__ import annotations

from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Transaction

Fact = str | int | bool | None | list[str]


async def record(
    tx: Transaction,
    actor: Actor,
    action: str,
    subject: str | None,
    *,
    org_id: str | None = None,
    outcome: str = "done",
    **metadata: Fact,
) -> None:
    """Notes that `actor` did `action` (`tenant.create`) to `subject`, or was refused (`outcome="refused"`).

    A metadata key that is not allow-listed raises RuleViolation, at the latest with the commit.
    """
    await tx.defer(
        "record_audit",
        org_id=org_id,
        actor=actor.id,
        action=action,
        subject=subject,
        outcome=outcome,
        request_id=actor.request_id,
        metadata={key: value for key, value in metadata.items() if value is not None},
    )


async def ensure_partitions(tx: Transaction, *, months: int = 3) -> int:
    """Makes the partitions of this and the next `months` months; answers how many were missing."""
    return int(await tx.value("ensure_audit_partitions", months=months))
