"""What a Gateway needs to check a password: the verifier of a user. Here: reading it. Not here: checking (gateway/), passwords."""

from __future__ import annotations

from dataclasses import dataclass, field

from spg99.control_plane.records import policies
from spg99.control_plane.store import Transaction
from spg99.errors import NotFound
from spg99.protocol.gateway import Credentials


async def of_user(tx: Transaction, pg_user: str) -> Credentials:
    """What is needed to check a password. Raises NotFound for an unknown user and for a tenant on its way out."""
    row = await tx.one_or_none(_User, "credentials_of_user", pg_user=pg_user)
    if row is None:
        raise NotFound("No such user.")
    return Credentials(
        tenant_id=row.tenant_id,
        tenant=row.tenant,
        pg_user=row.pg_user,
        scram_verifier=row.scram_verifier,
        credential_version=row.credential_version,
        max_connections=await policies.value(tx, "gateway.tenant_connections_max", org_id=row.org_id),
        max_connections_of_database=await policies.value(tx, "gateway.database_connections_max", org_id=row.org_id),
    )


@dataclass(frozen=True)
class _User:
    tenant_id: str
    org_id: str
    tenant: str
    pg_user: str
    scram_verifier: str = field(repr=False)
    credential_version: int
