"""Gateways: enrolment, identity, which of their bytes are counted. Not here: leases, wake-ups, the credentials they check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.fleet import tokens
from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Transaction
from spg99.errors import Unauthorized
from spg99.ids import new_id
from spg99.processes import WatchedClock
from spg99.protocol import Enrolment, Identity
from spg99.protocol.gateway import Egress


@dataclass(frozen=True)
class GatewayRow:
    """One Gateway."""

    gateway_id: str
    name: str


async def enroll(tx: Transaction, enrolment: Enrolment, clock: WatchedClock) -> Identity:
    """Trades a single-use token for an identity; a known name keeps its id."""
    await tokens.use(tx, enrolment.enrolment_token, "gateway", clock)
    bearer_token = tokens.new_bearer_token("gateway")
    row = await tx.one(
        GatewayRow,
        "enroll_gateway",
        gateway_id=new_id("gw"),
        name=enrolment.name,
        hostname=enrolment.hostname,
        token_sha256=tokens.hash_of(bearer_token),
        now=clock.now(),
    )
    await audit.record(tx, SYSTEM, "gateway.enroll", row.gateway_id, name=enrolment.name)
    return Identity(identity_id=row.gateway_id, bearer_token=bearer_token)


async def of_token(tx: Transaction, bearer_token: str) -> GatewayRow:
    """The Gateway whose identity this is. Raises Unauthorized."""
    row = await tx.one_or_none(GatewayRow, "gateway_of_token", token_sha256=tokens.hash_of(bearer_token))
    if row is None:
        raise Unauthorized("This identity is not known. Enrol the gateway again with a fresh token.")
    return row


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
