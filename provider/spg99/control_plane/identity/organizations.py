"""Organizations, which the API calls accounts. Not here: projects and tenants (tenants/), users, payments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Transaction

DEFAULT_ORG_ID = "org_default"
"""The organization of a fresh installation; keys of scope global act for it unless they name another."""


@dataclass(frozen=True)
class OrganizationRow:
    """One account."""

    org_id: str
    name: str
    email: str
    company: str
    plan: str
    created_at: datetime
    updated_at: datetime


async def ensure_default(tx: Transaction) -> None:
    """Makes the organization `default` unless it is there."""
    await tx.execute("ensure_organization", org_id=DEFAULT_ORG_ID, name="default")


async def restore(tx: Transaction, *, org_id: str, name: str, email: str, company: str, plan: str) -> None:
    """Writes an account as the object store describes it; one that is there stays as it is."""
    await tx.execute("restore_organization", org_id=org_id, name=name, email=email, company=company, plan=plan)


async def find(tx: Transaction, org_id: str) -> OrganizationRow | None:
    """One account."""
    return await tx.one_or_none(OrganizationRow, "find_organization", org_id=org_id)


async def lock(tx: Transaction, org_id: str) -> None:
    """Makes whoever counts what this account owns wait for us, so that a limit holds under concurrent creates."""
    await tx.execute("lock_organization", org_id=org_id)


async def set_contact(
    tx: Transaction, org_id: str, actor: Actor, *, email: str | None, name: str | None, company: str | None
) -> OrganizationRow:
    """Changes the contact of an account; None leaves a field as it is."""
    row = await tx.one(
        OrganizationRow, "set_organization_contact", org_id=org_id, email=email, name=name, company=company
    )
    given = [field for field, value in (("email", email), ("name", name), ("company", company)) if value is not None]
    await audit.record(tx, actor, "account.contact", org_id, org_id=org_id, fields=given)
    return row
