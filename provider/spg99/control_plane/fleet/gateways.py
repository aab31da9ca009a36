"""Gateways: enrolment, identity, which of their bytes are counted. Not here: leases, wake-ups, the credentials they check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.fleet import joining
from spg99.control_plane.store import Transaction
from spg99.protocol import Enrolment, Identity
from spg99.protocol.gateway import Egress


@dataclass(frozen=True)
class GatewayRow:
    """One Gateway."""

    gateway_id: str
    name: str

    @property
    def identity_id(self) -> str:
        """What it is known by."""
        return self.gateway_id


async def enroll(tx: Transaction, enrolment: Enrolment, now: datetime) -> Identity:
    """An identity for one whose token was used up; a known name keeps its id."""
    identity = await joining.join(tx, "gateway", enrolment, "enroll_gateway", now=now)
    assert identity is not None, "nothing holds it up"
    return identity


async def of_token(tx: Transaction, bearer_token: str) -> GatewayRow:
    """The Gateway whose identity this is. Raises Unauthorized."""
    return await joining.known(tx, "gateway", GatewayRow, "gateway_of_token", bearer_token)


async def note_seen(tx: Transaction, gateway_id: str, now: datetime) -> None:
    """Notes that a Gateway was heard of."""
    await tx.execute("note_gateway_seen", gateway_id=gateway_id, now=now)


async def uncounted(tx: Transaction, gateway_id: str, egress: Egress | None) -> dict[str, int]:
    """The bytes of a batch by database, empty when they were counted already; they are taken as counted from here on.

    Called before any database's row is locked.
    """
    if egress is None or not egress.sent_bytes:
        return {}
    taken = await tx.one_or_none(
        _Taken, "take_egress_batch", gateway_id=gateway_id, run_id=egress.run_id, batch=egress.batch
    )
    return dict(egress.sent_bytes) if taken is not None else {}


@dataclass(frozen=True)
class _Taken:
    gateway_id: str
